// Experiments: what each arm has shown, with intervals, and how it stands against the first.

import { html } from './htm-preact.js';
import { get } from './api.js';
import { number, Pending, Source, Table, useAnswer } from './parts.js';

const SQL = `SELECT experiment, arm, count() AS requests, countIf(outcome != 'served') AS failed, avg(cost_usd) AS cost_usd
FROM requests WHERE experiment != '' GROUP BY experiment, arm ORDER BY experiment, arm`;

/** A mean and its interval, of 95 %. */
function estimate(value, write) {
  if (!value) return '–';
  return html`${write(value.mean)} <span class="muted">(${write(value.low)} to ${write(value.high)})</span>`;
}

const percentage = (share) => `${(100 * share).toFixed(2)} %`;
const dollars = (value) => `$${Number(value).toPrecision(3)}`;
const millis = (value) => `${number(Math.round(value))} ms`;

const WORDS = { errors: 'failures', cost: 'cost', latency: 'time', score: 'score' };

/** What is certain against the first arm; what is not, is left open. */
function Verdict({ arm, isFirst }) {
  if (arm.stopped) return html`<span class="badge bad">stopped</span> ${arm.stopped}`;
  if (isFirst) return html`<span class="muted">the others are compared with it</span>`;
  const certain = arm.differences.filter(({ verdict }) => verdict !== 'open');
  if (certain.length === 0) return html`<span class="muted">nothing is certain yet</span>`;
  return certain.map(({ figure, verdict }) => html`<span class=${`badge ${verdict === 'better' ? 'good' : 'bad'}`}>${WORDS[figure] ?? figure}: ${verdict}</span> `);
}

const columns = (first) => [
  { title: 'Arm', show: (arm) => arm.arm },
  { title: 'Share', isNumber: true, show: (arm) => `${(100 * arm.share).toFixed(1)} %` },
  { title: 'Requests', isNumber: true, show: (arm) => number(arm.requests) },
  { title: 'Users', isNumber: true, show: (arm) => number(arm.units) },
  { title: 'Failed', isNumber: true, show: (arm) => estimate(arm.errors, percentage) },
  { title: 'Cost of a request', isNumber: true, show: (arm) => estimate(arm.cost_usd, dollars) },
  { title: 'Time', isNumber: true, show: (arm) => estimate(arm.latency_ms, millis) },
  { title: 'Score', isNumber: true, show: (arm) => estimate(arm.score, (value) => Number(value).toFixed(3)) },
  { title: 'Against the first', show: (arm) => html`<${Verdict} arm=${arm} isFirst=${arm === first} />` },
];

export function Experiments() {
  const answer = useAnswer(() => get('experiments'), [], 10_000);
  const experiments = answer.value?.data ?? [];
  return html`
    <div class="title"><h1>Experiments</h1></div>
    <${Pending} answer=${answer}>
      ${experiments.length === 0 && html`<p class="muted card">There are none. An experiment stands in the configuration, as <code>[[experiments]]</code>.</p>`}
      ${experiments.map(({ name, model, arms }) => html`<section class="card" key=${name}>
        <h2>${name} <span class="muted">on ${model}</span></h2>
        <${Table} caption=${`Arms of ${name}`} columns=${columns(arms[0])} rows=${arms} />
      </section>`)}
      ${experiments.length > 0 && html`<p class="muted">Users are those who stay in one arm: a user, else a session, else a request. Intervals of single figures hold with 95 %;
        what is said against the first arm holds however often it is looked at.</p>`}
    <//>
    <${Source} path="/admin/v1/experiments" sql=${SQL} />
  `;
}
