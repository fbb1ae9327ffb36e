// The admin API, as this page asks it. The session's cookie goes with every request by itself; the header says that it is one
// of ours.

const HEADERS = { 'x-penstock-dashboard': '1' };

export class ApiError extends Error {
  constructor(status, error) {
    super(error?.message ?? `the gateway answered ${status}`);
    this.status = status;
    this.param = error?.param;
  }
}

async function send(method, path, body) {
  const init = { method, headers: { ...HEADERS }, credentials: 'same-origin' };
  if (body !== undefined) {
    init.headers['content-type'] = 'application/json';
    init.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, init);
  } catch {
    throw new ApiError(0, { message: 'the gateway cannot be reached' });
  }
  const text = await response.text();
  let value = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    throw new ApiError(response.status, { message: `the answer is not JSON: ${text.slice(0, 200)}` });
  }
  if (!response.ok) throw new ApiError(response.status, value?.error);
  return value;
}

/** The events of a stream, as `{ event, data }`, until it ends. */
export async function* follow(path, query, signal) {
  const response = await fetch(address(`/admin/v1/${path}`, query), { headers: HEADERS, credentials: 'same-origin', signal });
  if (!response.ok) throw new ApiError(response.status, (await response.json().catch(() => null))?.error);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split('\n\n');
    rest = parts.pop();
    for (const part of parts) {
      const lines = new Map(part.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]));
      if (lines.has('data')) yield { event: lines.get('event'), data: JSON.parse(lines.get('data')) };
    }
  }
}

/** `path` with the values of `query` that are not empty. */
export function address(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const text = new URLSearchParams(given).toString();
  return text ? `${path}?${text}` : path;
}

export const get = (path, query) => send('GET', address(`/admin/v1/${path}`, query));
export const post = (path, body) => send('POST', `/admin/v1/${path}`, body);
export const patch = (path, body) => send('PATCH', `/admin/v1/${path}`, body);
export const remove = (path) => send('DELETE', `/admin/v1/${path}`);
export const openapi = () => send('GET', '/openapi.json');
export const isLoggedIn = async () => (await send('GET', '/dashboard/session')).logged_in;
export const logIn = (token) => send('POST', '/dashboard/session', { token });
export const logOut = () => send('DELETE', '/dashboard/session');
