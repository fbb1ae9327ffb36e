// Charts over time, by uPlot. Each offers its numbers as a table too.

import { html, useEffect, useRef, useState } from './htm-preact.js';
import { Table, when } from './parts.js';

const HEIGHT = 180;

/** A line of fewer values is drawn with a dot for each: one alone would be no line. */
const FEW = 20;

const tone = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function options({ series, write }, width) {
  const line = tone('--line');
  const axis = { stroke: tone('--muted'), grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
  return {
    width,
    height: HEIGHT,
    cursor: { y: false },
    legend: { live: true },
    axes: [axis, { ...axis, size: 70, values: (_, ticks) => ticks.map((tick) => write(tick)) }],
    scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    series: [
      { value: (_, at) => (at === null ? '–' : when(at * 1000)) },
      ...series.map((one) => ({
        label: one.title,
        stroke: tone(one.tone),
        width: 2,
        fill: one.isFilled ? `${tone(one.tone)}22` : undefined,
        spanGaps: true,
        points: { show: one.values.filter((value) => value !== null).length < FEW },
        value: (_, value) => (value === null || value === undefined ? '–' : write(value)),
      })),
    ],
  };
}

/**
 * A chart. `times` are seconds; `series` are `{ title, tone, values, isFilled }`; `write` is how a value is written.
 */
export function Chart({ title, times, series, write }) {
  const place = useRef(null);
  const [isTable, setTable] = useState(false);
  useEffect(() => {
    if (isTable || !place.current) return undefined;
    const data = [times, ...series.map((one) => one.values)];
    const plot = new window.uPlot(options({ series, write }, place.current.clientWidth), data, place.current);
    const fit = () => place.current && plot.setSize({ width: place.current.clientWidth, height: HEIGHT });
    const observer = new ResizeObserver(fit);
    observer.observe(place.current);
    return () => {
      observer.disconnect();
      plot.destroy();
    };
  }, [JSON.stringify(times), JSON.stringify(series.map((one) => one.values)), isTable]);
  const rows = times.map((time, at) => ({ time, values: series.map((one) => one.values[at]) })).reverse();
  const columns = [
    { title: 'Time', show: (row) => when(row.time * 1000) },
    ...series.map((one, at) => ({
      title: one.title,
      isNumber: true,
      show: (row) => (row.values[at] === null || row.values[at] === undefined ? '–' : write(row.values[at])),
    })),
  ];
  return html`<figure class="card">
    <figcaption><h2>${title}</h2>
      <button type="button" class="quiet" aria-pressed=${isTable} onClick=${() => setTable(!isTable)}>
        ${isTable ? 'Chart' : 'Table'}
      </button>
    </figcaption>
    ${isTable
      ? html`<${Table} caption=${title} columns=${columns} rows=${rows} />`
      : html`<div class="plot" ref=${place} role="img" aria-label=${`${title}: a chart; its numbers are behind the button Table`}></div>`}
  </figure>`;
}

/** Every step between two times, with 0 or nothing where the report has none. */
export function filled(report) {
  const step = report.step_seconds;
  const known = new Map(report.steps.map((one) => [Date.parse(one.at) / 1000, one]));
  const first = Math.floor(Date.parse(report.since) / 1000 / step) * step;
  const last = Date.parse(report.until) / 1000;
  const times = [];
  for (let at = first; at < last; at += step) times.push(at);
  return {
    times,
    counts: (name) => times.map((at) => Number(known.get(at)?.[name] ?? 0)),
    values: (name) => times.map((at) => known.get(at)?.[name] ?? null),
  };
}
