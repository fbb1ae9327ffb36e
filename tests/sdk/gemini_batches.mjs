// Google's documented example of a batch whose requests come as a file, with the official SDK, against the gateway:
// https://ai.google.dev/gemini-api/docs/batch-api.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const require = createRequire(`${process.env.PENSTOCK_TEST_NODE_MODULES}/`);
const { GoogleGenAI } = require("@google/genai");

const ai = new GoogleGenAI({ apiKey: process.env.PENSTOCK_KEY, httpOptions: { baseUrl: process.env.PENSTOCK_URL } });
const folder = mkdtempSync(join(tmpdir(), "gemini-batches-"));
try {
  const fileName = join(folder, "my-batch-requests.jsonl");
  const line = (key) => JSON.stringify({ key, request: { contents: [{ parts: [{ text: key }] }] } });
  writeFileSync(fileName, ["request-1", "request-2"].map(line).join("\n"));
  const uploaded = await ai.files.upload({
    file: fileName,
    config: { displayName: "my-batch-requests", mimeType: "jsonl" },
  });
  assert.match(uploaded.name, /^files\//);
  const file = await ai.files.get({ name: uploaded.name });
  assert.equal(file.displayName, "my-batch-requests");
  console.log("ok files.upload");

  let job = await ai.batches.create({ model: "demo/fast", src: uploaded.name, config: { displayName: "job" } });
  while (["JOB_STATE_PENDING", "JOB_STATE_RUNNING"].includes(job.state)) {
    await sleep(200);
    job = await ai.batches.get({ name: job.name });
  }
  assert.equal(job.state, "JOB_STATE_SUCCEEDED");
  console.log("ok batches.create with a file");

  const downloadPath = join(folder, "answers.jsonl");
  await ai.files.download({ file: job.dest.fileName, downloadPath });
  const answers = readFileSync(downloadPath, "utf8").trim().split("\n").map((text) => JSON.parse(text));
  assert.deepEqual(answers.map((answer) => answer.key).sort(), ["request-1", "request-2"]);
  assert.ok(answers.every((answer) => answer.response.candidates[0].content.parts[0].text));
  console.log("ok files.download");
} finally {
  rmSync(folder, { recursive: true });
}
