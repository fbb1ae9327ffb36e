// Drives every provider's dialect through the gateway with the official Node SDKs of OpenAI, Anthropic and Google and with
// Vercel's AI SDK, which are told nothing but the base URL and the key: see providers.mjs for the answers, and matrix.py for
// the same in Python, the environment and the form of what is printed. JavaScript's numbers cannot hold the great integer
// that Python's SDKs are tried with; where its text is at hand, that is compared.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.PENSTOCK_TEST_NODE_MODULES}/`);
const { OpenAI } = require("openai");
const { default: AnthropicSDK, OverloadedError } = require("@anthropic-ai/sdk");
const { GoogleGenAI, ApiError } = require("@google/genai");
const { createOpenAI } = require("@ai-sdk/openai");
const vercel = require("ai");

const url = process.env.PENSTOCK_URL;
const key = process.env.PENSTOCK_KEY;
const models = JSON.parse(process.env.MATRIX);
const only = process.env.ONLY ?? "";
globalThis.AI_SDK_LOG_WARNINGS = false;

const penstock = "The gate and pipe that carry a river to the turbines.";
const rivers = "Rivers run — through 山 and ☃ — to the sea. 🌊";
const oslo = "How is the weather in Oslo?";
const snow = { snow: true };
const both = [["get_weather", { city: "Oslo" }], ["get_weather", { city: "Rome" }]];
const thought = "Let me count the gates.";
const png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
const picture = `data:image/png;base64,${png}`;
const city = { type: "object", properties: { city: { type: "string" }, station: { type: "integer" } }, required: ["city"] };
const place = {
  type: "object",
  properties: { city: { type: "string" }, population: { type: "integer" } },
  required: ["city", "population"],
  additionalProperties: false,
};
const is = { city: "Oslo", population: 709037 };
const cuts = ["Be cut.", "Be cut cleanly."];
const exactly = /"station": ?9007199254740993/;

/** Not a fault: the client has no such thing. */
class Cannot extends Error {}

async function raised(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was raised");
}

/** Whether each status of the provider comes as the SDK's own exception for it, with the provider's words. */
async function seenByClass(kinds, call) {
  for (const [status, kind] of Object.entries(kinds)) {
    const error = await raised(() => call(status));
    assert.equal(error.constructor.name, kind.name, `${status}: ${error}`);
    if (status === "400" || status === "429") assert.match(error.message, new RegExp(`The words of ${status}`));
  }
}

const text = (pieces) => pieces.map((piece) => piece ?? "").join("");

