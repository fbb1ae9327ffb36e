// Sessions: an agent's task or a conversation, from its first call to its last.

import { html, useState } from './htm-preact.js';
import { address, get, post } from './api.js';
import { Chart } from './chart.js';
import { Filters, Turn, useFilters, usePages, where } from './list.js';
import { ago, duration, ErrorNote, mayManage, number, Outcome, Pending, percent, Since, Source, Sure, Table, Tile, time, usd, useAnswer, when } from './parts.js';
import { micros, Waterfall } from './waterfall.js';

const FILTERS = [
  ['project', 'Project'],
  ['user', 'User'],
  ['model', 'Model'],
  ['session', 'Session'],
];

/** Calls that are drawn; all of them stand in the table. */
const DRAWN = 200;

const link = (row) => address(`/dashboard/sessions/${encodeURIComponent(row.session)}`, { project: row.project });

const COLUMNS = [
  { title: 'Session', show: (row) => row.session },
  { title: 'Last call', show: (row) => html`<span title=${when(row.last_at)}>${ago(row.last_at)}</span>` },
  { title: 'Lasted', isNumber: true, show: (row) => duration(micros(row.last_at) - micros(row.first_at)) },
  { title: 'Project', show: (row) => row.project },
  { title: 'Users', show: (row) => row.users?.join(', ') || '–' },
  { title: 'Models', show: (row) => row.models.join(', ') },
  { title: 'Calls', isNumber: true, show: (row) => number(row.requests) },
  { title: 'Failed', isNumber: true, show: (row) => number(row.failed) },
  { title: 'Cost', isNumber: true, show: (row) => html`<span title=${row.cost_usd}>${usd(row.cost_usd)}</span>` },
];

export function Sessions({ search }) {
  const { filters, change, since, setSince } = useFilters(FILTERS, search, '7d');
  const query = { since, ...filters };
  const paged = usePages('sessions', query, 5_000);
  const sql = `SELECT project, session, count() AS calls, sum(cost_usd) AS cost_usd, max(ended_at) AS last_at
FROM requests${where(query)} AND session != '' GROUP BY project, session ORDER BY last_at DESC LIMIT 100`;
  return html`
    <div class="title"><h1>Sessions</h1><span class="spacer"></span><${Since} value=${since} onChange=${setSince} choices=${['1h', '24h', '7d', '30d']} /></div>
    <${Filters} label="Filter sessions" of=${FILTERS} filters=${filters} onChange=${change} />
    <${Pending} answer=${paged.answer}>
      <div class="card"><${Table} caption="Sessions" columns=${COLUMNS} rows=${paged.rows} link=${link}
        empty="No session in this time. A session is what a client names: x-penstock-session, or what agents send by themselves." /></div>
      <${Turn} paged=${paged} />
      <${Source} path=${address('/admin/v1/sessions', query)} sql=${sql} />
    <//>
  `;
}

const CALLS = [
  { title: 'Call', show: (row) => row.at + 1 },
  { title: 'When', show: (row) => when(row.received_at) },
  { title: 'Model', show: (row) => row.model },
  { title: 'Answered by', show: (row) => row.target ?? '–' },
  { title: 'Outcome', show: (row) => html`<${Outcome} of=${row.outcome} /> ${row.failure ?? ''}` },
  { title: 'Tokens in', isNumber: true, show: (row) => number(row.input_tokens) },
  { title: 'of the cache', isNumber: true, show: (row) => number(row.cache_read_tokens) },
  { title: 'Tokens out', isNumber: true, show: (row) => number(row.output_tokens) },
  { title: 'Time', isNumber: true, show: (row) => duration(row.total_us) },
  { title: 'Cost', isNumber: true, show: (row) => html`<span title=${row.cost_usd}>${usd(row.cost_usd)}</span>` },
  { title: 'Tools asked for', show: (row) => row.tools?.join(', ') || '–' },
];

