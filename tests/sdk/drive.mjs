// Drives the gateway with OpenAI's own Node SDK, which is told nothing but the base URL and the key, and checks what the
// caller gets and what the provider got. Starts neither: see upstream.mjs for the provider, whose journal it reads.
//
//     PENSTOCK_URL       the gateway, http://127.0.0.1:8080; without it the upstream is driven directly, to test these tests
//     PENSTOCK_KEY       the caller's key
//     PENSTOCK_MODEL     as the caller names it; default openai/gpt-4o-mini
//     UPSTREAM_URL       as upstream.mjs printed it; no other program may use it at the same time
//     UPSTREAM_KEY       if it was started with one
//     PENSTOCK_TEST_NODE_MODULES    where the SDK is (deploy/setup test)
//
// One line per check, `ok …` or `FAILED …: why`; exits with 1 if any failed.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.PENSTOCK_TEST_NODE_MODULES}/`);
const { OpenAI } = require("openai");

const gateway = process.env.PENSTOCK_URL;
const upstream = process.env.UPSTREAM_URL;
const upstreamKey = process.env.UPSTREAM_KEY ?? "sk-anything";
const named = process.env.PENSTOCK_MODEL ?? "openai/gpt-4o-mini";
const upstreamModel = named.slice(named.indexOf("/") + 1);
const model = gateway ? named : upstreamModel;

const client = new OpenAI({
  baseURL: gateway ? `${gateway}/v1` : upstream,
  apiKey: gateway ? process.env.PENSTOCK_KEY : upstreamKey,
  maxRetries: 0,
  timeout: 30_000,
});

const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "get_weather", description: "The weather now", parameters } }];
const rivers = "Rivers run — through 山 and ☃ — to the sea. 🌊";

// ---- Asking, and comparing with the provider's journal ----

/** What the provider got, from its `offset`th request on, and how many it got in all. */
async function journal(offset) {
  const address = upstream.replace(/\/v1$/, `/__aimock/journal?path=/v1/chat/completions&offset=${offset}`);
  const answer = await fetch(address, { headers: { authorization: `Bearer ${upstreamKey}` } });
  return { received: await answer.json(), total: Number(answer.headers.get("x-total-count")) };
}

/** Asks, and checks that each of the provider's requests (a retry makes several) is what the SDK was told to send. */
async function ask(content, more = {}) {
  const body = { messages: Array.isArray(content) ? content : [{ role: "user", content }], ...more };
  const before = (await journal(0)).total;
  let answer, failed;
  try {
    answer = await client.chat.completions.create({ model, ...body });
    if (body.stream) answer = await Array.fromAsync(answer);
  } catch (error) {
    failed = error;
  }

  const expected = { model: upstreamModel, ...body };
  if (gateway && body.stream) {
    expected.stream_options = { ...body.stream_options, include_usage: true }; // it counts tokens on every stream
  }
  const { received } = await journal(before);
  for (const entry of received) {
    delete entry.body._endpointType;
    assert.deepEqual(entry.body, expected);
  }
  if (failed) throw failed;
  assert.notEqual(received.length, 0, "an answer, but the provider got no request");
  return answer;
}

/** The SDK's exception of exactly this class. */
async function raises(kind, call) {
  const error = await call().then(() => null, (error) => error);
  assert.equal(error?.constructor.name, kind.name, `${error?.message}`);
  return error;
}

const joined = (chunks) => chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta.content ?? "")).join("");
const finish = (chunks) => chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.finish_reason)).filter(Boolean);
const usage = (of) => [of.prompt_tokens, of.completion_tokens, of.total_tokens];
const toolCalls = (answer) =>
  answer.choices[0].message.tool_calls.map((call) => [call.id, call.function.name, JSON.parse(call.function.arguments)]);

/** The calls of a stream, put together by their indexes: [[id, name, arguments]]. */
function joinedToolCalls(chunks) {
  const calls = [];
  for (const delta of chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? [])) {
    const call = (calls[delta.index] ??= { id: "", name: "", arguments: "" });
    call.id += delta.id ?? "";
    call.name += delta.function.name ?? "";
    call.arguments += delta.function.arguments ?? "";
  }
  return calls.map((call) => [call.id, call.name, JSON.parse(call.arguments)]);
}

async function conversationWithATool(more) {
  const content = "How is the weather in Oslo?";
  const asked = await ask(content, { tools, tool_choice: "auto", ...more });
  const calls = more.stream ? joinedToolCalls(asked) : toolCalls(asked);
  assert.deepEqual(calls, [["call_oslo", "get_weather", { city: "Oslo" }]]);
  assert.deepEqual(more.stream ? finish(asked) : [asked.choices[0].finish_reason], ["tool_calls"]);
  const [[id, name, args]] = calls;
  const answer = await ask(
    [
      { role: "user", content },
      { role: "assistant", content: null, tool_calls: [{ id, type: "function", function: { name, arguments: JSON.stringify(args) } }] },
      { role: "tool", tool_call_id: id, content: '{"snow": true}' },
    ],
    { tools, ...more },
  );
  assert.equal(more.stream ? joined(answer) : answer.choices[0].message.content, "It snows in Oslo.");
}