function chat() {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0, timeout: 30_000 });
  const tools = [{ type: "function", function: { name: "get_weather", parameters: city } }];
  const ask = async (model, content, more) => {
    const messages = Array.isArray(content) ? content : [{ role: "user", content }];
    const answer = await client.chat.completions.create({ model, messages, ...more });
    return more?.stream ? Array.fromAsync(answer) : answer;
  };
  const choices = (chunks) => chunks.flatMap((chunk) => chunk.choices);
  return {
    async text(model) {
      const answer = await ask(model, "What is a penstock?");
      assert.equal(answer.choices[0].message.content, penstock);
      assert.equal(answer.choices[0].finish_reason, "stop");
      assert.deepEqual([answer.usage.prompt_tokens, answer.usage.completion_tokens], [11, 12]);
    },
    async stream(model) {
      const chunks = await ask(model, "Tell me of rivers.", { stream: true, stream_options: { include_usage: true } });
      assert.equal(text(choices(chunks).map((choice) => choice.delta.content)), rivers);
      assert.deepEqual(chunks.flatMap((chunk) => (chunk.usage ? [chunk.usage.prompt_tokens, chunk.usage.completion_tokens] : [])), [9, 21]);
    },
    async tool(model) {
      const asked = await ask(model, oslo, { tools });
      const [call, ...more] = asked.choices[0].message.tool_calls;
      assert.deepEqual([call.function.name, more], ["get_weather", []]);
      assert.match(call.function.arguments, exactly);
      const result = { role: "tool", tool_call_id: call.id, content: JSON.stringify(snow) };
      const answer = await ask(model, [{ role: "user", content: oslo }, asked.choices[0].message, result], { tools });
      assert.equal(answer.choices[0].message.content, "It snows in Oslo.");
    },
    async parallel(model) {
      const calls = [];
      for (const delta of choices(await ask(model, "Compare Oslo and Rome.", { tools, stream: true })).flatMap((choice) => choice.delta.tool_calls ?? [])) {
        const call = (calls[delta.index] ??= ["", ""]);
        call[0] += delta.function.name ?? "";
        call[1] += delta.function.arguments ?? "";
      }
      assert.deepEqual(calls.map(([name, args]) => [name, JSON.parse(args)]), both);
    },
    async image(model) {
      const content = [{ type: "text", text: "What is in the picture?" }, { type: "image_url", image_url: { url: picture } }];
      assert.equal((await ask(model, [{ role: "user", content }])).choices[0].message.content, "A red dot.");
    },
    async structured(model) {
      const response_format = { type: "json_schema", json_schema: { name: "place", strict: true, schema: place } };
      assert.deepEqual(JSON.parse((await ask(model, "Describe Oslo as JSON.", { response_format })).choices[0].message.content), is);
    },
    async reasoning(model) {
      const { message } = (await ask(model, "Think of gates.", { reasoning_effort: "low" })).choices[0];
      assert.deepEqual([message.content, message.reasoning_content], ["Two.", thought]);
      const deltas = choices(await ask(model, "Think of gates.", { reasoning_effort: "low", stream: true })).map((choice) => choice.delta);
      assert.deepEqual([text(deltas.map((d) => d.content)), text(deltas.map((d) => d.reasoning_content))], ["Two.", thought]);
    },
    errors: (model) =>
      seenByClass(
        {
          400: OpenAI.BadRequestError,
          401: OpenAI.InternalServerError,
          404: OpenAI.NotFoundError,
          429: OpenAI.RateLimitError,
          500: OpenAI.InternalServerError,
          503: OpenAI.InternalServerError,
        },
        (status) => ask(model(status), `Fail with ${status}`),
      ),
    async cut(model) {
      for (const words of cuts) assert.ok((await raised(() => ask(model, words, { stream: true }))) instanceof OpenAI.APIError);
    },
  };
}

function responses() {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0, timeout: 30_000 });
  const tools = [{ type: "function", name: "get_weather", parameters: city, strict: false }];
  const ask = async (model, input, more) => {
    const answer = await client.responses.create({ model, input, store: false, ...more });
    return more?.stream ? Array.fromAsync(answer) : answer;
  };
  const calls = (answer) => answer.output.filter((item) => item.type === "function_call");
  return {
    ...chat(),
    async text(model) {
      const answer = await ask(model, "What is a penstock?");
      assert.equal(answer.output_text, penstock);
      assert.deepEqual([answer.usage.input_tokens, answer.usage.output_tokens], [11, 12]);
    },
    async stream(model) {
      const events = await ask(model, "Tell me of rivers.", { stream: true });
      assert.equal(text(events.filter((e) => e.type === "response.output_text.delta").map((e) => e.delta)), rivers);
      const { response, type } = events.at(-1);
      assert.deepEqual([type, response.usage.input_tokens, response.usage.output_tokens], ["response.completed", 9, 21]);
    },
    async tool(model) {
      const asked = await ask(model, oslo, { tools });
      const [call] = calls(asked);
      assert.match(call.arguments, exactly);
      const result = { type: "function_call_output", call_id: call.call_id, output: JSON.stringify(snow) };
      const turns = [{ role: "user", content: oslo }, ...asked.output, result];
      assert.equal((await ask(model, turns, { tools })).output_text, "It snows in Oslo.");
    },
    async parallel(model) {
      const events = await ask(model, "Compare Oslo and Rome.", { tools, stream: true });
      const found = calls(events.at(-1).response).map((call) => [call.name, JSON.parse(call.arguments)]);
      assert.deepEqual(found, both);
    },
    async image(model) {
      const content = [{ type: "input_text", text: "What is in the picture?" }, { type: "input_image", image_url: picture, detail: "auto" }];
      assert.equal((await ask(model, [{ role: "user", content }])).output_text, "A red dot.");
    },
    async structured(model) {
      const format = { type: "json_schema", name: "place", strict: true, schema: place };
      assert.deepEqual(JSON.parse((await ask(model, "Describe Oslo as JSON.", { text: { format } })).output_text), is);
    },
    async reasoning(model) {
      const answer = await ask(model, "Think of gates.", { reasoning: { effort: "low", summary: "auto" } });
      const thoughts = answer.output.filter((item) => item.type === "reasoning").flatMap((item) => [...item.summary, ...(item.content ?? [])]);
      assert.deepEqual([answer.output_text, text(thoughts.map((part) => part.text))], ["Two.", thought]);
    },
    async cut(model) {
      for (const words of cuts) {
        const last = await ask(model, words, { stream: true }).then((events) => events.at(-1).type, () => "error");
        assert.match(last, /^(error|response\.failed)$/);
      }
    },
  };
}

