// What all pages are made of: how numbers, times and money are written, tables, and asking for what is shown.

import { html, useEffect, useRef, useState } from './htm-preact.js';

/** Dollars, from the exact decimal that the API gives: small sums keep the digits that matter. */
export function usd(text) {
  if (text === null || text === undefined) return '–';
  if (text === 'unknown') return 'unknown';
  const value = Number(text);
  const isSmall = value !== 0 && Math.abs(value) < 0.1;
  const digits = isSmall ? { maximumSignificantDigits: 3 } : { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  return `$${value.toLocaleString('en-US', digits)}`;
}

export function number(value) {
  return value === null || value === undefined ? '–' : Number(value).toLocaleString('en-US');
}

/** Microseconds, as people read them. */
export function duration(us) {
  if (us === null || us === undefined) return '–';
  if (us < 1_000) return `${us} µs`;
  if (us < 1_000_000) return `${(us / 1_000).toFixed(us < 10_000 ? 1 : 0)} ms`;
  return `${(us / 1_000_000).toFixed(us < 10_000_000 ? 2 : 1)} s`;
}

export const percent = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(part && part / whole < 0.1 ? 2 : 1)} %` : '–');

/** A time as the API writes it, or as SQL does: that one is in UTC and does not say so. */
export const time = (text) => new Date(/^\d{4}-\d\d-\d\d \d/.test(text) ? `${text.replace(' ', 'T')}Z` : text);

/** A time of the ledger, in the reader's own zone. */
export function when(text) {
  if (!text) return '–';
  const at = time(text);
  return Number.isNaN(at.getTime()) ? text : at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
}

/** How long ago. */
export function ago(text) {
  const seconds = Math.max(0, (Date.now() - time(text).getTime()) / 1000);
  if (seconds < 60) return `${Math.round(seconds)} s ago`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} d ago`;
}

/**
 * Asks once, and again every `every` milliseconds while the page is visible. What was answered stays while the next answer is
 * on its way, and when it fails.
 */
export function useAnswer(ask, inputs, every = 0) {
  const [state, setState] = useState({ value: null, error: null, isLoading: true });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let isOver = false;
    setState((before) => ({ ...before, isLoading: true }));
    const once = async () => {
      try {
        const value = await ask();
        if (!isOver) setState({ value, error: null, isLoading: false });
      } catch (error) {
        if (!isOver) setState((before) => ({ ...before, error, isLoading: false }));
      }
    };
    once();
    const timer = every ? setInterval(() => document.hidden || once(), every) : null;
    return () => {
      isOver = true;
      clearInterval(timer);
    };
  }, [...inputs, turn]);
  return { ...state, again: () => setTurn((before) => before + 1) };
}

export function ErrorNote({ error }) {
  return error && html`<p class="error" role="alert">${error.message}</p>`;
}

/** While the first answer is on its way. */
export function Pending({ answer, children }) {
  return html`
    <${ErrorNote} error=${answer.error} />
    ${answer.value ? children : answer.isLoading && html`<p class="muted" role="status">Loading…</p>`}
  `;
}

/**
 * A table. `columns` are `{ name, title, show, isNumber }`; `open` makes a row's first cell a link.
 */
export function Table({ caption, columns, rows, link, empty = 'Nothing yet.' }) {
  if (!rows.length) return html`<p class="muted">${empty}</p>`;
  const cell = (column, row) => (column.show ? column.show(row) : (row[column.name] ?? '–'));
  return html`
    <div class="scroll" tabindex="0" role="region" aria-label=${caption}>
      <table>
        <caption class="visually-hidden">${caption}</caption>
        <thead><tr>${columns.map((column) => html`<th scope="col" class=${column.isNumber ? 'number' : ''}>${column.title}</th>`)}</tr></thead>
        <tbody>
          ${rows.map((row) => html`<tr>
            ${columns.map((column, at) => html`<td class=${column.isNumber ? 'number' : ''}>
              ${at === 0 && link ? html`<a href=${link(row)}>${cell(column, row)}</a>` : cell(column, row)}
            </td>`)}
          </tr>`)}
        </tbody>
      </table>
    </div>
  `;
}

