// A browser on every page of the dashboard, as an operator uses it: logs in, looks, filters, makes, changes and revokes. Prints
// a line for each thing that was seen. tests/gateway/dashboard.rs starts it.

import { strict as assert } from 'node:assert';
import { admin, adminKey, browser, chat, folder, goTo as open, key, NASTY, newPage, ok, problems, send, serious, until, url } from './browser.mjs';
import { plantDrift } from './drift.mjs';
import { walkRoles } from './roles.mjs';

const PAGES = [
  ['', 'Overview'], ['spend', 'Spend'], ['requests', 'Requests'], ['sessions', 'Sessions'], ['batches', 'Batches'],
  ['targets', 'Models and targets'], ['cache', 'Cache'], ['quality', 'Quality'], ['experiments', 'Experiments'], ['playground', 'Playground'],
  ['keys', 'Keys'], ['projects', 'Projects'], ['users', 'Users'], ['budgets', 'Budgets'], ['limits', 'Rate limits'],
  ['webhooks', 'Webhooks'], ['admins', 'Admins'], ['provider_keys', 'Provider keys'], ['alerts', 'Alerts'], ['audit', 'Audit'],
];

const page = await newPage();
const goTo = (path) => open(page, path);
const shot = (name) => page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });

// Something to look at, also what a caller might write to harm who looks at it.
await Promise.all([chat({}), chat({ user: NASTY }), chat({ model: NASTY }), chat({ model: 'no-such-model' })]);
const run = { 'x-penstock-session': `run ${NASTY}`, 'x-penstock-tags': 'feature=<script>window.hacked=1</script>' };
const tools = ['search', NASTY].map((name) => ({ type: 'function', function: { name, parameters: { type: 'object' } } }));
for (let turn = 1; turn <= 3; turn += 1) await chat({ messages: [{ role: 'user', content: `turn ${turn}: search, then ${NASTY}` }], tools }, key, run);
await plantDrift();
for (const user of ['ann', 'bob', 'cay']) await chat({ model: 'pick', user });
const kept = [await chat({ model: 'kept' }), await chat({ model: 'kept' })];
assert.deepEqual(kept.map((answer) => answer.headers.get('x-penstock-cache')), ['miss', 'exact']);
const scored = { request_id: kept[0].headers.get('x-penstock-request-id'), name: 'thumbs_up', value: true, comment: NASTY };
assert.equal((await send('/v1/feedback', scored)).status, 200);

