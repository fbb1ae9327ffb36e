// The keys that workers call providers with: added, rotated, switched off. A secret goes in and never comes out.

import { html, useState } from './htm-preact.js';
import { get, patch, post, remove } from './api.js';
import { Dialog, ErrorNote, number, Pending, Source, Sure, Table, useAnswer, when } from './parts.js';

const path = (provider, id) => `providers/${encodeURIComponent(provider)}/keys${id === undefined ? '' : `/${encodeURIComponent(id)}`}`;

/** A new key; in place of `old`, where that is to be rotated. */
function NewKey({ provider, old, onDone, onClose }) {
  const [values, setValues] = useState({ provider: provider ?? '', id: '', key: '', source: '', weight: String(old?.weight ?? 1) });
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const field = (name, title, more = {}) => html`<label class="field">${title}
    <input name=${name} value=${values[name]} onInput=${(event) => setValues({ ...values, [name]: event.target.value })} ...${more} /></label>`;
  const save = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const wish = { weight: Number(values.weight) };
      for (const name of ['id', 'key', 'source']) if (values[name].trim()) wish[name] = values[name].trim();
      await post(path(values.provider), wish);
      if (old) await remove(path(values.provider, old.id));
      onDone();
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  return html`<${Dialog} title=${old ? `Another secret in place of ${old.id}` : 'New provider key'} onClose=${onClose}>
    <form class="object-form" onSubmit=${save}>
      ${field('provider', 'provider (needed)', { required: true, disabled: provider !== undefined, list: 'providers', maxlength: 64 })}
      ${field('key', 'key: the secret, sealed at once', { type: 'password', autocomplete: 'off' })}
      ${field('source', 'or source: where workers read it, env:NAME or file:PATH', { maxlength: 4096 })}
      ${field('id', 'id: its name in logs and alerts; one is made when it is empty', { maxlength: 128 })}
      ${field('weight', 'weight: its share of the calls', { type: 'number', min: 1, max: 1000 })}
      ${old && html`<p class="muted">Workers use the new key in under a second; ${old.id} is removed then, and calls under way with it finish.</p>`}
      <${ErrorNote} error=${error} />
      <p><button type="submit" disabled=${isBusy}>${old ? 'Rotate' : 'Add'}</button> <button type="button" class="quiet" onClick=${onClose}>Cancel</button></p>
    </form>
  <//>`;
}

export function ProviderKeys({ me }) {
  const health = useAnswer(() => get('targets'), []);
  const providers = [...new Set((health.value?.targets ?? []).map((row) => row.target.split('/')[0]))];
  const [more, setMore] = useState([]);
  const all = [...new Set([...providers, ...more])].sort();
  const answer = useAnswer(async () => {
    const lists = await Promise.all(all.map((provider) => get(path(provider))));
    return lists.flatMap((list) => list.data);
  }, [all.join()], 5_000);
  const [form, setForm] = useState(null);
  const [sure, setSure] = useState(null);
  const [error, setError] = useState(null);
  const [other, setOther] = useState('');
  const isAdmin = me.role === 'admin';
  const done = () => {
    setForm(null);
    setSure(null);
    setError(null);
    answer.again();
  };
  const turn = (row) => patch(path(row.provider, row.id), { enabled: !row.enabled }).then(done, setError);
  const actions = (row) => html`<span class="actions">
    <button type="button" class="quiet" onClick=${() => setForm({ provider: row.provider, old: row })}>Rotate</button>
    <button type="button" class="quiet" onClick=${() => turn(row)}>${row.enabled ? 'Disable' : 'Enable'}</button>
    <button type="button" class="quiet danger" onClick=${() => setSure(row)}>Remove</button>
  </span>`;
  const columns = [
    { title: 'Provider', show: (row) => row.provider },
    { title: 'Key', show: (row) => html`<strong>${row.id}</strong>` },
    { title: 'Where it is', show: (row) => `${row.source}${row.hint ? ` …${row.hint}` : ''}` },
    { title: 'Weight', isNumber: true, show: (row) => number(row.weight) },
    { title: 'Used', show: (row) => html`<span class=${`badge ${row.enabled ? 'good' : 'neutral'}`}>${row.enabled ? 'yes' : 'no'}</span>` },
    { title: 'Added', show: (row) => when(row.created_at) },
    ...(isAdmin ? [{ title: 'Actions', show: actions }] : []),
  ];
  return html`
    <div class="title"><h1>Provider keys</h1><span class="spacer"></span>
      ${isAdmin && html`<button type="button" onClick=${() => setForm({})}>New provider key</button>`}</div>
    <form class="filters" onSubmit=${(event) => { event.preventDefault(); setMore([...more, other].filter(Boolean)); setOther(''); }}>
      <label class="field">Also of a provider that no worker serves<input name="other" value=${other} maxlength="64" onInput=${(event) => setOther(event.target.value.trim())} /></label>
    </form>
    <datalist id="providers">${all.map((provider) => html`<option value=${provider}></option>`)}</datalist>
    <${ErrorNote} error=${error} />
    <${Pending} answer=${answer}>
      <div class="card"><${Table} caption="Provider keys" columns=${columns} rows=${answer.value ?? []}
        empty="No key is managed here; those of the configuration and the environment are not listed." /></div>
      <${Source} path="/admin/v1/providers/{provider}/keys" />
    <//>
    ${form && html`<${NewKey} provider=${form.provider} old=${form.old} onClose=${() => setForm(null)}
      onDone=${() => done()} />`}
    ${sure && html`<${Sure} question=${`No more calls go out with the key ${sure.id} of ${sure.provider}.`} onClose=${() => setSure(null)}
      onYes=${async () => { await remove(path(sure.provider, sure.id)); done(); }} />`}
  `;
}
