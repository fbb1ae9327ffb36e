// What happens now: traffic, failures, times, spending against budgets.

import { html, useEffect, useState } from './htm-preact.js';
import { get } from './api.js';
import { Chart, filled } from './chart.js';
import { useLive } from './live.js';
import { duration, number, Pending, percent, Since, Source, Table, Tile, usd, useAnswer } from './parts.js';

/** Between two looks at sums and budgets, in milliseconds. */
const PAUSE = 3_000;

const SQL = `SELECT toStartOfMinute(received_at) AS minute, count() AS requests,
    countIf(outcome IN ('refused', 'broken')) AS failed, quantileIf(0.95)(total_us, outcome = 'served') AS p95_us
FROM requests WHERE received_at > now() - INTERVAL 1 HOUR
GROUP BY minute ORDER BY minute`;

function Budget({ budget }) {
  return html`${budget.windows.map((window) => {
    const [limit, settled, reserved] = [window.limit, window.settled, window.reserved].map(Number);
    const share = (part) => `${limit ? Math.min(100, (100 * part) / limit) : 100}%`;
    const write = budget.limit_usd === undefined ? number : usd;
    const label = `${budget.name}${window.part ? ` (${window.part})` : ''}`;
    return html`<div class="budget">
      <div><a href="/dashboard/budgets">${label}</a>
        <span class="muted"> ${write(window.settled)} of ${write(window.limit)}${reserved ? `, ${write(window.reserved)} set aside` : ''}</span></div>
      <div class="bar" role="meter" aria-label=${label} aria-valuemin="0" aria-valuemax=${limit} aria-valuenow=${settled}>
        <span class=${settled >= limit * 0.9 ? 'bad' : 'good'} style=${{ width: share(settled) }}></span>
        <span class="held" style=${{ width: share(reserved) }}></span>
      </div>
    </div>`;
  })}`;
}

export function Overview() {
  const [since, setSince] = useState('1h');
  const activity = useLive('activity', 'activity', { since });
  const report = activity.value;
  const spent = report?.total.cost_usd;
  const today = useAnswer(() => get('spend', { since: new Date().toISOString().slice(0, 10) }), [], 15_000);
  const month = useAnswer(() => get('spend', { since: `${new Date().toISOString().slice(0, 7)}-01` }), [], 60_000);
  const budgets = useAnswer(() => get('budgets'), [], 15_000);
  // What was spent just now stands in budgets and sums too.
  const [seen, setSeen] = useState(0);
  useEffect(() => {
    if (spent === undefined || Date.now() - seen < PAUSE) return;
    setSeen(Date.now());
    today.again();
    budgets.again();
  }, [spent]);
  const chart = report && filled(report);
  const per = report && ((values) => values.map((value) => value / report.step_seconds));
  const ms = (values) => values.map((value) => (value === null ? null : value / 1000));
  return html`
    <div class="title"><h1>Overview</h1>
      <span class=${`badge ${activity.isLive ? 'good' : 'neutral'}`} role="status">${activity.isLive ? 'live' : 'every 3 s'}</span><span class="spacer"></span><${Since} value=${since} onChange=${setSince} /></div>
    <${Pending} answer=${activity}>
      ${report && html`
        <div class="tiles" aria-live="off">
          <${Tile} title="Requests" value=${number(report.total.requests)} note=${`last ${since}`} />
          <${Tile} title="Failed" value=${number(report.total.failed)} note=${percent(report.total.failed, report.total.requests)}
            tone=${report.total.failed ? 'bad' : ''} />
          <${Tile} title="First token" value=${duration(report.total.first_token_p50_us)} note=${`p95 ${duration(report.total.first_token_p95_us)}`} />
          <${Tile} title="Whole answer" value=${duration(report.total.total_p50_us)} note=${`p95 ${duration(report.total.total_p95_us)}`} />
          <${Tile} title="Spent today" value=${usd(today.value?.total.cost_usd)} note="since midnight, UTC" />
          <${Tile} title="Spent this month" value=${usd(month.value?.total.cost_usd)} note=${`${number(month.value?.total.requests)} requests`} />
          <${Tile} title="From the cache" value=${number(report.total.cached)} note=${`${percent(report.total.cached, report.total.requests)}, saved ${usd(report.total.saved_usd)}`} />
          <${Tile} title="Tokens" value=${number(report.total.input_tokens + report.total.output_tokens)}
            note=${`${number(report.total.input_tokens)} in, ${number(report.total.output_tokens)} out`} />
        </div>
        <div class="grid">
          <${Chart} title="Requests per second" times=${chart.times} write=${(value) => Number(value).toFixed(2)} series=${[
            { title: 'all', tone: '--blue', values: per(chart.counts('requests')), isFilled: true },
            { title: 'failed', tone: '--red', values: per(chart.counts('failed')) },
          ]} />
          <${Chart} title="Time to the whole answer" times=${chart.times} write=${(value) => `${Math.round(value)} ms`} series=${[
            { title: 'p50', tone: '--blue', values: ms(chart.values('total_p50_us')) },
            { title: 'p95', tone: '--orange', values: ms(chart.values('total_p95_us')) },
          ]} />
          <${Chart} title="Time to the first token" times=${chart.times} write=${(value) => `${Math.round(value)} ms`} series=${[
            { title: 'p50', tone: '--blue', values: ms(chart.values('first_token_p50_us')) },
            { title: 'p95', tone: '--orange', values: ms(chart.values('first_token_p95_us')) },
          ]} />
          <${Chart} title="Dollars" times=${chart.times} write=${(value) => usd(value)} series=${[
            { title: 'spent', tone: '--green', values: chart.counts('cost_usd'), isFilled: true },
          ]} />
        </div>
        <div class="grid">
          <section class="card"><h2>Budgets</h2>
            ${budgets.value?.data.length ? budgets.value.data.map((budget) => html`<${Budget} budget=${budget} />`)
              : html`<p class="muted">No budget yet: <a href="/dashboard/budgets">make one</a>.</p>`}
          </section>
          <section class="card"><h2>Why requests failed</h2>
            <${Table} caption="Failures" empty="Nothing failed." rows=${report.failures}
              link=${(row) => `/dashboard/requests?since=${since}&failure=${encodeURIComponent(row.failure)}`}
              columns=${[{ name: 'failure', title: 'Reason' }, { title: 'Requests', isNumber: true, show: (row) => number(row.requests) }]} />
          </section>
        </div>
        <${Source} path=${`/admin/v1/activity?since=${since}`} sql=${SQL} />`}
    <//>
  `;
}