function anthropic() {
  const client = new AnthropicSDK({ baseURL: url, apiKey: key, maxRetries: 0, timeout: 30_000 });
  const tools = [{ name: "get_weather", input_schema: city }];
  const told = (model, content, more) => ({
    model,
    messages: Array.isArray(content) ? content : [{ role: "user", content }],
    max_tokens: 2048,
    ...more,
  });
  const ask = (model, content, more) => client.messages.create(told(model, content, more));
  const streamed = (model, content, more) => client.messages.stream(told(model, content, more)).finalMessage();
  const usage = (answer) => [answer.usage.input_tokens, answer.usage.output_tokens];
  return {
    async text(model) {
      const answer = await ask(model, "What is a penstock?");
      assert.deepEqual([answer.content[0].text, answer.stop_reason], [penstock, "end_turn"]);
      assert.deepEqual(usage(answer), [11, 12]);
    },
    async stream(model) {
      const answer = await streamed(model, "Tell me of rivers.");
      assert.deepEqual([answer.content[0].text, answer.stop_reason], [rivers, "end_turn"]);
      assert.deepEqual(usage(answer), [9, 21]);
    },
    async tool(model) {
      const asked = await ask(model, oslo, { tools });
      const call = asked.content.find((block) => block.type === "tool_use");
      assert.deepEqual([call.name, call.input.city, asked.stop_reason], ["get_weather", "Oslo", "tool_use"]);
      const content = [{ type: "tool_result", tool_use_id: call.id, content: JSON.stringify(snow) }];
      const turns = [{ role: "user", content: oslo }, { role: "assistant", content: asked.content }, { role: "user", content }];
      assert.equal((await ask(model, turns, { tools })).content[0].text, "It snows in Oslo.");
    },
    async parallel(model) {
      const { content } = await streamed(model, "Compare Oslo and Rome.", { tools });
      assert.deepEqual(content.filter((block) => block.type === "tool_use").map((call) => [call.name, call.input]), both);
    },
    async image(model) {
      const source = { type: "base64", media_type: "image/png", data: png };
      const content = [{ type: "image", source }, { type: "text", text: "What is in the picture?" }];
      assert.equal((await ask(model, [{ role: "user", content }])).content[0].text, "A red dot.");
    },
    async structured(model) {
      const output_config = { format: { type: "json_schema", schema: place } };
      assert.deepEqual(JSON.parse((await ask(model, "Describe Oslo as JSON.", { output_config })).content[0].text), is);
    },
    async reasoning(model) {
      const thinking = { type: "enabled", budget_tokens: 1024 };
      for (const how of [ask, streamed]) {
        const { content } = await how(model, "Think of gates.", { thinking });
        assert.deepEqual([content[0].thinking, content.at(-1).text], [thought, "Two."]);
      }
    },
    errors: (model) =>
      seenByClass(
        {
          400: AnthropicSDK.BadRequestError,
          401: AnthropicSDK.InternalServerError,
          404: AnthropicSDK.NotFoundError,
          429: AnthropicSDK.RateLimitError,
          500: AnthropicSDK.InternalServerError,
          503: OverloadedError,
        },
        (status) => ask(model(status), `Fail with ${status}`),
      ),
    async cut(model) {
      for (const words of cuts) {
        const error = await raised(() => streamed(model, words));
        assert.ok(error instanceof AnthropicSDK.AnthropicError, `${error}`);
      }
    },
  };
}

