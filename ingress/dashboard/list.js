// Long lists: filtered and turned page by page by the API, with the filter in the page's address, so that it can be passed on.

import { html, useEffect, useState } from './htm-preact.js';
import { address, get } from './api.js';
import { useAnswer } from './parts.js';

/** The values of filters, which are `[name, title]`, and the time; they begin as the address has them. */
export function useFilters(of, search, usual) {
  const given = new URLSearchParams(search);
  const [since, setSince] = useState(given.get('since') ?? usual);
  const [filters, setFilters] = useState(Object.fromEntries(of.map(([name]) => [name, given.get(name) ?? ''])));
  const change = (name, value) => setFilters({ ...filters, [name]: value.trim() });
  useEffect(() => {
    history.replaceState(null, '', address(location.pathname, { ...(since === usual ? {} : { since }), ...filters }));
  }, [since, JSON.stringify(filters)]);
  return { filters, change, since, setSince };
}

/** Fields to filter by. */
export function Filters({ label, of, filters, onChange, children }) {
  return html`<form class="filters" onSubmit=${(event) => event.preventDefault()} role="search" aria-label=${label}>
    ${of.map(([name, title]) => html`<${FilterField} key=${name} name=${name} title=${title} value=${filters[name]} onChange=${onChange} />`)}
    ${children}
  </form>`;
}

/** A filter takes effect when it is left; what is typed until then stays, whatever comes in on the page meanwhile. */
function FilterField({ name, title, value, onChange }) {
  const [text, setText] = useState(value);
  useEffect(() => { setText(value); }, [value]);
  return html`<label class="field">${title}
    <input name=${name} value=${text} maxlength="256" size="12"
      onInput=${(event) => setText(event.target.value)} onChange=${(event) => onChange(name, event.target.value)} />
  </label>`;
}

/** The pages of a list, one at a time. The first is asked for anew every `every` milliseconds; those behind it stand still. */
export function usePages(path, query, every) {
  const asked = JSON.stringify(query);
  const [turned, setTurned] = useState({ asked, cursors: [] });
  const cursors = turned.asked === asked ? turned.cursors : [];
  const after = cursors.at(-1);
  const answer = useAnswer(() => get(path, { ...query, after }), [asked, after], after ? 0 : every);
  const older = answer.value?.next;
  return {
    answer,
    rows: answer.value?.data ?? [],
    page: cursors.length + 1,
    toOlder: older && (() => setTurned({ asked, cursors: [...cursors, older] })),
    toNewer: after && (() => setTurned({ asked, cursors: cursors.slice(0, -1) })),
  };
}

/** The buttons that turn the pages. */
export function Turn({ paged }) {
  const { page, toOlder, toNewer } = paged;
  if (!toOlder && !toNewer) return null;
  return html`<p class="turn">
    <button type="button" class="quiet" disabled=${!toNewer} onClick=${toNewer}>Newer</button>
    <span class="muted" role="status">page ${page}</span>
    <button type="button" class="quiet" disabled=${!toOlder} onClick=${toOlder}>Older</button>
  </p>`;
}

const UNITS = { m: 'MINUTE', h: 'HOUR', d: 'DAY' };
const quoted = (text) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

/** The same filter in SQL. */
export function where({ since, ...filters }) {
  const conditions = [`received_at > now() - INTERVAL ${since.slice(0, -1)} ${UNITS[since.at(-1)]}`];
  for (const [name, value] of Object.entries(filters).filter(([, value]) => value)) {
    if (name === 'failure') conditions.push(value === 'any' ? "outcome != 'served'" : `failure = ${quoted(value)}`);
    else if (name === 'model') conditions.push(`${quoted(value)} IN (model, target)`);
    else if (name === 'user') conditions.push(`${quoted(value)} IN (user, end_user)`);
    else if (name === 'status') conditions.push(`toString(status) LIKE ${quoted(value.replaceAll('x', '_'))}`);
    else conditions.push(`${name} = ${quoted(value)}`);
  }
  return ` WHERE ${conditions.join(' AND ')}`;
}
