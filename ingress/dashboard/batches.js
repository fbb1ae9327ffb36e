// Batches of all projects: how far each is, what it costs, and which of its lines go to a provider's own batch API.

import { html, useState } from './htm-preact.js';
import { address, get, post } from './api.js';
import { Filters, Turn, useFilters, usePages } from './list.js';
import { ago, mayManage, number, Pending, percent, Progress, Source, Sure, Table, Tile, usd, useAnswer, when } from './parts.js';

const STATUSES = ['', 'validating', 'in_progress', 'finalizing', 'completed', 'failed', 'expired', 'cancelling', 'cancelled'];
const TONES = { completed: 'good', failed: 'bad', expired: 'bad' };
const time = (seconds) => (seconds ? new Date(seconds * 1000).toISOString() : null);

const Status = ({ of }) => html`<span class=${`badge ${TONES[of] ?? 'neutral'}`}>${of}</span>`;

function Counts({ batch }) {
  const { total, completed, failed } = batch.request_counts;
  return html`<${Progress} label=${`Progress of ${batch.id}`} done=${completed} failed=${failed} whole=${total} />
    <span class="muted">${number(completed)} of ${number(total)}${failed ? `, ${number(failed)} failed` : ''}</span>`;
}

const COLUMNS = [
  { title: 'Batch', show: (row) => html`<code>${row.id}</code>` },
  { title: 'Made', show: (row) => html`<span title=${when(time(row.created_at))}>${ago(time(row.created_at))}</span>` },
  { title: 'Project', show: (row) => row.project },
  { title: 'Status', show: (row) => html`<${Status} of=${row.status} />` },
  { title: 'Lines', show: (row) => html`<${Counts} batch=${row} />` },
  { title: 'Models', show: (row) => row.models.join(', ') || '–' },
  { title: 'Cost', isNumber: true, show: (row) => html`<span title=${row.penstock.cost_usd}>${usd(row.penstock.cost_usd)}</span>` },
];

export function Batches({ search }) {
  const { filters, change } = useFilters([['project', 'Project'], ['status', 'Status']], search, '');
  const paged = usePages('batches', filters, 3_000);
  return html`
    <div class="title"><h1>Batches</h1></div>
    <${Filters} label="Filter batches" of=${[['project', 'Project']]} filters=${filters} onChange=${change}>
      <label class="field">Status
        <select value=${filters.status} onChange=${(event) => change('status', event.target.value)}>
          ${STATUSES.map((status) => html`<option value=${status} selected=${status === filters.status}>${status || 'any'}</option>`)}
        </select>
      </label>
    <//>
    <${Pending} answer=${paged.answer}>
      <div class="card"><${Table} caption="Batches" columns=${COLUMNS} rows=${paged.rows} link=${(row) => `/dashboard/batches/${row.id}`}
        empty="No batch is like this. One begins with penstock batch submit, or POST /v1/batches." /></div>
      <${Turn} paged=${paged} />
      <${Source} path=${address('/admin/v1/batches', filters)} sql="SELECT batch_id, count(), sum(cost_usd) FROM attempts WHERE batch_id != '' GROUP BY batch_id" />
    <//>
  `;
}

const LANES = [
  { title: 'Model', show: (row) => row.model },
  { title: 'Target', show: (row) => row.target ?? '–' },
  { title: "Provider's own batch", show: (row) => html`<span class=${`badge ${row.is_native ? 'good' : 'neutral'}`}>${row.is_native ? 'yes' : 'no'}</span>` },
  { title: 'Why', show: (row) => row.why ?? '–' },
  { title: 'Lines', isNumber: true, show: (row) => number(row.lines) },
  { title: 'Done', isNumber: true, show: (row) => number(row.done) },
  { title: 'Under way', isNumber: true, show: (row) => number(row.under_way) },
];

const TIMES = [
  ['created_at', 'Made'], ['in_progress_at', 'Began'], ['finalizing_at', 'All lines had a result'], ['completed_at', 'Completed'],
  ['cancelling_at', 'Was to stop'], ['cancelled_at', 'Stopped'], ['failed_at', 'Failed'], ['expired_at', 'Expired'], ['expires_at', 'Its window ends'],
];

export function OneBatch({ id, me }) {
  const path = `batches/${encodeURIComponent(id)}`;
  const answer = useAnswer(() => get(path), [id], 2_000);
  const [isAsked, setAsked] = useState(false);
  const batch = answer.value;
  const cancel = async () => {
    await post(`${path}/cancel`);
    setAsked(false);
    answer.again();
  };
  const isOpen = batch && !batch.is_over && batch.status !== 'cancelling';
  return html`
    <p><a href="/dashboard/batches">All batches</a></p>
    <div class="title"><h1>Batch <code>${id}</code></h1><span class="spacer"></span>
      ${isOpen && mayManage(me, batch.project) && html`<button type="button" class="danger" onClick=${() => setAsked(true)}>Cancel the batch</button>`}
    </div>
    <${Pending} answer=${answer}>
      ${batch && html`
        ${batch.penstock.paused && html`<p class="warning" role="status">${batch.penstock.paused}</p>`}
        <div class="tiles">
          <${Tile} title="Status" value=${html`<${Status} of=${batch.status} />`} note=${`window ${batch.completion_window}, until ${when(time(batch.expires_at))}`} />
          <${Tile} title="Lines" value=${html`<${Counts} batch=${batch} />`} note=${percent(batch.request_counts.completed + batch.request_counts.failed, batch.request_counts.total)} />
          <${Tile} title="Cost" value=${usd(batch.penstock.cost_usd)} note="of the answers, so far" />
          <${Tile} title="Tokens" value=${number(batch.usage.total_tokens)} note=${`${number(batch.usage.input_tokens)} in, ${number(batch.usage.output_tokens)} out`} />
          <${Tile} title="Of" value=${batch.project} note=${`${batch.user ? `${batch.user}, ` : ''}key ${batch.key_id}`} />
        </div>
        <section class="card"><h2>By model</h2><${Table} caption="Models of the batch" columns=${LANES} rows=${batch.penstock.native.models} empty="Its file has not been read yet." /></section>
        <section class="card"><h2>Times</h2><dl class="facts">
          ${TIMES.filter(([name]) => batch[name]).map(([name, title]) => html`<div><dt>${title}</dt><dd>${when(time(batch[name]))}</dd></div>`)}
        </dl></section>
        ${batch.errors && html`<section class="card"><h2>What is wrong</h2><${Table} caption="Errors" rows=${batch.errors.data} columns=${[
          { title: 'Line', show: (row) => row.line ?? '–' }, { title: 'Code', name: 'code' }, { title: 'Message', name: 'message' },
        ]} /></section>`}
        <${Source} path=${`/admin/v1/${path}`} sql=${`SELECT * FROM requests WHERE batch_id = '${id.replace(/[^a-z0-9_]/g, '')}' ORDER BY received_at`} />`}
    <//>
    ${isAsked && html`<${Sure} question="Lines that have not begun do not begin; what was answered is kept." onYes=${cancel} onClose=${() => setAsked(false)} />`}
  `;
}