function google() {
  const client = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url, timeout: 30_000 } });
  const tools = [{ functionDeclarations: [{ name: "get_weather", parametersJsonSchema: city }] }];
  const ask = (model, contents, config) => client.models.generateContent({ model, contents, config });
  const streamed = async (model, contents, config) => Array.fromAsync(await client.models.generateContentStream({ model, contents, config }));
  const parts = (chunks) => chunks.flatMap((chunk) => chunk.candidates[0].content?.parts ?? []);
  return {
    async text(model) {
      const answer = await ask(model, "What is a penstock?");
      assert.deepEqual([answer.text, answer.candidates[0].finishReason], [penstock, "STOP"]);
      const { promptTokenCount, candidatesTokenCount, totalTokenCount } = answer.usageMetadata;
      assert.deepEqual([promptTokenCount, candidatesTokenCount, totalTokenCount], [11, 12, 23]);
    },
    async stream(model) {
      const chunks = await streamed(model, "Tell me of rivers.");
      assert.equal(text(chunks.map((chunk) => chunk.text)), rivers);
      const { promptTokenCount, candidatesTokenCount } = chunks.at(-1).usageMetadata;
      assert.deepEqual([promptTokenCount, candidatesTokenCount], [9, 21]);
    },
    async tool(model) {
      const asked = await ask(model, oslo, { tools });
      const [call] = asked.functionCalls;
      assert.deepEqual([call.name, call.args.city], ["get_weather", "Oslo"]);
      const result = { functionResponse: { id: call.id, name: call.name, response: snow } };
      const turns = [{ role: "user", parts: [{ text: oslo }] }, asked.candidates[0].content, { role: "user", parts: [result] }];
      assert.equal((await ask(model, turns, { tools })).text, "It snows in Oslo.");
    },
    async parallel(model) {
      const calls = (await streamed(model, "Compare Oslo and Rome.", { tools })).flatMap((chunk) => chunk.functionCalls ?? []);
      assert.deepEqual(calls.map((call) => [call.name, call.args]), both);
    },
    async image(model) {
      const parts = [{ inlineData: { data: png, mimeType: "image/png" } }, { text: "What is in the picture?" }];
      assert.equal((await ask(model, [{ role: "user", parts }])).text, "A red dot.");
    },
    async structured(model) {
      const answer = await ask(model, "Describe Oslo as JSON.", { responseMimeType: "application/json", responseJsonSchema: place });
      assert.deepEqual(JSON.parse(answer.text), is);
    },
    async reasoning(model) {
      const config = { thinkingConfig: { thinkingBudget: 1024, includeThoughts: true } };
      for (const found of [parts([await ask(model, "Think of gates.", config)]), parts(await streamed(model, "Think of gates.", config))]) {
        const [thoughts, words] = [true, false].map((is) => text(found.filter((part) => Boolean(part.thought) === is).map((part) => part.text)));
        assert.deepEqual([words, thoughts], ["Two.", thought]);
      }
    },
    async errors(model) {
      for (const [status, seen] of Object.entries({ 400: 400, 401: 502, 404: 404, 429: 429, 500: 502, 503: 503 })) {
        const error = await raised(() => ask(model(status), `Fail with ${status}`));
        assert.ok(error instanceof ApiError, `${error}`);
        assert.equal(error.status, seen, `${status}: ${error}`);
      }
    },
    async cut(model) {
      for (const words of cuts) assert.ok((await raised(() => streamed(model, words))) instanceof Error);
    },
  };
}

