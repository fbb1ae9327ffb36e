// How long each page takes from its address to its last number, in a browser: for tests/load/ledger. Prints JSON: milliseconds
// by page, the first page also with an empty cache. Clicks nothing.

import { adminKey, browser, goTo, logIn, newPage } from './browser.mjs';

const PAGES = ['', 'spend', 'requests', 'sessions', 'batches', 'cache', 'quality', 'experiments', 'targets', 'alerts', 'audit'];

const page = await newPage();
await logIn(page, adminKey);
const login = await page.context().storageState();
const times = {};

/** Milliseconds until a page shows everything. */
async function open(page, path) {
  const began = performance.now();
  await goTo(page, path);
  return Math.round(performance.now() - began);
}

for (const path of PAGES) {
  times[path || 'overview'] = await open(page, path);
}
const fresh = await newPage({ storageState: login });
times['overview, empty cache'] = await open(fresh, '');
console.log(JSON.stringify(times));
await browser.close();
