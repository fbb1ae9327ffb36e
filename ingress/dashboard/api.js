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