function ai() {
  const provider = createOpenAI({ baseURL: `${url}/v1`, apiKey: key });
  const { generateText, streamText, generateObject, jsonSchema, tool } = vercel;
  const ask = (model, prompt, more) => generateText({ model: provider.chat(model), maxRetries: 0, ...(Array.isArray(prompt) ? { messages: prompt } : { prompt }), ...more });
  const tools = { get_weather: tool({ inputSchema: jsonSchema(city) }) };
  async function streamed(model, prompt, more) {
    const failed = [];
    const result = streamText({ model: provider.chat(model), maxRetries: 0, prompt, onError: ({ error }) => failed.push(error), ...more });
    const parts = await Array.fromAsync(result.fullStream);
    if (failed.length) throw failed[0];
    return parts;
  }
  return {
    async text(model) {
      const answer = await ask(model, "What is a penstock?");
      assert.deepEqual([answer.text, answer.finishReason], [penstock, "stop"]);
      assert.deepEqual([answer.usage.inputTokens, answer.usage.outputTokens], [11, 12]);
    },
    async stream(model) {
      const parts = await streamed(model, "Tell me of rivers.");
      assert.equal(text(parts.filter((part) => part.type === "text-delta").map((part) => part.text)), rivers);
      const { totalUsage } = parts.at(-1);
      assert.deepEqual([totalUsage.inputTokens, totalUsage.outputTokens], [9, 21]);
    },
    async tool(model) {
      const asked = await ask(model, oslo, { tools });
      const [call] = asked.toolCalls;
      assert.deepEqual([call.toolName, call.input.city], ["get_weather", "Oslo"]);
      const result = { type: "tool-result", toolCallId: call.toolCallId, toolName: call.toolName, output: { type: "json", value: snow } };
      const turns = [{ role: "user", content: oslo }, ...asked.response.messages, { role: "tool", content: [result] }];
      assert.equal((await ask(model, turns, { tools })).text, "It snows in Oslo.");
    },
    async parallel(model) {
      const parts = await streamed(model, "Compare Oslo and Rome.", { tools });
      assert.deepEqual(parts.filter((part) => part.type === "tool-call").map((call) => [call.toolName, call.input]), both);
    },
    async image(model) {
      const content = [{ type: "text", text: "What is in the picture?" }, { type: "image", image: png, mediaType: "image/png" }];
      assert.equal((await ask(model, [{ role: "user", content }])).text, "A red dot.");
    },
    async structured(model) {
      const { object } = await generateObject({ model: provider.chat(model), maxRetries: 0, schema: jsonSchema(place), prompt: "Describe Oslo as JSON." });
      assert.deepEqual(object, is);
    },
    async reasoning() {
      throw new Cannot("Vercel's OpenAI provider leaves thoughts out of chat completions");
    },
    async errors(model) {
      for (const [status, seen] of Object.entries({ 400: 400, 401: 502, 404: 404, 429: 429, 500: 502, 503: 503 })) {
        const error = await raised(() => ask(model(status), `Fail with ${status}`));
        assert.deepEqual([vercel.APICallError.isInstance(error), error.statusCode], [true, seen], `${status}: ${error}`);
      }
    },
    async cut(model) {
      for (const words of cuts) await raised(() => streamed(model, words));
    },
  };
}

const clients = {
  "OpenAI Node, chat": chat,
  "OpenAI Node, responses": responses,
  "Anthropic Node": anthropic,
  "Google Node": google,
  "Vercel AI SDK, OpenAI chat": ai,
};

const cells = Object.entries(clients).flatMap(([client, kind], number) => {
  const features = kind();
  return Object.entries(models).flatMap(([provider, model]) =>
    Object.entries(features).map(([feature, check]) => {
      // What fails is of a provider and models of its own: a limit or a circuit closes one of them only.
      const bad = `${provider}bad/js${number}`;
      const asked = { errors: (status) => `${bad}-${status}`, cut: bad }[feature] ?? `${provider}/${model}`;
      return { client, provider, feature, run: () => check(asked) };
    }),
  );
});

const wanted = cells.filter(({ client, provider, feature }) => `${client} ${provider} ${feature}`.includes(only));
const waits = ({ feature }) => feature === "errors" || feature === "cut";
wanted.sort((a, b) => waits(b) - waits(a)); // those go first
async function work() {
  for (let next = wanted.shift(); next; next = wanted.shift()) {
    const { run, ...line } = next;
    const cell = await run().then(
      () => "ok",
      (error) => (error instanceof Cannot ? error.message : `FAILED: ${error}`.replaceAll(/\s+/g, " ").slice(0, 600)),
    );
    console.log(JSON.stringify({ ...line, cell }));
  }
}
await Promise.all(Array.from({ length: 24 }, work));
process.exit(0);
