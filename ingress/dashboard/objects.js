// What an operator manages: keys, projects, users, budgets, limits, webhooks, admins. One page for all of them: which fields a
// sort of object has, it reads from the OpenAPI document, so that a new field or sort needs no change here.

import { html, useState } from './htm-preact.js';
import { get, openapi, patch, post, remove } from './api.js';
import { Dialog, ErrorNote, number, Pending, Source, Sure, Table, toml, usd, useAnswer, when } from './parts.js';

/** Columns that say most, by sort; all else is in the form. */
const COLUMNS = {
  keys: ['name', 'project', 'user', 'prefix', 'models', 'disabled', 'expires_at'],
  projects: ['enabled', 'description', 'models'],
  users: ['enabled', 'project', 'email'],
  budgets: ['limit_usd', 'limit_tokens', 'cycle', 'match', 'per'],
  limits: ['rates', 'match', 'per'],
  webhooks: ['url', 'events'],
  admins: ['role', 'projects', 'enabled', 'expires_at'],
};

const nameField = (kind) => (kind === 'keys' ? 'id' : 'name');
const ONE = { keys: 'key', projects: 'project', users: 'user', budgets: 'budget', limits: 'rate limit', webhooks: 'webhook', admins: 'admin' };

function mayChange(me, kind) {
  return me.role === 'admin' || (me.role === 'owner' && ['keys', 'budgets', 'limits'].includes(kind));
}

function resolve(document, schema) {
  if (!schema?.$ref) return schema ?? {};
  return schema.$ref.slice(2).split('/').reduce((at, name) => at[name], document);
}

/** The fields of a new object, as the document has them. */
function fieldsOf(document, kind) {
  const schema = resolve(document, document.paths[`/admin/v1/${kind}`].post.requestBody.content['application/json'].schema);
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).map(([name, raw]) => {
    const inner = resolve(document, raw);
    const branches = [inner, ...(inner.anyOf ?? inner.oneOf ?? []).map((one) => resolve(document, one))];
    const types = branches.flatMap((one) => [one.type ?? []].flat());
    const words = branches.flatMap((one) => one.enum ?? (one.const === undefined ? [] : [one.const])).filter((word) => typeof word === 'string');
    const isWords = words.length > 0 && !types.includes('object') && !types.includes('array');
    const has = (type) => types.includes(type);
    let sort = 'text';
    if (isWords) sort = 'words';
    else if (has('object') || has('array')) sort = 'json';
    else if (has('boolean')) sort = 'boolean';
    else if ((has('integer') || has('number')) && !has('string')) sort = 'number';
    return { name, sort, words, isRequired: required.has(name), about: raw.description ?? inner.description ?? '', isDefault: raw.default };
  });
}

