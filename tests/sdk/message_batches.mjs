// Anthropic's documented example of message batches, with the official SDK, against the gateway:
// https://platform.claude.com/docs/en/build-with-claude/batch-processing.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const require = createRequire(`${process.env.PENSTOCK_TEST_NODE_MODULES}/`);
const { Anthropic } = require("@anthropic-ai/sdk");

const client = new Anthropic({ baseURL: process.env.PENSTOCK_URL, apiKey: process.env.PENSTOCK_KEY, maxRetries: 0 });

const request = (name) => ({
  custom_id: name,
  params: { model: "demo/fast", max_tokens: 1024, messages: [{ role: "user", content: name }] },
});

let batch = await client.messages.batches.create({ requests: ["a", "b"].map(request) });
assert.equal(batch.processing_status, "in_progress");
while (batch.processing_status !== "ended") {
  await sleep(200);
  batch = await client.messages.batches.retrieve(batch.id);
}
assert.deepEqual(batch.request_counts, { processing: 0, succeeded: 2, errored: 0, canceled: 0, expired: 0 });
console.log("ok messages.batches");

const names = [];
for await (const result of await client.messages.batches.results(batch.id)) {
  assert.equal(result.result.type, "succeeded");
  names.push(result.custom_id);
}
assert.deepEqual(names.sort(), ["a", "b"]);
console.log("ok messages.batches.results");

const listed = [];
for await (const found of client.messages.batches.list({ limit: 1 })) listed.push(found.id);
assert.ok(listed.includes(batch.id), listed.join());
console.log("ok messages.batches.list");
