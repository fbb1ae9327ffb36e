// OpenAI's documented example of a batch, with the official SDK, against the gateway: https://platform.openai.com/docs/guides/batch.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const require = createRequire(`${process.env.PENSTOCK_TEST_NODE_MODULES}/`);
const { OpenAI, toFile } = require("openai");

const client = new OpenAI({ baseURL: process.env.PENSTOCK_URL + "/v1", apiKey: process.env.PENSTOCK_KEY, maxRetries: 0 });

const line = (name) =>
  JSON.stringify({
    custom_id: name,
    method: "POST",
    url: "/v1/chat/completions",
    body: { model: "demo/fast", messages: [{ role: "user", content: name }], max_tokens: 100 },
  });

const file = await client.files.create({
  file: await toFile(Buffer.from(["a", "b", "c"].map(line).join("\n")), "batch.jsonl"),
  purpose: "batch",
});
assert.equal(file.purpose, "batch");
console.log("ok files.create");

let batch = await client.batches.create({
  input_file_id: file.id,
  endpoint: "/v1/chat/completions",
  completion_window: "24h",
});
while (["validating", "in_progress", "finalizing"].includes(batch.status)) {
  await sleep(200);
  batch = await client.batches.retrieve(batch.id);
}
assert.equal(batch.status, "completed");
assert.deepEqual(batch.request_counts, { total: 3, completed: 3, failed: 0 });
console.log("ok batches");

const text = await (await client.files.content(batch.output_file_id)).text();
const answers = text.trimEnd().split("\n").map((answer) => JSON.parse(answer));
assert.deepEqual(answers.map((answer) => answer.custom_id), ["a", "b", "c"]);
console.log("ok files.content");