function written(field, value) {
  if (value === undefined || value === null) return field.sort === 'boolean' ? (field.isDefault ?? false) : '';
  if (field.sort === 'boolean') return value;
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function readValue(field, text) {
  if (field.sort === 'boolean') return text;
  const trimmed = String(text).trim();
  if (trimmed === '') return undefined;
  if (field.sort === 'number') return Number(trimmed);
  if (field.sort !== 'json') return trimmed;
  try {
    return JSON.parse(trimmed);
  } catch {
    // A list of words, as people write it.
    if (!/[[{"]/.test(trimmed)) return trimmed.split(',').map((word) => word.trim()).filter(Boolean);
    throw new Error(`${field.name}: write JSON, such as ["a", "b"] or {"key": "value"}`);
  }
}

function Field({ field, value, onChange, isFixed }) {
  const id = `field-${field.name}`;
  const about = html`<small id=${`${id}-about`} class="muted">${field.about}</small>`;
  const common = { id, name: field.name, 'aria-describedby': `${id}-about`, disabled: isFixed };
  let input = html`<input ...${common} type=${field.sort === 'number' ? 'number' : 'text'} step="any" required=${field.isRequired} value=${value} onInput=${(event) => onChange(event.target.value)} />`;
  if (field.sort === 'boolean') input = html`<input ...${common} type="checkbox" checked=${value} onChange=${(event) => onChange(event.target.checked)} />`;
  if (field.sort === 'words') {
    input = html`<select ...${common} value=${value} onChange=${(event) => onChange(event.target.value)}>
      <option value="" selected=${value === ''}>not set</option>
      ${field.words.map((word) => html`<option value=${word} selected=${word === value}>${word}</option>`)}
    </select>`;
  }
  return html`<div class="field"><label for=${id}>${field.name}${field.isRequired ? ' (needed)' : ''}</label>${input}${about}</div>`;
}

function Form({ kind, fields, object, onDone, onClose }) {
  const [values, setValues] = useState(Object.fromEntries(fields.map((field) => [field.name, written(field, object?.[field.name])])));
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const name = nameField(kind);
  const collect = () => {
    const wish = {};
    for (const field of fields) {
      const before = written(field, object?.[field.name]);
      if (object && (field.name === name || values[field.name] === before)) continue;
      const value = readValue(field, values[field.name]);
      if (value !== undefined && (object || field.sort !== 'boolean' || value !== (field.isDefault ?? false))) wish[field.name] = value;
      else if (object && value === undefined) wish[field.name] = null;
    }
    return wish;
  };
  const save = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const wish = collect();
      onDone(object ? await patch(`${kind}/${encodeURIComponent(object[name])}`, wish) : await post(kind, wish));
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  let preview = '';
  try {
    const whole = { ...(object ?? {}), ...collect() };
    const own = new Set(fields.map((field) => field.name));
    const lines = Object.entries(whole).filter(([key, value]) => own.has(key) && key !== name && value !== null && value !== '').map(([key, value]) => `${key} = ${toml(value)}`);
    preview = `[${kind}.${JSON.stringify(values[name] || 'NAME')}]\n${lines.join('\n')}`;
  } catch (problem) {
    preview = problem.message;
  }
  return html`<form onSubmit=${save} class="object-form">
    ${fields.map((field) => html`<${Field} field=${field} value=${values[field.name]} isFixed=${Boolean(object) && field.name === name}
      onChange=${(value) => setValues({ ...values, [field.name]: value })} />`)}
    <details><summary>The same in the configuration file</summary><pre tabindex="0">${preview}</pre></details>
    <${ErrorNote} error=${error} />
    <p><button type="submit" disabled=${isBusy}>${object ? 'Save' : 'Create'}</button>
      <button type="button" class="quiet" onClick=${onClose}>Cancel</button></p>
  </form>`;
}

function Secret({ secret, onClose }) {
  const [isCopied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard?.writeText(secret).catch(() => {});
    setCopied(true);
  };
  return html`<${Dialog} title="The secret, shown only now" onClose=${onClose}>
    <p>Keep it where your application finds it. It cannot be shown again; it can be rotated.</p>
    <p><code class="secret">${secret}</code></p>
    <p><button type="button" onClick=${copy}>${isCopied ? 'Copied' : 'Copy'}</button>
      <button type="button" class="quiet" onClick=${onClose}>Done</button></p>
  <//>`;
}

function shown(name, value) {
  if (value === undefined || value === null || value === '') return '–';
  if (name.endsWith('_at')) return when(typeof value === 'number' ? value / 1000 : value);
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (Array.isArray(value)) return value.join(', ') || '–';
  return typeof value === 'object' ? Object.entries(value).map(([key, one]) => `${key}: ${typeof one === 'object' ? JSON.stringify(one) : one}`).join(', ') || '–' : String(value);
}

/** How full a budget is. */
function used(row) {
  const write = row.limit_usd === undefined ? number : usd;
  return (row.windows ?? []).map((window) => html`<div>${window.part ? `${window.part}: ` : ''}${write(window.settled)} spent, ${write(window.reserved)} set aside, ${write(window.left)} left</div>`);
}

export function Objects({ kind, title, me }) {
  const name = nameField(kind);
  const path = (row, verb = '') => `${kind}/${encodeURIComponent(row[name])}${verb && `/${verb}`}`;
  const answer = useAnswer(() => get(kind), [kind], 5_000);
  const document = useAnswer(openapi, []);
  const [form, setForm] = useState(null);
  const [secret, setSecret] = useState(null);
  const [sure, setSure] = useState(null);
  const [warnings, setWarnings] = useState([]);
  const isAllowed = mayChange(me, kind);
  const done = (changed) => {
    setForm(null);
    setSure(null);
    setSecret(changed?.key ?? changed?.token ?? null);
    setWarnings(changed?.warnings ?? []);
    answer.again();
  };
  const ask = (question, act) => setSure({ question, act });
  const actions = (row) => html`<span class="actions">
    <button type="button" class="quiet" onClick=${() => setForm({ object: row })}>Edit</button>
    ${['keys', 'admins'].includes(kind) && html`<button type="button" class="quiet"
      onClick=${() => ask(`A new secret for ${row[name]}${kind === 'keys' ? '; the present one holds for another 24 hours' : '; the present one is refused at once'}.`, () => post(path(row, 'rotate')))}>Rotate</button>`}
    ${kind === 'keys' && html`<button type="button" class="quiet" onClick=${() => post(path(row, row.disabled ? 'enable' : 'disable')).then(done, (error) => setSure({ question: error.message, act: () => {} }))}>${row.disabled ? 'Enable' : 'Disable'}</button>`}
    ${kind === 'keys'
      ? html`<button type="button" class="quiet danger" onClick=${() => ask(`Every ingress refuses the key ${row[name]} in under a second, and for good.`, () => post(path(row, 'revoke')))}>Revoke</button>`
      : html`<button type="button" class="quiet danger" onClick=${() => ask(`${row[name]} is removed.`, () => remove(path(row)))}>Delete</button>`}
  </span>`;
  const columns = [
    { title: name, show: (row) => html`<strong>${row[name]}</strong>` },
    ...COLUMNS[kind].filter((column) => (answer.value?.data ?? []).some((row) => row[column] !== undefined && row[column] !== null))
      .map((column) => ({ title: column, show: (row) => shown(column, row[column]) })),
    ...(kind === 'budgets' ? [{ title: 'used', show: used }] : []),
    ...(isAllowed ? [{ title: 'actions', show: actions }] : []),
  ];
  return html`
    <div class="title"><h1>${title}</h1><span class="spacer"></span>
      ${isAllowed && document.value && html`<button type="button" onClick=${() => setForm({ object: null })}>New ${ONE[kind]}</button>`}
    </div>
    ${warnings.map((warning) => html`<p class="warning" role="status">${warning}</p>`)}
    <${Pending} answer=${answer}>
      <div class="card"><${Table} caption=${title} columns=${columns} rows=${answer.value?.data ?? []} empty=${`There are no ${title.toLowerCase()} yet.`} /></div>
      <${Source} path=${`/admin/v1/${kind}`} />
    <//>
    ${form && document.value && html`<${Dialog} title=${form.object ? `Change ${form.object[name]}` : `New ${ONE[kind]}`} onClose=${() => setForm(null)}>
      <${Form} kind=${kind} fields=${fieldsOf(document.value, kind)} object=${form.object} onDone=${done} onClose=${() => setForm(null)} />
    <//>`}
    ${sure && html`<${Sure} question=${sure.question} onClose=${() => setSure(null)} onYes=${async () => done(await sure.act())} />`}
    ${secret && html`<${Secret} secret=${secret} onClose=${() => setSecret(null)} />`}
  `;
}
