// The frame around all pages: who is logged in, the navigation, and which page an address stands for.

import { html, render, useEffect, useState } from './htm-preact.js';
import { get, isLoggedIn, logIn, logOut } from './api.js';
import { ErrorNote } from './parts.js';
import { Overview } from './overview.js';
import { Spend } from './spend.js';
import { OneRequest, Requests } from './requests.js';
import { Targets } from './targets.js';
import { Objects } from './objects.js';
import { Alerts, Audit } from './events.js';
import { Playground } from './playground.js';
import { OneSession, Sessions } from './sessions.js';
import { Batches, OneBatch } from './batches.js';
import { Cache } from './cache.js';
import { Quality } from './quality.js';
import { Experiments } from './experiments.js';
import { ProviderKeys } from './provider_keys.js';

const MANAGED = [
  ['keys', 'Keys'],
  ['projects', 'Projects'],
  ['users', 'Users'],
  ['budgets', 'Budgets'],
  ['limits', 'Rate limits'],
  ['webhooks', 'Webhooks'],
  ['admins', 'Admins'],
];

/** The pages: where, what they are called, what they are, and whether one needs to see all projects. */
const PAGES = [
  { path: '', title: 'Overview', page: Overview },
  { path: 'spend', title: 'Spend', page: Spend },
  { path: 'requests', title: 'Requests', page: Requests, one: OneRequest },
  { path: 'sessions', title: 'Sessions', page: Sessions, one: OneSession },
  { path: 'batches', title: 'Batches', page: Batches, one: OneBatch },
  { path: 'targets', title: 'Models and targets', page: Targets },
  { path: 'cache', title: 'Cache', page: Cache },
  { path: 'quality', title: 'Quality', page: Quality },
  { path: 'experiments', title: 'Experiments', page: Experiments },
  { path: 'playground', title: 'Playground', page: Playground },
  ...MANAGED.map(([path, title]) => ({ path, title, page: Objects, group: 'Manage' })),
  { path: 'provider_keys', title: 'Provider keys', page: ProviderKeys, group: 'Manage', isForAll: true },
  { path: 'alerts', title: 'Alerts', page: Alerts, group: 'Records', isForAll: true },
  { path: 'audit', title: 'Audit', page: Audit, group: 'Records', isForAll: true },
];

/** What a part of an address says; as it is, where that is not well-formed. */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const place = () => location.pathname.replace(/^\/(dashboard\/?)?/, '').replace(/\/$/, '');

function usePlace() {
  const [at, setAt] = useState({ path: place(), search: location.search });
  useEffect(() => {
    const read = () => setAt({ path: place(), search: location.search });
    const follow = (event) => {
      const link = event.target.closest?.('a[href^="/dashboard"]');
      if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      history.pushState(null, '', link.getAttribute('href'));
      read();
      scrollTo(0, 0);
      document.querySelector('main')?.focus();
    };
    addEventListener('popstate', read);
    document.addEventListener('click', follow);
    return () => {
      removeEventListener('popstate', read);
      document.removeEventListener('click', follow);
    };
  }, []);
  return at;
}

function Login({ onDone }) {
  const [token, setToken] = useState('');
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await logIn(token);
      onDone();
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  return html`<main class="login">
    <form onSubmit=${submit} class="card">
      <h1>Penstock</h1>
      <label class="field">Admin key or token
        <input type="password" name="token" autocomplete="current-password" required autofocus
          value=${token} onInput=${(event) => setToken(event.target.value)} />
      </label>
      <p class="muted">The value of <code>PENSTOCK_ADMIN_KEY</code>, or a token of <code>penstock admins create</code>.</p>
      <${ErrorNote} error=${error} />
      <button type="submit" disabled=${isBusy || !token}>Log in</button>
    </form>
  </main>`;
}

function Navigation({ path, me, isOpen }) {
  const groups = new Map();
  for (const page of PAGES.filter((one) => !one.isForAll || (me.role !== 'owner' && !me.projects.length))) {
    const group = page.group ?? '';
    groups.set(group, [...(groups.get(group) ?? []), page]);
  }
  const isHere = (page) => page.path === path || (page.path && path.startsWith(`${page.path}/`));
  return html`<nav id="navigation" aria-label="Pages" class=${isOpen ? 'open' : ''}>
    ${[...groups].map(([group, pages]) => html`
      ${group && html`<h2>${group}</h2>`}
      <ul>${pages.map((page) => html`<li>
        <a href=${`/dashboard${page.path ? `/${page.path}` : ''}`} aria-current=${isHere(page) ? 'page' : undefined}>${page.title}</a>
      </li>`)}</ul>`)}
  </nav>`;
}

function App() {
  const { path, search } = usePlace();
  const [me, setMe] = useState(undefined);
  const [error, setError] = useState(null);
  const [isOpen, setOpen] = useState(false);
  const load = async () => {
    try {
      setMe((await isLoggedIn()) ? await get('me') : null);
      setError(null);
    } catch (problem) {
      setMe(null);
      setError(problem.status === 401 ? null : problem);
    }
  };
  useEffect(() => { load(); }, []);
  useEffect(() => setOpen(false), [path]);
  const [name, ...rest] = path.split('/');
  const page = PAGES.find((one) => one.path === name);
  useEffect(() => {
    document.title = page ? `${page.title} · Penstock` : 'Penstock';
  }, [page?.title]);
  if (me === undefined) return html`<p class="muted login" role="status">Loading…</p>`;
  if (me === null) return html`<${ErrorNote} error=${error} /><${Login} onDone=${load} />`;
  const leave = async () => {
    await logOut().catch(() => {});
    setMe(null);
  };
  let content = html`<h1>There is no such page</h1><p><a href="/dashboard">To the overview</a></p>`;
  const id = decode(rest.join('/'));
  if (page?.one && id) content = html`<${page.one} key=${path} id=${id} me=${me} search=${search} />`;
  else if (page) content = html`<${page.page} key=${page.path} kind=${page.path} title=${page.title} me=${me} search=${search} />`;
  return html`
    <a class="skip" href="#main">To the content</a>
    <header>
      <button type="button" class="quiet menu" aria-expanded=${isOpen} aria-controls="navigation" onClick=${() => setOpen(!isOpen)}>Menu</button>
      <a class="brand" href="/dashboard">Penstock</a>
      <span class="spacer"></span>
      <span class="muted who">${me.name} (${me.role}${me.projects.length ? ` of ${me.projects.join(', ')}` : ''})</span>
      <button type="button" class="quiet" onClick=${leave}>Log out</button>
    </header>
    <div class="frame">
      <${Navigation} path=${path} me=${me} isOpen=${isOpen} />
      <main id="main" tabindex="-1">${content}</main>
    </div>
  `;
}

render(html`<${App} />`, document.getElementById('app'));
