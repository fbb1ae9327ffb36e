// The scripted provider of the SDK tests: @copilotkit/aimock with the answers that drive.py and drive.mjs expect.
// Knows nothing of the gateway.
//
//     node tests/sdk/upstream.mjs [PORT]        0, the default, takes a free one
//
// prints one line when it is ready, {"url": "http://127.0.0.1:PORT/v1"}, and serves until it is killed. Needs
// PENSTOCK_TEST_NODE_MODULES (deploy/setup test). With UPSTREAM_KEY set it accepts that key alone, for all of the below too.
//
// It keeps a journal of every chat request it received, oldest first, without limit, at /__aimock/journal beside /v1:
//
//     GET  /__aimock/journal?path=/v1/chat/completions&method=POST&status=200&offset=0&limit=10
//          [{"method", "path", "headers": {…}, "body": {…}, "response": {"status", "interrupted"?}, "timestamp"}, …]
//          The filters are optional; the header X-Total-Count tells how many match, whatever offset and limit say. The
//          body has one key that was not sent, _endpointType; the values of authorization and the like are redacted;
//          a stream whose reader went away has response.interrupted = true.
//     POST /__aimock/reset/journal              empties it
//     POST /__aimock/error {"status", "body"?}  makes the next request fail, once
//     POST /__aimock/fixtures {"fixtures": [{"match": {"userMessage": "…"}, "response": {"content": "…"}}]}  adds answers
import { createRequire } from "node:module";

const require = createRequire(`${process.env.PENSTOCK_TEST_NODE_MODULES}/`);
const { LLMock } = require("@copilotkit/aimock");

const key = process.env.UPSTREAM_KEY;
const upstream = new LLMock({
  port: Number(process.argv[2] ?? 0),
  host: "127.0.0.1",
  journalMaxEntries: 0, // no limit
  strict: true, // what matches nothing is answered with 503
  ...(key && { auth: { apiKeys: [key] } }),
});

const usage = (prompt_tokens, completion_tokens) => ({
  prompt_tokens,
  completion_tokens,
  total_tokens: prompt_tokens + completion_tokens,
});
const weather = (city, id) => ({ id, name: "get_weather", arguments: JSON.stringify({ city }) });

const oslo = "How is the weather in Oslo?";
const streamed = { chunkSize: 5 }; // characters; whether it is streamed is the request's choice

// The first that matches answers.
upstream
  .on({ userMessage: "What is a penstock?" }, { content: "The gate and pipe that carry a river to the turbines.", usage: usage(11, 12) })
  .on({ userMessage: "Tell me of rivers." }, { content: "Rivers run — through 山 and ☃ — to the sea. 🌊", usage: usage(9, 21) }, streamed)
  .on({ userMessage: oslo, hasToolResult: false }, { toolCalls: [weather("Oslo", "call_oslo")], usage: usage(40, 8) }, streamed)
  .on({ userMessage: oslo, toolCallId: "call_oslo" }, { content: "It snows in Oslo.", usage: usage(60, 6) }, streamed)
  .on({ userMessage: "Compare Oslo and Rome." }, { toolCalls: [weather("Oslo", "call_1"), weather("Rome", "call_2")], usage: usage(42, 17) }, streamed)
  .on({ userMessage: "Be refused." }, {
    status: 400,
    error: { message: "Unsupported value: 'Be refused.'", type: "invalid_request_error", param: "messages", code: "unsupported_value" },
  })
  .on({ userMessage: "Be limited." }, {
    status: 429,
    retryAfter: 1,
    error: { message: "Rate limit reached", type: "requests", code: "rate_limit_exceeded" },
  });

await upstream.start();
console.log(JSON.stringify({ url: `${upstream.url}/v1` }));