export function OneSession({ id, search, me }) {
  const [isAsked, setAsked] = useState(false);
  const [error, setError] = useState(null);
  const project = new URLSearchParams(search).get('project') ?? '';
  const path = `sessions/${encodeURIComponent(id)}`;
  const answer = useAnswer(() => get(path, { project }), [id, project], 3_000);
  const session = answer.value?.session;
  const calls = (answer.value?.requests ?? []).map((row, at) => ({ ...row, at }));
  const turn = (verb) => post(address(`${path}/${verb}`, { project: session.project }));
  const stop = async () => {
    await turn('stop');
    setAsked(false);
    answer.again();
  };
  const resume = () => turn('resume').then(() => answer.again(), setError);
  let sum = 0;
  const spent = calls.map((row) => (sum += Number(row.cost_usd ?? 0)));
  const sql = `SELECT * FROM requests WHERE session = '${id.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}' ORDER BY received_at`;
  return html`
    <p><a href="/dashboard/sessions">All sessions</a></p>
    <div class="title"><h1>Session <code>${id}</code></h1><span class="spacer"></span>
      ${session && mayManage(me, session.project) && (session.stopped_until
        ? html`<button type="button" class="quiet" onClick=${resume}>Let it go on</button>`
        : html`<button type="button" class="danger" onClick=${() => setAsked(true)}>Stop the session</button>`)}
    </div>
    <${ErrorNote} error=${error} />
    ${session?.stopped_until && html`<p class="warning" role="status">Stopped until ${when(session.stopped_until)}: its calls are refused.</p>`}
    <${Pending} answer=${answer}>
      ${session && html`
        <div class="tiles">
          <${Tile} title="Calls" value=${number(session.requests)} note=${`${number(session.failed)} failed, ${number(session.attempts)} to providers`} tone=${session.failed ? 'bad' : ''} />
          <${Tile} title="From first to last" value=${duration(micros(session.last_at) - micros(session.first_at))} note=${`of these ${duration(session.total_us)} in calls; last ${ago(session.last_at)}`} />
          <${Tile} title="Tokens in" value=${number(session.input_tokens)} note=${`${percent(session.cache_read_tokens, session.input_tokens)} from the provider's cache`} />
          <${Tile} title="Tokens out" value=${number(session.output_tokens)} />
          <${Tile} title="Tools asked for" value=${number(session.tools?.length ?? 0)} note=${session.tools?.join(', ') || 'none'} />
          <${Tile} title="Cost" value=${usd(session.cost_usd)} note=${`all attempts; ${session.project}${session.users?.length ? `, ${session.users.join(', ')}` : ''}`} />
        </div>
        ${calls.length > 1 && html`<${Chart} title="Spent so far" times=${calls.map((row) => time(row.received_at).getTime() / 1000)} write=${usd}
          series=${[{ title: 'dollars', tone: '--green', values: spent, isFilled: true }]} />`}
        <section class="card"><h2>Call by call</h2>
          <${Table} caption="Calls" columns=${CALLS} rows=${calls} link=${(row) => `/dashboard/requests/${row.request_id}`} />
          ${answer.value.has_more && html`<p class="muted">There are more calls than these.</p>`}
        </section>
        <section class="card"><h2>Where the time went</h2>
          <${Waterfall} label="Calls over time" lines=${calls.slice(-DRAWN).map((row) => ({
            title: html`<a href=${`/dashboard/requests/${row.request_id}`}>${row.at + 1}. ${row.target ?? row.model}</a>`,
            from: micros(row.received_at), us: row.total_us, first: row.first_token_us, of: row.outcome,
          }))} />
        </section>
        <${Source} path=${address(`/admin/v1/${path}`, { project })} sql=${sql} />`}
    <//>
    ${isAsked && html`<${Sure} question="What is in flight of it ends at once, and its further calls are refused for a week, in every ingress." onYes=${stop} onClose=${() => setAsked(false)} />`}
  `;
}
