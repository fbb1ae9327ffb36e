// The pictures of the README, of a gateway that runs with --demo-traffic for some minutes already:
// PENSTOCK_URL, PENSTOCK_ADMIN_KEY and SCREENSHOTS=deploy/docs/pictures, and the paths of the tools as for the walk.

import { admin, adminKey, browser, folder, goTo, logIn, newPage } from './browser.mjs';

const page = await newPage({ viewport: { width: 1200, height: 760 }, deviceScaleFactor: 1 });
await logIn(page, adminKey);
const shot = async (path, name) => {
  await goTo(page, path);
  await page.waitForTimeout(2_500);
  await page.screenshot({ path: `${folder}/${name}.png` });
};
const { data } = await (await admin('sessions?limit=2&project=agents')).json();
await shot('', 'overview');
await shot(`sessions/${data.at(-1).session}?project=agents`, 'session');
await shot('spend', 'spend');
await browser.close();
