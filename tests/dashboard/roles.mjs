// The same pages with the tokens of a project's owner and of a viewer: what they see and what they may change, on the pages and
// by the calls behind them.

import { strict as assert } from 'node:assert';
import { admin, chat, goTo, logIn, newPage, ok, send, until } from './browser.mjs';

/** Pages that show what projects did or have. */
const OWN = ['', 'spend', 'requests', 'sessions', 'batches', 'cache', 'quality', 'experiments', 'keys', 'projects', 'budgets', 'limits'];
const SECRET = 'blue-secret';

async function made(path, body) {
  const answer = await admin(path, body);
  assert.equal(answer.status, 201, await answer.clone().text());
  return (await answer.json()).key;
}

/** A project that owner and viewer of another one must see nothing of: its name stands in all that it does. */
async function makeProjects() {
  for (const project of ['red', SECRET]) {
    await made('projects', { name: project });
    await made('budgets', { name: `budget-of-${project}`, match: { project }, limit_usd: '1', cycle: 'total' });
  }
  const keys = { red: await made('keys', { id: 'key-red', project: 'red' }), blue: await made('keys', { id: `key-${SECRET}`, project: SECRET }) };
  for (const [name, key] of Object.entries(keys)) {
    await until(`the key of ${name} is known`, async () => (await send('/v1/models', undefined, { bearer: key, method: 'GET' })).status === 200);
  }
  const blue = { 'x-penstock-session': SECRET, 'x-penstock-user': SECRET };
  const answers = [await chat({}, keys.red, { 'x-penstock-session': 'red-run' }), await chat({}, keys.blue, blue), await chat({ model: SECRET }, keys.blue, blue)];
  assert.deepEqual(answers.map(({ status }) => status), [200, 200, 404]);
  const id = answers[1].headers.get('x-penstock-request-id');
  assert.equal((await send('/v1/feedback', { request_id: id, name: SECRET, value: 1 }, { bearer: keys.blue })).status, 200);
  await until('the ledger has the requests of both projects', async () => {
    const seen = await (await admin(`requests?project=${SECRET}`)).json();
    return seen.data.length === 2 && (await (await admin('requests?project=red')).json()).data.length === 1;
  });
  return id;
}

export async function walkRoles() {
  const id = await makeProjects();
  const owner = await made('admins', { name: 'olga', role: 'owner', projects: ['red'] });
  const viewer = await made('admins', { name: 'vera', role: 'viewer' });
  const narrow = await made('admins', { name: 'nora', role: 'viewer', projects: ['red'] });
  for (const [who, token] of [['an owner', owner], ['a viewer of one project', narrow]]) {
    const page = await newPage();
    await logIn(page, token);
    const links = await page.getByRole('navigation').getByRole('link').allTextContents();
    assert(!links.includes('Audit') && !links.includes('Alerts') && !links.includes('Provider keys'), links.join());
    for (const path of OWN) {
      await goTo(page, path);
      const text = await page.locator('body').innerText();
      assert(!text.includes(SECRET), `${who} sees ${SECRET} on /${path}`);
    }
    await until(`${who} sees the requests of the own project`, async () => {
      await goTo(page, 'requests');
      return (await page.locator('.scroll tbody tr').count()) === 1;
    });
    for (const path of [`requests/${id}`, `sessions/${SECRET}`, `sessions/${SECRET}?project=${SECRET}`]) {
      assert.equal((await admin(path, undefined, token)).status, 404, path);
    }
    for (const path of ['requests', 'sessions', 'batches', 'quality', 'cache', 'spend?by=project', 'activity', 'keys', 'projects', 'budgets', 'limits', 'targets']) {
      const answer = await admin(path, undefined, token);
      assert.equal(answer.status, 200, path);
      assert(!(await answer.text()).includes(SECRET), `${who} is told of ${SECRET} by ${path}`);
    }
    for (const path of ['audit', 'alerts', 'providers/demo/keys']) assert.equal((await admin(path, undefined, token)).status, 403, path);
    await page.context().close();
    ok(`${who} sees nothing of another project on any page or by any call`);
  }
  const page = await newPage();
  await logIn(page, viewer);
  const changing = /^(New |Edit|Rotate|Revoke|Delete|Disable|Enable|Clear|Remove|Cancel|Resume|Stop)/;
  for (const path of [...OWN, 'users', 'webhooks', 'admins', 'provider_keys', 'targets', 'alerts', 'audit']) {
    await goTo(page, path);
    const buttons = await page.locator('main').getByRole('button').allTextContents();
    assert.deepEqual(buttons.filter((text) => changing.test(text.trim())), [], path);
  }
  for (const [method, path, body] of [
    ['POST', 'projects', { name: 'x' }], ['POST', 'keys', { project: 'red' }], ['POST', 'budgets', { name: 'x', limit_usd: '1', cycle: 'total' }],
    ['DELETE', 'projects/red'], ['POST', 'keys/key-red/revoke'], ['POST', 'keys/key-red/rotate'], ['PATCH', 'keys/key-red', { disabled: true }],
    ['DELETE', 'cache?project=red'], ['POST', 'targets/resume', { target: 'demo/fast' }], ['POST', 'providers/demo/keys', { key: 'sk-0123456789ab' }],
  ]) {
    assert.equal((await admin(path, body, viewer, method)).status, 403, `${method} ${path}`);
  }
  await page.context().close();
  ok('a viewer finds nothing to change, and every change is refused');
}
