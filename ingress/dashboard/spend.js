// Who spent what: by any two dimensions, over any time, and where it leads to.

import { html, useState } from './htm-preact.js';
import { address, get } from './api.js';
import { Download, number, Pending, Since, Source, Table, Tile, usd, useAnswer } from './parts.js';

const DIMENSIONS = ['project', 'user', 'key_id', 'provider', 'model', 'virtual_model', 'operation', 'budget', 'batch', 'day', 'hour'];

const COLUMNS = {
  project: 'project', user: 'user', key_id: 'key_id', provider: 'provider', model: 'model', virtual_model: 'virtual_model',
  operation: 'operation', batch: 'batch_id', day: 'toDate(started_at)', hour: 'toStartOfHour(started_at)',
};

function Dimension({ label, value, onChange, isOptional }) {
  return html`<label class="field">${label}
    <select value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${isOptional && html`<option value="" selected=${value === ''}>nothing else</option>`}
      ${DIMENSIONS.map((name) => html`<option value=${name} selected=${name === value}>${name}</option>`)}
    </select>
  </label>`;
}

function csv(report) {
  const names = [...report.by, 'requests', 'attempts', 'input_tokens', 'output_tokens', 'cost_usd'];
  const cell = (value) => {
    // A spreadsheet would take a text that begins so for a formula.
    const text = String(value ?? '').replace(/^[=+\-@\t\r]/, "'$&");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [names, ...report.rows.map((row) => names.map((name) => row[name]))].map((row) => row.map(cell).join(',')).join('\r\n');
}

function sql(by, since) {
  const columns = by.map((name) => COLUMNS[name]).filter(Boolean);
  const hours = { m: 'MINUTE', h: 'HOUR', d: 'DAY' }[since.at(-1)];
  const keys = columns.length ? `${columns.join(', ')}, ` : '';
  return `SELECT ${keys}uniqExact(request_id) AS requests, count() AS attempts, sum(cost_usd) AS cost_usd
FROM attempts WHERE started_at >= ${since === 'today' ? "toStartOfDay(now('UTC'))" : `now() - INTERVAL ${since.slice(0, -1)} ${hours}`}
${columns.length ? `GROUP BY ${columns.join(', ')} ` : ''}ORDER BY cost_usd DESC`;
}

export function Spend() {
  const [first, setFirst] = useState('project');
  const [second, setSecond] = useState('model');
  const [since, setSince] = useState('7d');
  const by = [...new Set([first, second].filter(Boolean))];
  const query = { by: by.join(','), since: since === 'today' ? new Date().toISOString().slice(0, 10) : since };
  const answer = useAnswer(() => get('spend', query), [query.by, since], 15_000);
  const forecast = useAnswer(() => get('spend', { forecast: 'true' }), []);
  const report = answer.value;
  const most = report ? Math.max(...report.rows.map((row) => Number(row.cost_usd) || 0), 0) : 0;
  const columns = [
    ...by.map((name) => ({ title: name, show: (row) => row[name] ?? html`<span class="muted">none</span>` })),
    { title: 'Cost', isNumber: true, show: (row) => html`<span title=${row.cost_usd}>${usd(row.cost_usd)}</span>` },
    { title: 'Share', show: (row) => html`<span class="bar" aria-hidden="true"><span class="good" style=${{ width: `${most ? (100 * Number(row.cost_usd)) / most : 0}%` }}></span></span>` },
    { title: 'Requests', isNumber: true, show: (row) => number(row.requests) },
    { title: 'Attempts', isNumber: true, show: (row) => number(row.attempts) },
    { title: 'Tokens in', isNumber: true, show: (row) => number(row.input_tokens) },
    { title: 'Tokens out', isNumber: true, show: (row) => number(row.output_tokens) },
  ];
  const expected = forecast.value?.rows.find((row) => row.projected);
  return html`
    <div class="title"><h1>Spend</h1><span class="spacer"></span>
      <${Dimension} label="By" value=${first} onChange=${setFirst} />
      <${Dimension} label="and" value=${second} onChange=${setSecond} isOptional />
      <${Since} value=${since} onChange=${setSince} choices=${['1h', 'today', '24h', '7d', '30d', '90d', '365d']} />
    </div>
    <${Pending} answer=${answer}>
      ${report && html`
        <div class="tiles">
          <${Tile} title="Spent" value=${usd(report.total.cost_usd)} note=${`$${report.total.cost_usd} exactly`} />
          <${Tile} title="Requests" value=${number(report.total.requests)} note=${`${number(report.total.attempts)} calls to providers`} />
          ${report.total.unknown > 0 && html`<${Tile} title="Cost not known" value=${number(report.total.unknown)} note="attempts" tone="bad" />`}
          ${expected && html`<${Tile} title="Expected this month" value=${usd(expected.projected)} note=${`at ${usd(expected.per_day)} a day`} />`}
        </div>
        <div class="card"><div class="title"><h2>By ${by.join(' and ')}</h2><span class="spacer"></span>
          <${Download} name="spend.csv" text=${() => csv(report)}>CSV<//></div>
          <${Table} caption="Spend" columns=${columns} rows=${report.rows} empty="Nothing was spent in this time." /></div>
        <${Source} path=${address('/admin/v1/spend', query)} sql=${sql(by, since)} />`}
    <//>
  `;
}