/** A batch of as many lines, at a simulated model. */
async function begin(lines, model) {
  const form = new FormData();
  const body = { model, messages: [{ role: 'user', content: NASTY }], max_tokens: 20 };
  const text = [...Array(lines).keys()].map((at) => JSON.stringify({ custom_id: `${at}`, method: 'POST', url: '/v1/chat/completions', body })).join('\n');
  form.append('purpose', 'batch');
  form.append('file', new Blob([text]), 'in.jsonl');
  const file = await (await send('/v1/files', form)).json();
  const answer = await send('/v1/batches', { input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' });
  assert.equal(answer.status, 200, await answer.clone().text());
  return (await answer.json()).id;
}

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
  assert.equal(await page.locator('main').locator('h1, h2, h3').first().textContent(), title, 'the title stands first');
  await shot(path || 'overview');
  assert.deepEqual(await serious(page), [], path);
  ok(`the page ${title}, and axe finds nothing serious on it`);
}

await goTo('');
await until('the overview is live', async () => (await page.getByText('live', { exact: true }).count()) === 1);
const counted = async () => Number((await page.locator('.tile-value').first().textContent()).replaceAll(',', ''));
const earlier = await counted();
await chat({});
await until('a request is counted without asking again', async () => (await counted()) > earlier);

await goTo('requests');
await until('requests are listed', async () => (await page.locator('.scroll tbody tr').count()) >= 2);
const rows = page.locator('.scroll tbody tr');
const listed = await rows.count();
await page.getByLabel('Model', { exact: true }).fill('tea');
await chat({});
await until('a request is listed while a filter is typed', async () => (await rows.count()) > listed);
assert.equal(await page.getByLabel('Model', { exact: true }).inputValue(), 'tea');
await page.getByLabel('Model', { exact: true }).fill('team');
await page.getByLabel('Model', { exact: true }).press('Tab');
await until('a filter leaves what is like it', async () => {
  const models = await page.locator('.scroll tbody tr td:nth-child(4)').allTextContents();
  return models.length > 0 && models.every((model) => model.trim() === 'team');
});
await page.locator('.scroll tbody tr a').first().click();
await page.getByText('Where the time went').waitFor();
await until('a request is shown with its attempts', async () => (await page.locator('.waterfall li').count()) >= 2);
await shot('request');

await page.getByRole('link', { name: 'All requests' }).click();
await page.getByLabel('Status', { exact: true }).fill('4xx');
await page.getByLabel('Status', { exact: true }).press('Tab');
await until('requests are filtered by status, by the API', async () => {
  const statuses = await page.locator('.scroll tbody tr td:nth-child(3)').allTextContents();
  return statuses.length > 0 && statuses.every((status) => status.trim().startsWith('4')) && page.url().includes('status=4xx');
});

await goTo('sessions');
await until('a session is listed once, with its calls', async () => (await page.locator('.scroll tbody tr').count()) === 1 && (await page.locator('.scroll tbody td:nth-child(7)').textContent()).trim() === '3');
await page.locator('.scroll tbody tr a').first().click();
await until('a session is shown call by call', async () => (await page.locator('.scroll tbody tr').count()) === 3 && (await page.locator('.waterfall li').count()) === 3);
await until('the tools that it asked for stand beside each call, as text', async () => {
  const asked = await page.locator('.scroll tbody tr td:nth-child(11)').allTextContents();
  return asked.length === 3 && asked.every((names) => names.trim() === `${NASTY}, search`);
});
assert.deepEqual(await serious(page), []);
await shot('session');
await page.getByRole('button', { name: 'Stop the session' }).click();
await page.getByRole('dialog').getByRole('button', { name: 'Yes' }).click();
await page.getByText('its calls are refused').waitFor();
await until('a session that was stopped is refused', async () => (await chat({}, key, run)).status === 403);
await page.getByRole('button', { name: 'Let it go on' }).click();
await until('a session that was let go on is served', async () => (await chat({}, key, run)).status === 200);
await page.locator('.scroll tbody tr a').nth(1).click();
await page.getByText('Stages in the gateway').waitFor();
await until('a request shows the tools that it asked for', async () => (await page.getByRole('cell', { name: `search, ${NASTY}`, exact: true }).count()) === 1);
await page.getByText('As it was sent to the provider').waitFor();
await until('what was sent to the provider stands beside what was asked, as text', async () => {
  const [asked, sent] = await page.locator('pre.body').allTextContents();
  return asked.includes('"model": "team"') && sent.includes('"model": "fast"') && sent.includes('<img src=x');
});
await until('what was checked of the answer stands there', async () => (await page.getByRole('cell', { name: 'tools_known', exact: true }).count()) === 1);
await page.getByRole('link', { name: 'its session' }).click();
await page.getByText('Call by call').waitFor();
ok('a session leads to each of its requests, and they lead back');

// So many lines that it is not over before it was looked at.
const batch = await begin(400, 'demo/fast~l50000000');
await goTo('batches');
await until('a batch is listed', async () => (await page.getByRole('link', { name: batch }).count()) === 1);
await page.getByRole('link', { name: batch }).click();
await page.getByText('By model').waitFor();
await until('a batch runs', async () => (await page.locator('.tile').first().textContent()).includes('in_progress'));
assert.deepEqual(await serious(page), []);
await shot('batch');
await page.getByRole('button', { name: 'Cancel the batch' }).click();
await page.getByRole('dialog').getByRole('button', { name: 'Yes' }).click();
await until('a batch is cancelled', async () => (await page.locator('.tile').first().textContent()).includes('cancelled'));

await goTo('cache');
await until('the cache page counts a hit, and what is kept', async () => (await page.locator('.tile-value').first().textContent()) !== '0' && (await page.locator('.scroll tbody tr').count()) >= 1);
await shot('cache');
await page.getByRole('button', { name: 'Clear' }).first().click();
await page.getByRole('dialog').getByRole('button', { name: 'Yes' }).click();
await until('the cache is cleared', async () => (await page.locator('.tile-value').nth(3).textContent()) === '0');
assert.equal((await chat({ model: 'kept' })).headers.get('x-penstock-cache'), 'miss');

await goTo('quality');
await until('scores and answers are charted', async () => (await page.getByRole('img', { name: /^thumbs_up/ }).count()) === 1 && (await page.locator('.scroll tbody tr').count()) >= 1);
await until('a drift is shown with what it was before', async () => {
  const rows = await page.getByRole('region', { name: 'Drift', exact: true }).locator('tbody tr').allTextContents();
  return rows.some((row) => /target house\/drifts.*refusals.*2\.\d %.*20\.\d %.*drift/.test(row.replaceAll('\n', ' ')));
});
await until('a new version and a new fingerprint are shown', async () => {
  const rows = await page.getByRole('region', { name: 'New versions' }).locator('tbody tr').allTextContents();
  return rows.length === 2 && rows[0].includes('drifts-2') && rows[1].includes('fp_2');
});
await page.getByLabel('Model', { exact: true }).fill('fast');
await page.getByLabel('Model', { exact: true }).press('Tab');
await until('drift is filtered with the answers', async () => (await page.getByRole('region', { name: 'Drift', exact: true }).count()) === 0);
assert.deepEqual(await serious(page), []);
await page.getByLabel('Model', { exact: true }).fill('');
await page.getByLabel('Model', { exact: true }).press('Tab');
await page.getByRole('region', { name: 'Drift', exact: true }).waitFor();
await shot('quality');

await goTo('experiments');
await until('an experiment shows its arms, of which one has requests', async () => {
  const arms = await page.locator('.scroll tbody tr').allTextContents();
  return arms.length === 2 && arms.some((arm) => /^(control|other)50.0 %[1-9]/.test(arm));
});
assert.deepEqual(await serious(page), []);
await shot('experiments');

await goTo('provider_keys');
await page.getByRole('button', { name: 'New provider key' }).click();
await page.getByRole('dialog').getByLabel(/^provider/).fill('demo');
await page.getByRole('dialog').getByLabel(/^key/).fill('sk-simulated-0001');
await page.getByRole('dialog').getByLabel(/^id/).fill('first');
await page.getByRole('dialog').getByRole('button', { name: 'Add' }).click();
await page.getByRole('cell', { name: 'sealed …0001' }).waitFor();
assert(!(await page.content()).includes('sk-simulated'));
await page.getByRole('button', { name: 'Rotate' }).click();
await page.getByRole('dialog').getByLabel(/^key/).fill('sk-simulated-0002');
await page.getByRole('dialog').getByRole('button', { name: 'Rotate' }).click();
await page.getByRole('cell', { name: 'sealed …0002' }).waitFor();
assert.equal(await page.locator('.scroll tbody tr').count(), 1);
await page.getByRole('button', { name: 'Remove' }).click();
await page.getByRole('dialog').getByRole('button', { name: 'Yes' }).click();
await page.getByText('No key is managed here').waitFor();
ok('a provider key is added, rotated and removed, and never shown');

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
await shot('playground');

assert.equal(await page.evaluate(() => window.hacked), undefined);
ok('what callers wrote stayed text');

const phone = await page.context().newPage();
await phone.setViewportSize({ width: 390, height: 800 });
await phone.goto(`${url}/dashboard`);
await phone.getByRole('button', { name: 'Menu' }).click();
await phone.getByRole('link', { name: 'Requests', exact: true }).click();
await phone.getByRole('heading', { name: 'Requests' }).waitFor();
assert(await phone.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), 'a page is wider than a phone');
await phone.screenshot({ path: `${folder}/phone.png` });
ok('a phone shows the same, and no page is wider than it');

await walkRoles();

await page.getByRole('button', { name: 'Log out' }).click();
await page.getByLabel('Admin key or token').waitFor();
ok('logging out ends it');

assert.deepEqual(problems, []);
ok('no error stands in the console, and nothing else was asked');
await browser.close();
