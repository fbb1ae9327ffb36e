// Keeps files with OpenAI's and Anthropic's own Node SDKs, which are told nothing but the base URL and the key.
//
//     PENSTOCK_URL       the gateway, http://127.0.0.1:8080
//     PENSTOCK_KEY       the caller's key
//     PENSTOCK_TEST_NODE_MODULES    where the SDKs are (deploy/setup test)
//
// One line per check, `ok …` or `FAILED …: why`; exits with 1 if any failed.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.PENSTOCK_TEST_NODE_MODULES}/`);
const { OpenAI, toFile } = require("openai");
const { Anthropic } = require("@anthropic-ai/sdk");

const { PENSTOCK_URL: url, PENSTOCK_KEY: apiKey } = process.env;
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, timeout: 30_000 });
const claude = new Anthropic({ baseURL: url, apiKey, maxRetries: 0, timeout: 30_000 });

const bytes = async (response) => Buffer.from(await response.arrayBuffer());

const checks = {
  "a file is kept, read, listed and removed": async () => {
    const lines = Buffer.from('{"custom_id": "1"}\n'.repeat(1000));
    const expires_after = { anchor: "created_at", seconds: 3600 };
    const file = await client.files.create({ file: await toFile(lines, "a.jsonl"), purpose: "batch", expires_after });
    assert.deepEqual([file.object, file.bytes, file.status], ["file", lines.length, "processed"]);
    assert.equal(file.expires_at - file.created_at, 3600);
    assert.deepEqual(await bytes(await client.files.content(file.id)), lines);
    const listed = [];
    for await (const one of client.files.list({ purpose: "batch", limit: 1 })) listed.push(one.id);
    assert.deepEqual(listed, [file.id]);
    assert.equal((await client.files.delete(file.id)).deleted, true);
    await assert.rejects(client.files.retrieve(file.id), (error) => error.status === 404);
  },

  "a file arrives in parts": async () => {
    const request = { bytes: 6, filename: "a.txt", mime_type: "text/plain", purpose: "user_data" };
    const upload = await client.uploads.create(request);
    const part = async (text) => (await client.uploads.parts.create(upload.id, { data: await toFile(Buffer.from(text), "b") })).id;
    const [second, first] = [await part("def"), await part("abc")];
    const done = await client.uploads.complete(upload.id, { part_ids: [first, second] });
    assert.equal((await bytes(await client.files.content(done.file.id))).toString(), "abcdef");
  },

  "Anthropic's files work too": async () => {
    const file = await claude.beta.files.upload({ file: await toFile(Buffer.from("hello"), "a.txt", { type: "text/plain" }) });
    assert.deepEqual([file.type, file.size_bytes, file.mime_type], ["file", 5, "text/plain"]);
    assert.equal((await bytes(await claude.beta.files.download(file.id))).toString(), "hello");
    assert.equal((await claude.beta.files.delete(file.id)).type, "file_deleted");
  },
};

let failed = 0;
for (const [sentence, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok ${sentence}`);
  } catch (error) {
    failed = 1;
    console.log(`FAILED ${sentence}: ${String(error?.stack ?? error).replaceAll("\n", " ")}`);
  }
}
process.exit(failed);
