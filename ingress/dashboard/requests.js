// Which requests there were, and one of them whole: its attempts as a waterfall, with their money.

import { html, useState } from './htm-preact.js';
import { address, get } from './api.js';
import { ago, duration, number, Outcome, Pending, Since, Source, Table, Tile, time, usd, useAnswer, when } from './parts.js';

/** What the API filters by. */
const ASKED = [
  ['model', 'Model'],
  ['project', 'Project'],
  ['failure', 'Failure'],
];

/** What is filtered here, among what was answered. */
const FILTERED = [
  ['user', 'User'],
  ['key_id', 'Key'],
  ['session', 'Session'],
];
const FILTERS = [...ASKED, ...FILTERED];

/** Rows that are drawn at first, and more each time. */
const ROWS = 100;

const COLUMNS = [
  { title: 'When', show: (row) => html`<span title=${when(row.received_at)}>${ago(row.received_at)}</span>` },
  { title: 'Outcome', show: (row) => html`<${Outcome} of=${row.outcome} /> ${row.failure ?? ''}` },
  { title: 'Status', isNumber: true, show: (row) => row.status },
  { title: 'Model', show: (row) => row.model },
  { title: 'Answered by', show: (row) => row.target ?? '–' },
  { title: 'Project', show: (row) => row.project },
  { title: 'User', show: (row) => row.user ?? '–' },
  { title: 'First token', isNumber: true, show: (row) => duration(row.first_token_us) },
  { title: 'Total', isNumber: true, show: (row) => duration(row.total_us) },
  { title: 'Cost', isNumber: true, show: (row) => usd(row.cost_usd) },
];

export function Requests({ search }) {
  const given = new URLSearchParams(search);
  const [since, setSince] = useState(given.get('since') ?? '24h');
  const [filters, setFilters] = useState(Object.fromEntries(FILTERS.map(([name]) => [name, given.get(name) ?? ''])));
  const [limit, setLimit] = useState(ROWS);
  const query = { since, ...Object.fromEntries(ASKED.map(([name]) => [name, filters[name]])) };
  const answer = useAnswer(() => get('requests', query), [JSON.stringify(query)], 3_000);
  const change = (name, value) => setFilters({ ...filters, [name]: value.trim() });
  const isLike = (row) => FILTERED.every(([name]) => !filters[name] || row[name] === filters[name]);
  const rows = (answer.value?.data ?? []).filter(isLike);
  return html`
    <div class="title"><h1>Requests</h1><span class="spacer"></span><${Since} value=${since} onChange=${setSince} /></div>
    <form class="filters" onSubmit=${(event) => event.preventDefault()} role="search" aria-label="Filter requests">
      ${FILTERS.map(([name, title]) => html`<label class="field">${title}
        <input name=${name} value=${filters[name]} onChange=${(event) => change(name, event.target.value)} maxlength="300" size="14" />
      </label>`)}
      <button type="button" class="quiet" aria-pressed=${filters.failure === 'any'} onClick=${() => change('failure', filters.failure === 'any' ? '' : 'any')}>Failed only</button>
    </form>
    <${Pending} answer=${answer}>
      <div class="card"><${Table} caption="Requests" columns=${COLUMNS} rows=${rows.slice(0, limit)} link=${(row) => `/dashboard/requests/${row.request_id}`}
        empty="No request is like this. Send one, or look at a longer time." /></div>
      <p>
        ${rows.length > limit && html`<button type="button" class="quiet" onClick=${() => setLimit(limit + ROWS)}>Older</button>`}
        ${answer.value?.has_more && html`<span class="muted">There are more than these ${number(answer.value.data.length)}: ask for less.</span>`}
      </p>
      <${Source} path=${address('/admin/v1/requests', query)} sql=${`SELECT * FROM requests ORDER BY received_at DESC LIMIT 100`} />
    <//>
  `;
}

/** A time in microseconds; the ledger's have six digits, of which Date keeps three. */
function micros(text) {
  const digits = /\.(\d{1,6})/.exec(text)?.[1] ?? '';
  return Math.floor(time(text).getTime() / 1000) * 1_000_000 + Number(digits.padEnd(6, '0'));
}

