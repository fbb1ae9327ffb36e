// What answers were worth: scores over time by who answered, and what is known of answers without reading them.

import { html } from './htm-preact.js';
import { address, get } from './api.js';
import { Chart } from './chart.js';
import { Drift } from './drift.js';
import { Filters, useFilters } from './list.js';
import { number, Pending, percent, Since, Source, Table, useAnswer } from './parts.js';

const FILTERS = [
  ['project', 'Project'],
  ['model', 'Model'],
];

/** Lines of a chart at the most: more colours cannot be told apart. */
const TONES = ['--blue', '--orange', '--green', '--red', '--violet', '--teal'];

const SQL = `SELECT name, requests.target AS target, count() AS scores, avg(number) AS mean
FROM scores INNER JOIN requests USING (request_id) GROUP BY name, target ORDER BY name, target;
SELECT provider, model, avg(is_refused), avg(is_cut), avg(is_empty), avg(output_tokens) FROM answer_checks GROUP BY provider, model`;

/** The targets with the most behind them first. */
function targets(rows, weight) {
  const sums = new Map();
  for (const row of rows) sums.set(row.target, (sums.get(row.target) ?? 0) + row[weight]);
  return [...sums].sort((a, b) => b[1] - a[1]).map(([target]) => target);
}

const SECONDS = { m: 60, h: 3_600, d: 86_400 };

/** The steps from then on, until now. */
function steps(since, step) {
  const now = Date.now() / 1000;
  const first = Math.floor((now - Number(since.slice(0, -1)) * SECONDS[since.at(-1)]) / step) * step;
  return Array.from({ length: Math.floor((now - first) / step) + 1 }, (_, at) => first + at * step);
}

function OverTime({ title, rows, times, weight, value, write }) {
  const series = targets(rows, weight).slice(0, TONES.length).map((target, at) => {
    const known = new Map(rows.filter((row) => row.target === target).map((row) => [Date.parse(row.at) / 1000, value(row)]));
    return { title: target, tone: TONES[at], values: times.map((time) => known.get(time) ?? null) };
  });
  return html`<${Chart} title=${title} times=${times} series=${series} write=${write} />`;
}

function byTarget(rows) {
  return targets(rows, 'answers').map((target) => {
    const own = rows.filter((row) => row.target === target);
    const sum = (name) => own.reduce((all, row) => all + row[name], 0);
    const answers = sum('answers');
    const tokens = own.reduce((all, row) => all + row.output_tokens * row.answers, 0);
    return { target, answers, refused: sum('refused'), cut: sum('cut'), empty: sum('empty'), tokens: tokens / answers };
  });
}

const CHECKS = [
  { title: 'Target', name: 'target' },
  { title: 'Answers', isNumber: true, show: (row) => number(row.answers) },
  { title: 'Refused', isNumber: true, show: (row) => percent(row.refused, row.answers) },
  { title: 'Cut off', isNumber: true, show: (row) => percent(row.cut, row.answers) },
  { title: 'Empty', isNumber: true, show: (row) => percent(row.empty, row.answers) },
  { title: 'Tokens of an answer', isNumber: true, show: (row) => number(Math.round(row.tokens)) },
];

const percentage = (value) => `${Number(value).toFixed(1)} %`;

export function Quality({ search }) {
  const { filters, change, since, setSince } = useFilters(FILTERS, search, '7d');
  const query = { since, ...filters };
  const answer = useAnswer(() => get('quality', query), [JSON.stringify(query)], 15_000);
  const { scores = [], checks = [] } = answer.value ?? {};
  const names = [...new Set(scores.map((row) => row.name))].sort();
  const times = answer.value ? steps(since, answer.value.step_seconds) : [];
  // What waits for its answer stands in an element of its own: Preact would move what follows it to the front of the page.
  return html`
    <div class="title"><h1>Quality</h1><span class="spacer"></span><${Since} value=${since} onChange=${setSince} choices=${['1h', '24h', '7d', '30d', '90d']} /></div>
    <${Filters} label="Filter answers" of=${FILTERS} filters=${filters} onChange=${change} />
    <div><${Pending} answer=${answer}>
      <h2>Scores</h2>
      ${names.length === 0 && html`<p class="muted card">No answer was scored in this time. Applications score with POST /v1/feedback.</p>`}
      <div class="grid">${names.map((name) => html`<${OverTime} key=${name} title=${name} rows=${scores.filter((row) => row.name === name)} times=${times} weight="scores"
        value=${(row) => row.mean} write=${(value) => Number(value).toFixed(2)} />`)}</div>
      <h2>Answers, without reading them</h2>
      ${checks.length > 0 && html`<div class="grid">
        <${OverTime} title="Refused" rows=${checks} times=${times} weight="answers" value=${(row) => (100 * row.refused) / row.answers} write=${percentage} />
        <${OverTime} title="Tokens of an answer" rows=${checks} times=${times} weight="answers" value=${(row) => row.output_tokens} write=${(value) => number(Math.round(value))} />
      </div>`}
      <div class="card"><${Table} caption="Answers by target" columns=${CHECKS} rows=${byTarget(checks)} empty="No answer in this time." /></div>
      <${Source} path=${address('/admin/v1/quality', query)} sql=${SQL} />
    <//></div>
    <${Drift} project=${filters.project} model=${filters.model} />
  `;
}
