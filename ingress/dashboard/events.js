// What somebody had to be told, and who changed what.

import { html, useState } from './htm-preact.js';
import { get } from './api.js';
import { Pending, Since, Source, Table, useAnswer, when } from './parts.js';

export function Alerts() {
  const [since, setSince] = useState('7d');
  const answer = useAnswer(() => get('alerts', { since }), [since], 10_000);
  const rows = answer.value?.alerts ?? [];
  return html`
    <div class="title"><h1>Alerts</h1><span class="spacer"></span><${Since} value=${since} onChange=${setSince} choices=${['24h', '7d', '30d', '90d']} /></div>
    <${Pending} answer=${answer}><div class="card">
      <${Table} caption="Alerts" rows=${rows} empty="No alert in this time." columns=${[
        { title: 'When', show: (row) => when(row.at) },
        { title: 'What', show: (row) => html`<span class="badge bad">${row.kind}</span>` },
        { title: 'Of', show: (row) => row.subject },
        { title: 'Message', show: (row) => row.message },
      ]} /></div>
      <${Source} path=${`/admin/v1/alerts?since=${since}`} sql="SELECT * FROM alerts ORDER BY at DESC LIMIT 100" />
    <//>
  `;
}

export function Audit() {
  const [since, setSince] = useState('30d');
  const answer = useAnswer(() => get('audit', { since }), [since], 10_000);
  return html`
    <div class="title"><h1>Audit</h1><span class="spacer"></span><${Since} value=${since} onChange=${setSince} choices=${['24h', '7d', '30d', '90d']} /></div>
    <${Pending} answer=${answer}><div class="card">
      <${Table} caption="Changes" rows=${answer.value?.data ?? []} empty="Nothing was changed in this time." columns=${[
        { title: 'When', show: (row) => when(row.at) },
        { title: 'Who', show: (row) => `${row.actor} (${row.role})` },
        { title: 'Did', show: (row) => row.action },
        { title: 'To', show: (row) => row.object },
        { title: 'By', show: (row) => row.source },
        { title: 'Before and after', show: (row) => html`<details><summary>show</summary><pre tabindex="0">${JSON.stringify({ before: row.before, after: row.after }, null, 2)}</pre></details>` },
      ]} /></div>
      <${Source} path=${`/admin/v1/audit?since=${since}`} sql="SELECT * FROM audit ORDER BY at DESC LIMIT 100" />
    <//>
  `;
}
