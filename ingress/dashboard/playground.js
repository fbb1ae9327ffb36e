// One prompt to several models side by side, streamed, with what it took and what it cost. It uses a virtual key as any
// application does, so that it counts in the key's budgets.

import { html, useEffect, useRef, useState } from './htm-preact.js';
import { get } from './api.js';
import { duration, ErrorNote, number, usd } from './parts.js';

const MOST = 4;

/** The events of a server-sent stream. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      const data = line.startsWith('data:') ? line.slice(5).trim() : '';
      if (data && data !== '[DONE]') yield JSON.parse(data);
    }
  }
}

async function run({ key, model, prompt, maxTokens }, update, signal) {
  const began = performance.now();
  const us = () => Math.round((performance.now() - began) * 1000);
  const response = await fetch('/v1/chat/completions', {
    method: 'POST',
    signal,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, stream: true, stream_options: { include_usage: true }, max_tokens: maxTokens, messages: [{ role: 'user', content: prompt }] }),
  });
  const id = response.headers.get('x-penstock-request-id') ?? response.headers.get('x-request-id');
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    throw new Error(body?.error?.message ?? `the gateway answered ${response.status}`);
  }
  let text = '';
  let first = null;
  let usage = null;
  for await (const event of events(response)) {
    if (event.error) throw new Error(event.error.message);
    const delta = event.choices?.[0]?.delta?.content ?? '';
    if (delta && first === null) first = us();
    text += delta;
    usage = event.usage ?? usage;
    update({ id, text, first, usage });
  }
  update({ id, text, first, usage, total: us(), isOver: true });
}

function Cost({ id }) {
  const [cost, setCost] = useState(null);
  useEffect(() => {
    let tries = 0;
    const timer = setInterval(async () => {
      tries += 1;
      const report = await get(`requests/${id}`).catch(() => null);
      if (report?.request?.outcome) setCost(report.request.cost_usd);
      if (report?.request?.outcome || tries > 20) clearInterval(timer);
    }, 1_000);
    return () => clearInterval(timer);
  }, [id]);
  return html`<a href=${`/dashboard/requests/${id}`}>${cost === null ? 'its row' : usd(cost)}</a>`;
}

function Answer({ model, answer }) {
  return html`<section class="card" aria-live="polite"><h2>${model}</h2>
    <${ErrorNote} error=${answer.error} />
    <pre class="answer" tabindex="0">${answer.text || (answer.error ? '' : '…')}</pre>
    <p class="muted">first token ${duration(answer.first)}, whole answer ${duration(answer.total)}
      ${answer.usage && html`, ${number(answer.usage.prompt_tokens)} tokens in, ${number(answer.usage.completion_tokens)} out`}
      ${answer.isOver && answer.id && html`, cost: <${Cost} id=${answer.id} />`}</p>
  </section>`;
}

function code({ model, prompt, maxTokens }) {
  const body = JSON.stringify({ model, max_tokens: maxTokens, messages: [{ role: 'user', content: prompt }] });
  const quoted = body.replaceAll("'", "'\\''");
  return {
    curl: `curl ${location.origin}/v1/chat/completions -H "Authorization: Bearer $PENSTOCK_KEY" \\\n  -H 'content-type: application/json' -d '${quoted}'`,
    Python: `from openai import OpenAI\n\nclient = OpenAI(base_url="${location.origin}/v1", api_key="psk_…")\nanswer = client.chat.completions.create(\n    model=${JSON.stringify(model)}, max_tokens=${maxTokens},\n    messages=[{"role": "user", "content": ${JSON.stringify(prompt)}}],\n)\nprint(answer.choices[0].message.content)`,
  };
}

export function Playground() {
  const [key, setKey] = useState(sessionStorage.getItem('playground_key') ?? '');
  const [models, setModels] = useState([]);
  const [chosen, setChosen] = useState(['']);
  const [prompt, setPrompt] = useState('Say hello in one sentence.');
  const [maxTokens, setMaxTokens] = useState(256);
  const [answers, setAnswers] = useState({});
  const stop = useRef(null);
  const [settledKey, setSettledKey] = useState(key);
  useEffect(() => {
    if (!settledKey) return;
    sessionStorage.setItem('playground_key', settledKey);
    fetch('/v1/models', { headers: { authorization: `Bearer ${settledKey}` } })
      .then((response) => (response.ok ? response.json() : { data: [] }))
      .then((list) => setModels(list.data.map((model) => model.id)), () => {});
  }, [settledKey]);
  const send = (event) => {
    event.preventDefault();
    stop.current?.abort();
    stop.current = new AbortController();
    const wanted = chosen.filter(Boolean);
    setAnswers(Object.fromEntries(wanted.map((model) => [model, {}])));
    for (const model of wanted) {
      const update = (change) => setAnswers((before) => ({ ...before, [model]: { ...before[model], ...change } }));
      run({ key, model, prompt, maxTokens }, update, stop.current.signal).catch((error) => update({ error, isOver: true }));
    }
  };
  const snippets = code({ model: chosen[0] || 'MODEL', prompt, maxTokens });
  return html`
    <h1>Playground</h1>
    <form class="card" onSubmit=${send}>
      <div class="filters">
        <label class="field">Virtual key
          <input type="password" name="key" value=${key} required placeholder="psk_…" autocomplete="off" size="28"
            onInput=${(event) => setKey(event.target.value.trim())} onChange=${() => setSettledKey(key)} />
        </label>
        <label class="field">Longest answer, tokens
          <input type="number" min="1" max="100000" value=${maxTokens} onChange=${(event) => setMaxTokens(Number(event.target.value))} />
        </label>
      </div>
      <div class="filters">
        ${chosen.map((model, at) => html`<label class="field">Model ${at + 1}
          <input list="models" name=${`model-${at + 1}`} value=${model} required=${at === 0} onInput=${(event) => setChosen(chosen.map((one, i) => (i === at ? event.target.value.trim() : one)))} />
        </label>`)}
        ${chosen.length < MOST && html`<button type="button" class="quiet" onClick=${() => setChosen([...chosen, ''])}>Beside another model</button>`}
        <datalist id="models">${models.map((model) => html`<option value=${model}></option>`)}</datalist>
      </div>
      <label class="field">Prompt
        <textarea name="prompt" rows="4" required value=${prompt} onInput=${(event) => setPrompt(event.target.value)}></textarea>
      </label>
      <button type="submit">Send</button>
      <button type="button" class="quiet" onClick=${() => stop.current?.abort()}>Stop</button>
    </form>
    <div class="grid">${Object.entries(answers).map(([model, answer]) => html`<${Answer} key=${model} model=${model} answer=${answer} />`)}</div>
    <details class="source"><summary>The same in code</summary>
      ${Object.entries(snippets).map(([name, text]) => html`<p>${name}</p><pre tabindex="0">${text}</pre>`)}
    </details>
  `;
}