/** One number that matters. */
export function Tile({ title, value, note, tone }) {
  return html`<div class=${`tile ${tone ?? ''}`}>
    <div class="tile-title">${title}</div><div class="tile-value">${value}</div>${note && html`<div class="muted">${note}</div>`}
  </div>`;
}

/** The choice of a time. */
export function Since({ value, onChange, choices = ['15m', '1h', '6h', '24h', '7d', '30d'] }) {
  return html`<label class="field">Time
    <select value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${choices.map((choice) => html`<option value=${choice} selected=${choice === value}>${choice === 'today' ? 'today (UTC)' : `last ${choice}`}</option>`)}
    </select>
  </label>`;
}

/** What came of a request, in a word and a colour. */
export function Outcome({ of }) {
  const tone = { served: 'good', cancelled: 'neutral', unknown: 'neutral' }[of] ?? 'bad';
  return html`<span class=${`badge ${tone}`}>${of || '–'}</span>`;
}

/** How far something is: `done` and `failed` of `whole`. */
export function Progress({ label, done, failed = 0, whole }) {
  const share = (part) => ({ width: `${whole ? (100 * part) / whole : 0}%` });
  return html`<div class="bar" role="meter" aria-label=${label} aria-valuemin="0" aria-valuemax=${whole || 1} aria-valuenow=${done + failed}>
    <span class="good" style=${share(done)}></span><span class="bad" style=${share(failed)}></span>
  </div>`;
}

/** Bytes, as people read them. */
export function bytes(count) {
  if (count === null || count === undefined) return '–';
  const unit = count < 1e3 ? [1, 'B'] : count < 1e6 ? [1e3, 'KB'] : count < 1e9 ? [1e6, 'MB'] : [1e9, 'GB'];
  return `${(count / unit[0]).toFixed(unit[0] === 1 || count / unit[0] >= 100 ? 0 : 1)} ${unit[1]}`;
}

/** Whether somebody may change what happens in a project. */
export const mayManage = (me, project) => me.role === 'admin' || (me.role === 'owner' && me.projects.includes(project));

/** How to have the numbers of this page elsewhere. */
export function Source({ sql, path }) {
  return html`<details class="source">
    <summary>Where these numbers come from</summary>
    ${path && html`<p>Admin API: <code>GET ${path}</code></p>`}
    ${sql && html`<p>SQL (<code>penstock sql</code>):</p><pre tabindex="0">${sql}</pre>`}
  </details>`;
}

/** Offers a text as a file. */
export function Download({ name, text, children }) {
  const save = () => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([text()], { type: 'text/csv' }));
    link.download = name;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return html`<button type="button" class="quiet" onClick=${save}>${children}</button>`;
}

/** A dialog of the browser's own: it keeps the focus and closes with Escape. */
export function Dialog({ title, onClose, children }) {
  const element = useRef(null);
  useEffect(() => {
    element.current?.showModal();
  }, []);
  return html`<dialog ref=${element} onClose=${onClose} aria-label=${title}>
    <h2>${title}</h2>${children}
  </dialog>`;
}

/** Asks once more before something is done that cannot be undone. */
export function Sure({ question, onYes, onClose }) {
  const [error, setError] = useState(null);
  const yes = async () => {
    try {
      await onYes();
    } catch (problem) {
      setError(problem);
    }
  };
  return html`<${Dialog} title="Are you sure?" onClose=${onClose}>
    <p>${question}</p><${ErrorNote} error=${error} />
    <p><button type="button" class="danger" onClick=${yes}>Yes</button> <button type="button" class="quiet" onClick=${onClose}>No</button></p>
  <//>`;
}

/** A value as TOML, for what `penstock apply` would write. */
export function toml(value) {
  if (Array.isArray(value)) return `[${value.map(toml).join(', ')}]`;
  if (value !== null && typeof value === 'object') {
    return `{ ${Object.entries(value).map(([name, inner]) => `${name} = ${toml(inner)}`).join(', ')} }`;
  }
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}
