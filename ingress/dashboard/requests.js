// Which requests there were, and one of them whole: its attempts as a waterfall, with their money.

import { html } from './htm-preact.js';
import { address, get } from './api.js';
import { Filters, Turn, useFilters, usePages, where } from './list.js';
import { micros, Waterfall } from './waterfall.js';
import { ago, bytes, duration, number, Outcome, Pending, percent, Since, Source, Table, Tile, usd, useAnswer, when } from './parts.js';

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

const FILTERS = [
  ['model', 'Model'],
  ['target', 'Target'],
  ['project', 'Project'],
  ['user', 'User'],
  ['key_id', 'Key'],
  ['session', 'Session'],
  ['status', 'Status'],
  ['failure', 'Failure'],
];

export function Requests({ search }) {
  const { filters, change, since, setSince } = useFilters(FILTERS, search, '24h');
  const query = { since, ...filters };
  const paged = usePages('requests', query, 3_000);
  const sql = `SELECT * FROM requests${where(query)} ORDER BY received_at DESC LIMIT 100`;
  return html`
    <div class="title"><h1>Requests</h1><span class="spacer"></span><${Since} value=${since} onChange=${setSince} /></div>
    <${Filters} label="Filter requests" of=${FILTERS} filters=${filters} onChange=${change}>
      <button type="button" class="quiet" aria-pressed=${filters.failure === 'any'} onClick=${() => change('failure', filters.failure === 'any' ? '' : 'any')}>Failed only</button>
    <//>
    <${Pending} answer=${paged.answer}>
      <div class="card"><${Table} caption="Requests" columns=${COLUMNS} rows=${paged.rows} link=${(row) => `/dashboard/requests/${row.request_id}`}
        empty="No request is like this. Send one, or look at a longer time." /></div>
      <${Turn} paged=${paged} />
      <${Source} path=${address('/admin/v1/requests', query)} sql=${sql} />
    <//>
  `;
}

function lines({ request, attempts }) {
  const line = (row, title, from) => ({ title, from: micros(from), us: row.total_us, first: row.first_token_us, of: row.outcome });
  return [
    ...(request.received_at ? [line(request, 'Request', request.received_at)] : []),
    ...attempts.map((attempt) => line(attempt, `${attempt.number}. ${attempt.provider}/${attempt.model}`, attempt.started_at)),
  ];
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
  { title: 'Tools asked for', show: (row) => row.tools?.join(', ') || '–' },
];

/** JSON as people read it; anything else as it is. */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function Body({ kept }) {
  const part = (title, text, length) => html`<details open><summary>${title}, ${bytes(length)}</summary><pre class="body" tabindex="0">${pretty(text)}</pre></details>`;
  return html`<section class="card"><h2>What was asked and answered</h2>
    ${part('Request', kept.request, kept.request_bytes)}${kept.sent && part('As it was sent to the provider', kept.sent, kept.sent_bytes)}${part('Answer', kept.answer, kept.answer_bytes)}
    <p class="muted">From the beginning, as far as <code>[bodies] limit</code> goes; secrets are masked.</p>
  </section>`;
}

const STAGES = [
  { title: 'Stage', name: 'stage' },
  { title: 'Time', isNumber: true, show: (row) => duration(row.us) },
  { title: 'Share', isNumber: true, show: (row) => percent(row.us, row.whole) },
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
          ${request.session && html`<${Tile} title="Part of" value=${html`<a href=${address(`/dashboard/sessions/${encodeURIComponent(request.session)}`, { project: request.project })}>its session</a>`} note=${request.session} />`}
        </div>
        <section class="card"><h2>Where the time went</h2><${Waterfall} label="The request and its attempts over time" lines=${lines({ request, attempts })} /></section>
        ${Object.keys(request.stages ?? {}).length > 0 && html`<section class="card"><h2>Stages in the gateway</h2><${Table} caption="Stages" columns=${STAGES}
          rows=${Object.entries(request.stages).map(([stage, us]) => ({ stage, us, whole: request.total_us }))} /></section>`}
        <section class="card"><h2>Attempts</h2><${Table} caption="Attempts" columns=${ATTEMPTS} rows=${attempts} empty="No provider was called." /></section>
        ${scores.length > 0 && html`<section class="card"><h2>Scores</h2><${Table} caption="Scores" rows=${scores} columns=${[
          { title: 'Name', show: (row) => row.name },
          { title: 'Value', show: (row) => String(row.value ?? row.number ?? row.text ?? '–') },
          { title: 'By', show: (row) => row.source ?? '–' },
          { title: 'Comment', show: (row) => row.comment ?? '–' },
        ]} /></section>`}
        ${answer.value.body && html`<${Body} kept=${answer.value.body} />`}
        <section class="card"><h2>The request's row</h2><${Facts} row=${request} /></section>
        ${attempts.map((attempt) => html`<details class="card"><summary>Attempt ${attempt.number}: all columns</summary><${Facts} row=${attempt} /></details>`)}
        <${Source} path=${`/admin/v1/requests/${id}`} sql=${`SELECT * FROM attempts WHERE request_id = '${id}' ORDER BY number`} />`}
    <//>
  `;
}