const both = [["call_1", "get_weather", { city: "Oslo" }], ["call_2", "get_weather", { city: "Rome" }]];

// ---- The checks ----

const checks = {
  "a question is answered": async () => {
    const answer = await ask("What is a penstock?");
    assert.equal(answer.choices[0].message.content, "The gate and pipe that carry a river to the turbines.");
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.deepEqual(usage(answer.usage), [11, 12, 23]);
  },

  "every parameter reaches the provider, also unknown ones": async () => {
    const image = { type: "image_url", image_url: { url: "data:image/png;base64,iVBORw0KGgo=", detail: "low" } };
    const answer = await ask(
      [
        { role: "system", content: 'Be brief. \u2028 "Quoted" \\ and 🌊' },
        { role: "user", content: [{ type: "text", text: "What is a penstock?" }, image], name: "ann" },
      ],
      {
        temperature: 0.25,
        max_completion_tokens: 64,
        stop: ["\n\n", "END"],
        seed: 2 ** 53 - 1,
        logit_bias: { 50256: -100 },
        metadata: { team: "search" },
        user: "ann@example.org",
        not_yet_known: { deep: [1, 2.5, null, { deeper: true }] },
      },
    );
    assert.equal(answer.choices[0].finish_reason, "stop");
  },

  "a stream joins to the whole text, and shows no usage unasked": async () => {
    const chunks = await ask("Tell me of rivers.", { stream: true });
    assert.equal(joined(chunks), rivers);
    assert.deepEqual(finish(chunks), ["stop"]);
    assert.deepEqual(chunks.filter((chunk) => chunk.choices.length === 0 || chunk.usage), []);
  },

  "a stream ends with its usage when asked": async () => {
    const chunks = await ask("Tell me of rivers.", { stream: true, stream_options: { include_usage: true } });
    assert.equal(joined(chunks), rivers);
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.deepEqual(usage(chunks.at(-1).usage), [9, 21, 30]);
    assert.equal(chunks.filter((chunk) => chunk.usage).length, 1);
  },

  "a tool is called and its result answered": () => conversationWithATool({}),
  "a tool is called and its result answered, in streams": () => conversationWithATool({ stream: true }),

  "the SDK's own tool runner goes from question to answer": async () => {
    const runner = client.chat.completions.runTools({
      model,
      messages: [{ role: "user", content: "How is the weather in Oslo?" }],
      tools: [{ type: "function", function: { ...tools[0].function, parse: JSON.parse, function: () => '{"snow": true}' } }],
    });
    assert.equal(await runner.finalContent(), "It snows in Oslo.");
  },

  "parallel tool calls keep their ids and order": async () => {
    assert.deepEqual(toolCalls(await ask("Compare Oslo and Rome.", { tools, parallel_tool_calls: true })), both);
  },

  "parallel tool calls in a stream keep their ids and indexes": async () => {
    const chunks = await ask("Compare Oslo and Rome.", { tools, parallel_tool_calls: true, stream: true });
    assert.deepEqual(joinedToolCalls(chunks), both);
  },

  "what the provider refuses is a BadRequestError with its words": async () => {
    for (const more of [{}, { stream: true }]) {
      const error = await raises(OpenAI.BadRequestError, () => ask("Be refused.", more));
      assert.deepEqual([error.type, error.param, error.code], ["invalid_request_error", "messages", "unsupported_value"]);
      assert.match(error.message, /Unsupported value: 'Be refused.'/);
    }
  },

  "what the provider limits is a RateLimitError with retry-after": async () => {
    for (const more of [{}, { stream: true }]) {
      const error = await raises(OpenAI.RateLimitError, () => ask("Be limited.", more));
      assert.match(error.headers.get("retry-after") ?? "missing", /^[1-9][0-9]*$/);
    }
  },

  "models are listed": async () => {
    const names = (await Array.fromAsync(client.models.list())).map((listed) => listed.id);
    assert.notEqual(names.length, 0);
    if (gateway) assert.ok(names.includes(model), `${model} is not among ${names.length}: ${names.slice(0, 5)} …`);
  },
};

const hello = [{ role: "user", content: "Hello" }];
if (gateway) {
  checks["a wrong key is an AuthenticationError"] = async () => {
    const stranger = client.withOptions({ apiKey: "psk_wrongwrongwrongwrong" });
    const error = await raises(OpenAI.AuthenticationError, () => stranger.chat.completions.create({ model, messages: hello }));
    assert.ok(error.message && error.code, `message ${error.message}, code ${error.code}`);
  };
  checks["an unknown model is a NotFoundError"] = async () => {
    const error = await raises(OpenAI.NotFoundError, () => client.chat.completions.create({ model: "no-such-model", messages: hello }));
    assert.match(error.message, /no-such-model/);
    assert.deepEqual([error.param, error.code], ["model", "model_not_found"]);
  };
}

for (const [sentence, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok ${sentence}`);
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAILED ${sentence}: ${`${error}`.replaceAll(/\s+/g, " ")}`);
  }
}
