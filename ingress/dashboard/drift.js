// Drift: whether the answers of a day are other than those of the weeks before, and what changed with them.

import { html, useState } from './htm-preact.js';
import { address, get } from './api.js';
import { duration, number, Pending, Source, Table, useAnswer } from './parts.js';

const SHARES = ['refusals', 'cut', 'empty', 'tools'];

/** A figure as its signal is read. */
function figure(signal, value) {
  if (SHARES.includes(signal)) return `${(100 * value).toFixed(1)} %`;
  if (signal === 'length') return `${number(Math.round(value))} tokens`;
  return ['first_token', 'latency'].includes(signal) ? duration(value) : Number(value).toFixed(3);
}

/** Of a share the points, of anything else the part by which it changed. */
function change({ signal, before, now }) {
  const sign = now >= before ? '+' : '−';
  if (SHARES.includes(signal)) return `${sign}${Math.abs(100 * (now - before)).toFixed(1)} points`;
  return before ? `${sign}${Math.abs((100 * (now - before)) / before).toFixed(1)} %` : '–';
}

const TESTS = [
  { title: 'Of', show: (row) => `${row.scope} ${row.name}` },
  { title: 'Signal', show: (row) => row.signal },
  { title: 'Before', isNumber: true, show: (row) => figure(row.signal, row.before) },
  { title: 'On the day', isNumber: true, show: (row) => figure(row.signal, row.now) },
  { title: 'Change', isNumber: true, show: change },
  { title: 'By chance', isNumber: true, show: (row) => (row.p < 0.001 ? row.p.toExponential(1) : row.p.toFixed(3)) },
  { title: 'Answers', isNumber: true, show: (row) => number(row.answers) },
  { title: 'Verdict', show: (row) => (row.drift ? html`<strong>drift</strong>` : 'as before') },
];

const VERSIONS = [
  { title: 'Target', show: (row) => row.target },
  { title: 'What is new', show: (row) => row.kind.replaceAll('_', ' ') },
  { title: 'Now', show: (row) => row.version },
  { title: 'Before', show: (row) => row.before.join(', ') },
  { title: 'Answers', isNumber: true, show: (row) => number(row.answers) },
];

/** Rows that are shown at first: what is least like the days before. */
const FIRST = 10;

const yesterday = () => new Date(Date.now() - 86_400_000).toISOString().slice(0, 10);

export function Drift({ project, model }) {
  const [day, setDay] = useState(yesterday());
  const [isWhole, setWhole] = useState(false);
  const query = { day, project };
  const answer = useAnswer(() => get('drift', query), [JSON.stringify(query)]);
  const is = (row) => !model || (row.name ?? row.target).includes(model);
  const tests = (answer.value?.tests ?? []).filter(is);
  const versions = (answer.value?.versions ?? []).filter(is);
  const drifts = tests.filter((row) => row.drift).length;
  const shown = isWhole ? tests : tests.slice(0, Math.max(FIRST, drifts));
  return html`<section>
    <h2>Drift</h2>
    <div class="filters"><label class="field">Day, of UTC <input type="date" value=${day} max=${yesterday()} onChange=${(event) => setDay(event.target.value || yesterday())} /></label></div>
    <${Pending} answer=${answer}>
      <p role="status">${drifts === 0 ? 'No answers are other than in the weeks before.' : `${drifts} of ${tests.length} figures are other than in the weeks before.`}</p>
      <section class="card"><h3>The day against the weeks before</h3>
        <${Table} caption="Drift" columns=${TESTS} rows=${shown}
          empty="Nothing could be compared: it takes 100 answers on the day, and on seven of the 28 days that ended a week before it." />
        ${tests.length > shown.length && html`<button type="button" class="quiet" onClick=${() => setWhole(true)}>All ${tests.length} figures</button>`}
      </section>
      ${versions.length > 0 && html`<section class="card"><h3>New on this day</h3><${Table} caption="New versions" columns=${VERSIONS} rows=${versions} /></section>`}
      <${Source} path=${address('/admin/v1/drift', query)} />
    <//>
  </section>`;
}