function Waterfall({ request, attempts }) {
  const starts = attempts.map((attempt) => micros(attempt.started_at));
  const begin = Math.min(...starts, ...(request.received_at ? [micros(request.received_at)] : []));
  const ends = attempts.map((attempt, at) => starts[at] + (attempt.total_us ?? 0));
  const end = Math.max(begin + 1, ...ends, ...(request.ended_at ? [micros(request.ended_at)] : []));
  const place = (from, us) => ({ left: `${(100 * (from - begin)) / (end - begin)}%`, width: `max(2px, ${(100 * us) / (end - begin)}%)` });
  const lines = [
    ...(request.received_at ? [{ title: 'Request', from: micros(request.received_at), us: request.total_us, first: request.first_token_us, of: request.outcome }] : []),
    ...attempts.map((attempt, at) => ({
      title: `${attempt.number}. ${attempt.provider}/${attempt.model}`,
      from: starts[at],
      us: attempt.total_us ?? end - starts[at],
      first: attempt.first_token_us,
      of: attempt.outcome,
    })),
  ];
  return html`<ol class="waterfall" aria-label="Stages and attempts over time">
    ${lines.map((line) => html`<li>
      <span class="waterfall-title">${line.title}</span>
      <span class="waterfall-lane">
        <span class=${`waterfall-bar ${line.of === 'served' ? 'good' : 'bad'}`} style=${place(line.from, line.us)}></span>
        ${line.first !== null && line.first !== undefined && html`<span class="waterfall-first" title="first token" style=${{ left: place(line.from + line.first, 0).left }}></span>`}
      </span>
      <span class="waterfall-time">${duration(line.us)}${line.first !== null && line.first !== undefined ? `, first token ${duration(line.first)}` : ''}</span>
    </li>`)}
  </ol>`;
}

function Facts({ row }) {
  const given = Object.entries(row).filter(([, value]) => value !== null && value !== '' && !(typeof value === 'object' && !Object.keys(value).length));
  return html`<dl class="facts">${given.map(([name, value]) => html`<div><dt>${name}</dt><dd>${typeof value === 'object' ? JSON.stringify(value) : String(value)}</dd></div>`)}</dl>`;
}

const ATTEMPTS = [
  { title: 'Number', isNumber: true, show: (row) => row.number },
  { title: 'Target', show: (row) => `${row.provider}/${row.model}` },
  { title: 'Outcome', show: (row) => html`<${Outcome} of=${row.outcome} /> ${row.failure ?? ''}` },
  { title: 'Status', isNumber: true, show: (row) => row.provider_status ?? '–' },
  { title: 'Tokens in', isNumber: true, show: (row) => number(row.total_input_tokens) },
  { title: 'of the cache', isNumber: true, show: (row) => number(row.cache_read_tokens) },
  { title: 'Tokens out', isNumber: true, show: (row) => number(row.total_output_tokens) },
  { title: 'Cost', isNumber: true, show: (row) => html`<span title=${row.cost_usd}>${usd(row.cost_usd)}</span>` },
  { title: 'Ended because', show: (row) => row.finish_reason ?? '–' },
];

export function OneRequest({ id }) {
  const answer = useAnswer(() => get(`requests/${encodeURIComponent(id)}`), [id]);
  const attempts = answer.value?.attempts ?? [];
  const request = answer.value?.request ?? {};
  const scores = answer.value?.scores ?? [];
  return html`
    <p><a href="/dashboard/requests">All requests</a></p>
    <h1>Request <code>${id}</code></h1>
    <${Pending} answer=${answer}>
      ${answer.value && html`
        <div class="tiles">
          <${Tile} title="Outcome" value=${html`<${Outcome} of=${request.outcome ?? 'unknown'} />`}
            note=${request.outcome ? `${request.failure ?? 'no failure'}, the client saw ${request.status}` : 'it is under way, or its row is on its way'} />
          <${Tile} title="Whole answer" value=${duration(request.total_us)} note=${`first token ${duration(request.first_token_us)}`} />
          <${Tile} title="Cost" value=${usd(request.cost_usd)} note=${`${attempts.length} call${attempts.length === 1 ? '' : 's'} to providers`} />
          <${Tile} title="Came" value=${when(request.received_at ?? attempts[0]?.started_at)} note=${`${request.project ?? ''}${request.user ? `, ${request.user}` : ''}`} />
        </div>
        <section class="card"><h2>Where the time went</h2><${Waterfall} request=${request} attempts=${attempts} /></section>
        <section class="card"><h2>Attempts</h2><${Table} caption="Attempts" columns=${ATTEMPTS} rows=${attempts} empty="No provider was called." /></section>
        ${scores.length > 0 && html`<section class="card"><h2>Scores</h2><${Table} caption="Scores" rows=${scores} columns=${[
          { title: 'Name', show: (row) => row.name },
          { title: 'Value', show: (row) => String(row.value ?? row.number ?? row.text ?? '–') },
          { title: 'By', show: (row) => row.source ?? '–' },
          { title: 'Comment', show: (row) => row.comment ?? '–' },
        ]} /></section>`}
        <section class="card"><h2>The request's row</h2><${Facts} row=${request} /></section>
        ${attempts.map((attempt) => html`<details class="card"><summary>Attempt ${attempt.number}: all columns</summary><${Facts} row=${attempt} /></details>`)}
        <${Source} path=${`/admin/v1/requests/${id}`} sql=${`SELECT * FROM attempts WHERE request_id = '${id}' ORDER BY number`} />`}
    <//>
  `;
}
