// A browser on every page of the dashboard, as an operator uses it: logs in, looks, filters, makes, changes and revokes. Prints
// a line for each thing that was seen. tests/gateway/dashboard.rs starts it.

import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { strict as assert } from 'node:assert';

const { PENSTOCK_URL: url, PENSTOCK_KEY: key, PENSTOCK_ADMIN_KEY: adminKey, SCREENSHOTS: folder } = process.env;
const require = createRequire(`${process.env.PENSTOCK_TEST_NODE_MODULES}/`);
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const WAIT = 60_000;
const PAGES = [
  ['', 'Overview'], ['spend', 'Spend'], ['requests', 'Requests'], ['targets', 'Models and targets'], ['playground', 'Playground'],
  ['keys', 'Keys'], ['projects', 'Projects'], ['users', 'Users'], ['budgets', 'Budgets'], ['limits', 'Rate limits'],
  ['webhooks', 'Webhooks'], ['admins', 'Admins'], ['alerts', 'Alerts'], ['audit', 'Audit'],
];
const NASTY = '<img src=x onerror="window.hacked=1">';

mkdirSync(folder, { recursive: true });
const problems = [];
const ok = (what) => console.log(`ok ${what}`);

const browser = await chromium.launch({ executablePath: process.env.PENSTOCK_TEST_CHROMIUM, args: ['--no-sandbox'] });
const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
context.setDefaultTimeout(WAIT);
const page = await context.newPage();
page.on('console', (message) => message.type() === 'error' && problems.push(`${page.url()}: ${message.text()}`));
page.on('pageerror', (error) => problems.push(`${page.url()}: ${error.message}`));
page.on('request', (request) => {
  if (!request.url().startsWith(url) && !/^(data|blob):/.test(request.url())) problems.push(`asked for ${request.url()}`);
});

