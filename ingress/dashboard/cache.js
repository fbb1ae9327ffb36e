// The cache: how often it answers, what that saves, what it holds; and clearing it.

import { html, useState } from './htm-preact.js';
import { address, get, remove } from './api.js';
import { Chart, filled } from './chart.js';
import { bytes, mayManage, number, Pending, percent, Since, Source, Sure, Table, Tile, usd, useAnswer } from './parts.js';

const SQL = `SELECT cache, count() AS requests, sum(saved_usd) AS saved_usd FROM requests
WHERE received_at > now() - INTERVAL 1 DAY GROUP BY cache`;

const KNOWN = ['project', 'namespace', 'entries', 'bytes'];

function columns(rows, me, onClear) {
  const more = [...new Set(rows.flatMap((row) => Object.keys(row)))].filter((name) => !KNOWN.includes(name));
  return [
    { title: 'Project', show: (row) => row.project },
    { title: 'Namespace', show: (row) => row.namespace || html`<span class="muted">none</span>` },
    { title: 'Answers', isNumber: true, show: (row) => number(row.entries) },
    { title: 'Size', isNumber: true, show: (row) => bytes(row.bytes) },
    ...more.map((name) => ({ title: name, show: (row) => (typeof row[name] === 'object' && row[name] ? JSON.stringify(row[name]) : (row[name] ?? '–')) })),
    ...(me.role === 'viewer' ? [] : [{ title: 'Actions', show: (row) => mayManage(me, row.project) && html`<button type="button" class="quiet danger" onClick=${() => onClear(row)}>Clear</button>` }]),
  ];
}

export function Cache({ me }) {
  const [since, setSince] = useState('24h');
  const [sure, setSure] = useState(null);
  const activity = useAnswer(() => get('activity', { since }), [since], 5_000);
  const cache = useAnswer(() => get('cache'), [], 5_000);
  const clear = async () => {
    await remove(address('cache', { project: sure.project, namespace: sure.namespace }));
    setSure(null);
    cache.again();
  };
  const report = activity.value;
  const chart = report && filled(report);
  const rows = cache.value?.caches ?? [];
  const share = chart && chart.times.map((_, at) => {
    const all = chart.counts('requests')[at];
    return all ? (100 * chart.counts('cached')[at]) / all : null;
  });
  return html`
    <div class="title"><h1>Cache</h1><span class="spacer"></span><${Since} value=${since} onChange=${setSince} /></div>
    <${Pending} answer=${activity}>
      ${report && html`
        <div class="tiles">
          <${Tile} title="Answered from the cache" value=${number(report.total.cached)} note=${`of ${number(report.total.requests)} requests`} />
          <${Tile} title="Hit rate" value=${percent(report.total.cached, report.total.requests)} note=${`last ${since}`} />
          <${Tile} title="Saved" value=${usd(report.total.saved_usd)} note=${`spent ${usd(report.total.cost_usd)}`} />
          <${Tile} title="Kept" value=${number(rows.reduce((sum, row) => sum + row.entries, 0))} note=${bytes(rows.reduce((sum, row) => sum + row.bytes, 0))} />
        </div>
        <div class="grid">
          <${Chart} title="Hit rate" times=${chart.times} write=${(value) => `${Number(value).toFixed(1)} %`} series=${[{ title: 'of requests', tone: '--blue', values: share, isFilled: true }]} />
          <${Chart} title="Saved" times=${chart.times} write=${usd} series=${[{ title: 'dollars', tone: '--green', values: chart.counts('saved_usd'), isFilled: true }]} />
        </div>`}
    <//>
    <section class="card"><h2>What it holds</h2><${Pending} answer=${cache}>
      <${Table} caption="What the cache holds" columns=${columns(rows, me, setSure)} rows=${rows} empty=${html`Nothing. The cache is off until <code>[cache] mode</code>, a model or a key says otherwise.`} />
    <//></section>
    <${Source} path="/admin/v1/cache" sql=${SQL} />
    ${sure && html`<${Sure} question=${`No ingress uses the ${number(sure.entries)} cached answers of ${sure.project}${sure.namespace ? `, namespace ${sure.namespace},` : ''} any more.`} onYes=${clear} onClose=${() => setSure(null)} />`}
  `;
}
