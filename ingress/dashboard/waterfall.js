// What happened when: bars below each other on one line of time.

import { html } from './htm-preact.js';
import { duration, time } from './parts.js';

/** A time in microseconds; the ledger's have six digits, of which Date keeps three. */
export function micros(text) {
  const digits = /\.(\d{1,6})/.exec(text)?.[1] ?? '';
  return Math.floor(time(text).getTime() / 1000) * 1_000_000 + Number(digits.padEnd(6, '0'));
}

/** `lines` are `{ title, from, us, first, of }`: microseconds, and an outcome. What is under way has no `us`. */
export function Waterfall({ label, lines }) {
  if (!lines.length) return html`<p class="muted">Nothing has begun yet.</p>`;
  const begin = Math.min(...lines.map((line) => line.from));
  const end = Math.max(begin + 1, ...lines.map((line) => line.from + (line.us ?? 0)));
  const isThere = (value) => value !== null && value !== undefined;
  const place = (from, us) => ({ left: `${(100 * (from - begin)) / (end - begin)}%`, width: `max(2px, ${(100 * us) / (end - begin)}%)` });
  return html`<ol class="waterfall" aria-label=${label}>
    ${lines.map((line) => html`<li>
      <span class="waterfall-title">${line.title}</span>
      <span class="waterfall-lane">
        <span class=${`waterfall-bar ${line.of === 'served' ? 'good' : 'bad'}`} style=${place(line.from, line.us ?? end - line.from)}></span>
        ${isThere(line.first) && html`<span class="waterfall-first" title="first token" style=${{ left: place(line.from + line.first, 0).left }}></span>`}
      </span>
      <span class="waterfall-time">${duration(line.us)}${isThere(line.first) ? `, first token ${duration(line.first)}` : ''}</span>
    </li>`)}
  </ol>`;
}