const goTo = async (path) => {
  await page.goto(`${url}/dashboard${path && `/${path}`}`);
  await page.locator('h1').first().waitFor();
  await page.getByText('Loading…').waitFor({ state: 'detached' });
};
const ask = (path, options = {}) => fetch(`${url}${path}`, options);
const chat = (body, bearer = key) => ask('/v1/chat/completions', {
  method: 'POST',
  headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
  body: JSON.stringify({ model: 'team', messages: [{ role: 'user', content: 'hello' }], ...body }),
});
const until = async (what, seen) => {
  const end = Date.now() + WAIT;
  while (!(await seen())) {
    assert(Date.now() < end, `not seen in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  ok(what);
};

// Something to look at, also what a caller might write to harm who looks at it.
await Promise.all([chat({}), chat({ user: NASTY }), chat({ model: NASTY }), chat({ model: 'no-such-model' })]);

await page.goto(url);
await page.getByLabel('Admin key or token').fill('wrong');
await page.getByRole('button', { name: 'Log in' }).click();
await page.getByRole('alert').waitFor();
assert.equal(problems.splice(0).filter((problem) => !problem.includes('401')).length, 0);
ok('a wrong key is refused, with the reason');
await page.getByLabel('Admin key or token').fill(adminKey);
await page.getByRole('button', { name: 'Log in' }).click();
await page.getByRole('navigation').waitFor();
ok('the admin key logs in');
assert.equal(await page.evaluate(() => document.cookie), '');
ok('no script can read the cookie');

for (const [path, title] of PAGES) {
  await goTo(path);
  assert.equal(await page.locator('h1').first().textContent(), title);
  await page.screenshot({ path: `${folder}/${path || 'overview'}.png`, fullPage: true });
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run({ resultTypes: ['violations'] }));
  const serious = found.violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
  assert.deepEqual(serious.map(({ id, nodes }) => `${id}: ${nodes[0].html}`), [], path);
  ok(`the page ${title}, and axe finds nothing serious on it`);
}

await goTo('requests');
await until('requests are listed', async () => (await page.locator('tbody tr').count()) >= 2);
await page.getByLabel('Model', { exact: true }).fill('team');
await page.getByLabel('Model', { exact: true }).press('Tab');
await until('a filter leaves what is like it', async () => {
  const models = await page.locator('tbody tr td:nth-child(4)').allTextContents();
  return models.length > 0 && models.every((model) => model.trim() === 'team');
});
await page.locator('tbody tr a').first().click();
await page.getByText('Where the time went').waitFor();
await until('a request is shown with its attempts', async () => (await page.locator('.waterfall li').count()) >= 2);
await page.screenshot({ path: `${folder}/request.png`, fullPage: true });

await goTo('projects');
await page.getByRole('button', { name: 'New project' }).click();
await page.getByRole('dialog').getByLabel(/^name( |$)/).fill('shop');
await page.getByRole('dialog').getByRole('button', { name: 'Create' }).click();
await page.getByRole('cell', { name: 'shop' }).first().waitFor();
ok('a project is made');

await goTo('keys');
await page.getByRole('button', { name: 'New key' }).click();
await page.getByRole('dialog').getByLabel(/^id( |$)/).fill('shop-1');
await page.getByRole('dialog').getByLabel(/^project( |$)/).fill('shop');
await page.getByRole('dialog').getByRole('button', { name: 'Create' }).click();
const secret = await page.locator('.secret').textContent();
assert.match(secret, /^psk_/);
await page.getByRole('dialog').getByRole('button', { name: 'Done' }).click();
assert.equal((await chat({}, secret)).status, 200);
ok('a key is made, shown once, and works');
const row = page.getByRole('row').filter({ hasText: 'shop-1' });
await row.getByRole('button', { name: 'Rotate' }).click();
await page.getByRole('dialog').getByRole('button', { name: 'Yes' }).click();
const newer = await page.locator('.secret').textContent();
assert.notEqual(newer, secret);
await page.getByRole('dialog').getByRole('button', { name: 'Done' }).click();
ok('a key is rotated');
await row.getByRole('button', { name: 'Revoke' }).click();
await page.getByRole('dialog').getByRole('button', { name: 'Yes' }).click();
await row.waitFor({ state: 'detached' });
await until('a key that was revoked is refused', async () => (await chat({}, newer)).status === 401);

await goTo('budgets');
await page.getByRole('button', { name: 'New budget' }).click();
await page.getByRole('dialog').getByLabel(/^name( |$)/).fill('monthly');
await page.getByRole('dialog').getByLabel(/^limit_usd( |$)/).fill('1');
await page.getByRole('dialog').getByRole('button', { name: 'Create' }).click();
await page.getByRole('cell', { name: 'monthly' }).first().waitFor();
await chat({});
await until('a budget fills while it is looked at', async () => /\$0\.0\d*[1-9]/.test((await page.getByRole('row').filter({ hasText: 'monthly' }).textContent()).split('spent')[0]));

await goTo('playground');
await page.getByLabel('Virtual key').fill(key);
await page.getByLabel('Model 1').fill('demo/fast');
await page.getByRole('button', { name: 'Send' }).click();
await until('the playground streams an answer', async () => /whole answer \d/.test(await page.locator('main').textContent()));
await page.screenshot({ path: `${folder}/playground.png`, fullPage: true });

assert.equal(await page.evaluate(() => window.hacked), undefined);
ok('what callers wrote stayed text');

const phone = await context.newPage();
await phone.setViewportSize({ width: 390, height: 800 });
await phone.goto(`${url}/dashboard`);
await phone.getByRole('button', { name: 'Menu' }).click();
await phone.getByRole('link', { name: 'Requests', exact: true }).click();
await phone.getByRole('heading', { name: 'Requests' }).waitFor();
assert(await phone.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), 'a page is wider than a phone');
await phone.screenshot({ path: `${folder}/phone.png` });
ok('a phone shows the same, and no page is wider than it');

await page.getByRole('button', { name: 'Log out' }).click();
await page.getByLabel('Admin key or token').waitFor();
ok('logging out ends it');

assert.deepEqual(problems, []);
ok('no error stands in the console, and nothing else was asked');
await browser.close();
