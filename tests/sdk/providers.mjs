// Every provider of the matrix: @copilotkit/aimock in each dialect that it serves, behind a front that sees the bytes as they
// came. The front checks what aimock leaves unread (pictures, schemas, thinking), answers errors as each provider spells
// them, keeps integers whole that JavaScript would round, and cuts streams. Knows nothing of the gateway.
//
//     node tests/sdk/providers.mjs
//
// prints one line when it is ready, {"url": "http://127.0.0.1:PORT"}: the provider NAME is at /NAME, with the paths of the
// real one below it. Needs PENSTOCK_TEST_NODE_MODULES (deploy/setup test). Serves until it is killed.
import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.PENSTOCK_TEST_NODE_MODULES}/`);
const { LLMock } = require("@copilotkit/aimock");

// ---- What is answered: as matrix.py and matrix.mjs expect it ----

const aimock = new LLMock({ port: 0, host: "127.0.0.1", chunkSize: 5, logLevel: "silent" });
const usage = (prompt_tokens, completion_tokens) => ({ prompt_tokens, completion_tokens });
const weather = (city, id, more) => ({ id, name: "get_weather", arguments: JSON.stringify({ city, ...more }) });
const isAnswerTool = (tool) => tool.function?.name?.startsWith("json_answer__");
const oslo = "How is the weather in Oslo?";
const place = '{"city":"Oslo","population":709037}';

// An agent's turns: its own tool that runs a command shows it the note, its own tool that edits files keeps it, and it ends.
// What the tools are called, and what they take, is each agent's: see gateway/agents.rs.
const agentTask = /Read note\.txt with the shell/;
const note = "a grey heron";
const kept = "heron";
const shells = { Bash: "command", bash: "command", run_shell_command: "command", exec_command: "cmd", run_terminal_command: "command", run_commands: "commands" };
const patch = `*** Begin Patch\n*** Add File: kept.txt\n+${kept}\n*** End Patch`;
const editors = {
  Write: (folder) => ({ file_path: `${folder}/kept.txt`, content: kept }),
  write: (folder) => ({ filePath: `${folder}/kept.txt`, path: `${folder}/kept.txt`, content: kept }),
  write_file: () => ({ file_path: "kept.txt", content: kept }),
  apply_patch: (folder, tool) => ({ [tool.function.parameters?.required?.[0] ?? "input"]: patch }),
};
const textOf = (content) => (typeof content === "string" ? content : JSON.stringify(content ?? ""));
const outputsOf = (asked) => asked.messages.filter(({ role }) => role === "tool").map(({ content }) => textOf(content));
const folderOf = (asked) => JSON.stringify(asked.messages).match(/FOLDER=([\w./-]+)/)?.[1];
const toolOf = (asked, names) => asked.tools?.find(({ function: tool }) => tool?.name in names);
const isAgent = (outputs, names) => (asked) => outputsOf(asked).length === outputs && (!names || toolOf(asked, names));
const thinks = (asked) => asked.model?.includes("claude") && { reasoning: "A shell will do.", reasoningSignature: "c2lnbmVk" };
const calls = (asked, tool, taken) => ({
  ...thinks(asked),
  content: "I look.",
  toolCalls: [{ id: `call_${tool.function.name}`, name: tool.function.name, arguments: JSON.stringify(taken) }],
  usage: usage(50, 10),
});

aimock
  .on({ userMessage: "What is a penstock?" }, { content: "The gate and pipe that carry a river to the turbines.", usage: usage(11, 12) })
  .on({ userMessage: "Tell me of rivers." }, { content: "Rivers run — through 山 and ☃ — to the sea. 🌊", usage: usage(9, 21) })
  .on({ userMessage: oslo, hasToolResult: false }, { toolCalls: [weather("Oslo", "call_oslo", { station: "@BIG@" })], usage: usage(40, 8) })
  .on({ userMessage: oslo, hasToolResult: true }, { content: "It snows in Oslo.", usage: usage(60, 6) })
  .on({ userMessage: "Compare Oslo and Rome." }, { toolCalls: [weather("Oslo", "call_1"), weather("Rome", "call_2")], usage: usage(42, 17) })
  .on({ userMessage: "What is in the picture?" }, { content: "A red dot.", usage: usage(80, 4) })
  .on({ userMessage: "Describe Oslo as JSON.", predicate: (asked) => asked.tools?.some(isAnswerTool) }, (asked) => ({
    toolCalls: [{ id: "call_json", name: asked.tools.find(isAnswerTool).function.name, arguments: place }],
    usage: usage(30, 9),
  }))
  .on({ userMessage: "Describe Oslo as JSON." }, { content: place, usage: usage(30, 9) })
  .on({ userMessage: "Think of gates." }, { content: "Two.", reasoning: "Let me count the gates.", reasoningSignature: "c2lnbmVk", usage: usage(20, 15) })
  .on({ userMessage: agentTask, predicate: isAgent(0, shells) }, (asked) => {
    const tool = toolOf(asked, shells);
    return calls(asked, tool, { [shells[tool.function.name]]: "cat note.txt" });
  })
  .on({ userMessage: agentTask, predicate: isAgent(1, editors) }, (asked) => {
    const tool = toolOf(asked, editors);
    return calls(asked, tool, editors[tool.function.name](folderOf(asked), tool));
  })
  .on({ userMessage: agentTask, predicate: (asked) => outputsOf(asked)[0]?.includes(note) }, { content: "The note tells of a heron.", usage: usage(70, 7) })
  .on({ userMessage: "Be cut" }, { content: "This text is long and will never be heard to its end. ".repeat(4), usage: usage(7, 60) });

const must = [
  { asked: "What is in the picture?", found: /iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ/, why: "the picture did not arrive" },
  { asked: "Describe Oslo as JSON.", found: /population/, why: "the schema did not arrive" },
  { asked: "Think of gates.", found: /reasoning|thinking/i, why: "the wish to think did not arrive", but: "mistral" }, // its model always thinks
  // Claude Code sends Claude's thoughts back, if the answer named the model that it had asked for.
  { asked: '"tool_use_id":"call_Bash"', found: /"signature": ?"c2lnbmVk"/, why: "Claude's thoughts were not sent back", only: "anthropic" },
  { asked: "exactly 9007199254740993", found: /"?station\\*": ?9007199254740993/, why: "the number was rounded" },
];

// ---- Errors, as each provider spells them ----

const kinds = {
  400: ["invalid_request_error", "INVALID_ARGUMENT", "ValidationException"],
  401: ["authentication_error", "UNAUTHENTICATED", "UnrecognizedClientException"],
  404: ["not_found_error", "NOT_FOUND", "ResourceNotFoundException"],
  429: ["rate_limit_error", "RESOURCE_EXHAUSTED", "ThrottlingException"],
  500: ["api_error", "INTERNAL", "InternalServerException"],
  503: ["overloaded_error", "UNAVAILABLE", "ServiceUnavailableException"],
};

function refuse(provider, status, message) {
  const [kind, google, amazon] = kinds[status];
  switch (provider) {
    case "anthropic":
      return [{ type: "error", error: { type: kind, message }, request_id: "req_1" }, {}];
    case "google":
    case "vertex":
      return [{ error: { code: status, message, status: google } }, {}];
    case "bedrock":
      return [{ message }, { "x-amzn-errortype": amazon }];
    case "cohere":
      return [{ id: "1", message }, {}];
    case "mistral":
      return [{ object: "error", message, type: kind, param: null, code: "1000" }, {}];
    default:
      return [{ error: { message, type: kind, param: null, code: null } }, {}];
  }
}

// ---- Where aimock's answers are not the provider's ----

const events = (text, change) =>
  text.replace(/^data: (\{.*\})$/gm, (_, json) => {
    const event = change(JSON.parse(json));
    return event ? `data: ${JSON.stringify(event)}` : ":";
  });

/** Cohere's thoughts are pieces of a kind of their own: aimock has them as text before the text. */
function cohere(text) {
  const think = (piece) => ({ type: "thinking", thinking: piece.text ?? "" });
  if (!text.startsWith("{")) {
    return events(text, (event) => {
      if (event.index === 0 && event.type !== "content-end") event.delta.message.content = think(event.delta.message.content);
      return event;
    });
  }
  const answer = JSON.parse(text);
  answer.message.content[0] = think(answer.message.content[0]);
  return JSON.stringify(answer);
}

/** Mistral's thoughts are pieces of the content, and a stream's usage comes unasked, with the last choice. */
function mistral(text) {
  const change = (message) => {
    if (!message?.reasoning_content) return;
    const thinking = [{ type: "text", text: message.reasoning_content }];
    const said = message.content ? [{ type: "text", text: message.content }] : [];
    message.content = [{ type: "thinking", thinking }, ...said];
    delete message.reasoning_content;
  };
  if (text.startsWith("{")) {
    const answer = JSON.parse(text);
    answer.choices?.forEach((choice) => change(choice.message));
    return JSON.stringify(answer);
  }
  const usage = text.match(/"usage":(\{.*?\})/)?.[1];
  return events(text, (event) => {
    event.choices.forEach((choice) => change(choice.delta));
    if (event.choices.some((choice) => choice.finish_reason) && usage) event.usage = JSON.parse(usage);
    return event.choices.length ? event : null;
  });
}

/** What the provider would have said. */
function asSaidBy(provider, asked, body) {
  if (provider === "cohere" && asked.includes("Think of gates.")) return Buffer.from(cohere(body.toString()));
  if (provider === "mistral") return Buffer.from(mistral(body.toString()));
  return body;
}

// ---- The front ----

/** Where to cut a stream: in the middle, or at the end of an event near it. */
function half(body, isBinary, cleanly) {
  const middle = body.length >> 1;
  if (!cleanly) return middle;
  if (!isBinary) return body.lastIndexOf("\n\n", middle) + 2;
  let at = 0;
  while (at < middle) at += body.readUInt32BE(at); // a message begins with its length
  return at;
}

function cut(answer, head, body, cleanly) {
  const at = half(body, head.get("content-type").includes("eventstream"), cleanly);
  answer.writeHead(200, { "content-type": head.get("content-type") });
  answer.write(body.subarray(0, at));
  // What came before the cut is on its way to the client by then.
  setTimeout(() => (cleanly ? answer.end() : answer.socket.destroy()), 100);
}

async function serve(request, answer) {
  const body = Buffer.concat(await Array.fromAsync(request));
  const text = body.toString();
  const [, provider, rest] = request.url.match(/^\/([a-z]+?)(?:bad)?(\/.*)$/);
  const path = rest.replace("/openai/v1/", "/v1/"); // Azure's newer addresses are OpenAI's
  const say = (status, message) => {
    const [error, headers] = refuse(provider, status, message);
    answer.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(error));
  };
  const status = text.match(/Fail with (\d{3})/)?.[1];
  if (status) return say(Number(status), `The words of ${status}`);
  const fails = ({ asked, found, but, only = provider }) =>
    text.includes(asked) && !found.test(text) && provider !== but && provider === only;
  const missing = must.find(fails);
  if (missing) return say(400, `${missing.why}: ${text.slice(0, 2000)}`);

  const headers = { ...request.headers };
  for (const name of ["host", "content-length", "accept-encoding", "connection"]) delete headers[name];
  // aimock tells a stream's usage where it is asked to; Mistral takes no such wish.
  const sent = provider === "mistral" && text.includes('"stream":true') ? `${text.slice(0, -1)},"stream_options":{"include_usage":true}}` : body;
  const came = await fetch(aimock.url + path, { method: request.method, headers, body: sent.length ? sent : undefined });
  const whole = asSaidBy(provider, text, Buffer.from(await came.arrayBuffer()));
  if (process.env.TRACE) console.error(request.method, request.url, text, "=>", came.status, whole.toString());
  if (text.includes("Be cut")) return cut(answer, came.headers, whole, text.includes("Be cut cleanly."));
  const kind = came.headers.get("content-type");
  answer.writeHead(came.status, { "content-type": kind });
  answer.end(kind.includes("json") ? whole.toString().replaceAll(/\\?"@BIG@\\?"/g, "9007199254740993") : whole);
}

await aimock.start();
const front = createServer((request, answer) => serve(request, answer).catch((error) => answer.destroy(error)));
front.keepAliveTimeout = 60_000;
front.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ url: `http://127.0.0.1:${front.address().port}` })));
