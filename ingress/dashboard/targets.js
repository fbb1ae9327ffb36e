// Which targets are well: circuits and free slots as they are now, and what calls to them were like.

import { html, useState } from './htm-preact.js';
import { get, post } from './api.js';
import { duration, ErrorNote, number, Pending, percent, Since, Source, Table, usd, useAnswer, when } from './parts.js';

/** A word and a colour for each state of a circuit. */
const CIRCUITS = { closed: ['yes', 'good'], half_open: ['a few, to try', 'neutral'], open: ['no', 'bad'] };
const goes = (row, isPaused) => (isPaused ? ['paused', 'bad'] : CIRCUITS[row.circuit] ?? [row.circuit, 'neutral']);

export function Targets({ me }) {
  const [since, setSince] = useState('1h');
  const [error, setError] = useState(null);
  const health = useAnswer(() => get('targets'), [], 2_000);
  const activity = useAnswer(() => get('activity', { since }), [since], 5_000);
  const resume = async (target) => {
    try {
      await post('targets/resume', { target });
      setError(null);
      health.again();
    } catch (problem) {
      setError(problem);
    }
  };
  const isPaused = (row) => row.paused_until && row.paused_until / 1000 > Date.now();
  return html`
    <div class="title"><h1>Models and targets</h1><span class="spacer"></span><${Since} value=${since} onChange=${setSince} /></div>
    <${ErrorNote} error=${error} />
    <section class="card"><h2>Now</h2><${Pending} answer=${health}>
      <${Table} caption="Targets now" rows=${health.value?.targets ?? []} empty="No worker serves a target." columns=${[
        { name: 'target', title: 'Target' },
        { title: 'Calls go there', show: (row) => {
          const [word, tone] = goes(row, isPaused(row));
          return html`<span class=${`badge ${tone}`} title=${`circuit: ${row.circuit}`}>${word}</span>`;
        } },
        { title: 'Why', show: (row) => row.reason ?? (isPaused(row) ? `its provider asked for no calls until ${when(row.paused_until / 1000)}` : '–') },
        { title: 'Well, 30 s', isNumber: true, show: (row) => number(row.succeeded) },
        { title: 'Failed, 30 s', isNumber: true, show: (row) => number(row.failed) },
        { title: 'Free slots', isNumber: true, show: (row) => `${number(row.free)} of ${number(row.slots)}` },
        { title: 'Workers', isNumber: true, show: (row) => number(row.workers) },
        { title: '', show: (row) => isPaused(row) && me.role === 'admin' && html`<button type="button" class="quiet" onClick=${() => resume(row.target)}>Resume</button>` },
      ]} />
    <//></section>
    <section class="card"><h2>Compared, last ${since}</h2><${Pending} answer=${activity}>
      <${Table} caption="Targets compared" rows=${activity.value?.targets ?? []} link=${(row) => `/dashboard/requests?since=${since}&model=${encodeURIComponent(row.target)}`}
        empty="No call in this time." columns=${[
        { name: 'target', title: 'Target' },
        { title: 'Calls', isNumber: true, show: (row) => number(row.attempts) },
        { title: 'Failed', isNumber: true, show: (row) => percent(row.failed, row.attempts) },
        { title: 'First token p50', isNumber: true, show: (row) => duration(row.first_token_p50_us) },
        { title: 'p95', isNumber: true, show: (row) => duration(row.first_token_p95_us) },
        { title: 'Whole answer p50', isNumber: true, show: (row) => duration(row.total_p50_us) },
        { title: 'p95', isNumber: true, show: (row) => duration(row.total_p95_us) },
        { title: 'Cost', isNumber: true, show: (row) => usd(row.cost_usd) },
        { title: 'per call', isNumber: true, show: (row) => usd(row.attempts ? Number(row.cost_usd) / row.attempts : 0) },
      ]} />
    <//></section>
    <${Source} path="/admin/v1/targets" sql=${`SELECT provider, model, count(), quantile(0.95)(first_token_us)
FROM attempts WHERE started_at > now() - INTERVAL 1 HOUR GROUP BY provider, model`} />
  `;
}
