// What the walks have in common: a browser, pages whose console and requests are watched, and calls to the gateway.

import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { strict as assert } from 'node:assert';

export const { PENSTOCK_URL: url, PENSTOCK_KEY: key, PENSTOCK_ADMIN_KEY: adminKey, SCREENSHOTS: folder } = process.env;
const require = createRequire(`${process.env.PENSTOCK_TEST_NODE_MODULES}/`);
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
export const WAIT = 60_000;
/** What a caller might write to harm who looks at it. */
export const NASTY = '<img src=x onerror="window.hacked=1">';

mkdirSync(folder, { recursive: true });
export const problems = [];
// What the page said explains best why the walk could not go on.
process.on('exit', (code) => code && console.error(problems.join('\n')));
export const ok = (what) => console.log(`ok ${what}`);

export const browser = await chromium.launch({ executablePath: process.env.PENSTOCK_TEST_CHROMIUM, args: ['--no-sandbox'] });

/** A page of somebody who is not logged in yet. */
export async function newPage(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(WAIT);
  const page = await context.newPage();
  page.on('console', (message) => message.type() === 'error' && problems.push(`${page.url()}: ${message.text()}`));
  page.on('pageerror', (error) => problems.push(`${page.url()}: ${error.message}`));
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !/^(data|blob):/.test(request.url())) problems.push(`asked for ${request.url()}`);
  });
  return page;
}

export async function logIn(page, token) {
  await page.goto(url);
  await page.getByLabel('Admin key or token').fill(token);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('navigation').waitFor();
}

export async function goTo(page, path) {
  await page.goto(`${url}/dashboard${path && `/${path}`}`);
  await page.locator('h1').first().waitFor();
  const end = Date.now() + WAIT;
  while ((await page.getByText('Loading…').count()) > 0 && Date.now() < end) await page.waitForTimeout(50);
}

/** What axe finds serious on a page. */
export async function serious(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run({ resultTypes: ['violations'] }));
  const violations = found.violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
  return violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`);
}

export async function send(path, body, { bearer = key, headers = {}, method = 'POST' } = {}) {
  const isForm = body instanceof FormData;
  return fetch(`${url}${path}`, {
    method,
    headers: { authorization: `Bearer ${bearer}`, ...(isForm || body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    body: isForm || body === undefined ? body : JSON.stringify(body),
  });
}

export const chat = (body, bearer = key, headers = {}) => send('/v1/chat/completions', {
  model: 'team', messages: [{ role: 'user', content: 'hello' }], ...body,
}, { bearer, headers });

export const admin = (path, body, bearer = adminKey, method = body === undefined ? 'GET' : 'POST') => send(`/admin/v1/${path}`, body, { bearer, method });

export async function until(what, seen) {
  const end = Date.now() + WAIT;
  while (!(await seen())) {
    assert(Date.now() < end, `not seen in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  ok(what);
}
