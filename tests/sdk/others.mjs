// Drives OpenAI's other endpoints with OpenAI's own Node SDK, which is told nothing but the base URL and the key. The
// gateway runs with `--demo`: the simulator knows all of these endpoints.
//
//     PENSTOCK_URL       the gateway, http://127.0.0.1:8080
//     PENSTOCK_KEY       the caller's key
//     PENSTOCK_TEST_NODE_MODULES    where the SDK is (deploy/setup test)
//
// One line per check, `ok …` or `FAILED …: why`; exits with 1 if any failed.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.PENSTOCK_TEST_NODE_MODULES}/`);
const { OpenAI, toFile } = require("openai");

const client = new OpenAI({
  baseURL: `${process.env.PENSTOCK_URL}/v1`,
  apiKey: process.env.PENSTOCK_KEY,
  maxRetries: 0,
  timeout: 30_000,
});

/** The SDK's exception of exactly this class. */
async function raises(kind, call) {
  const error = await call().then(() => null, (error) => error);
  assert.equal(error?.constructor.name, kind.name, `${error?.message}`);
  return error;
}

const sound = () => toFile(Buffer.concat([Buffer.from("RIFF"), Buffer.alloc(9000)]), "a.wav", { type: "audio/wav" });

const checks = {
  "embeddings come as base64, which the SDK asks for, and as floats": async () => {
    const request = { model: "demo/embed", input: ["a river", "a gate"], dimensions: 8 };
    const packed = await client.embeddings.create(request);
    const plain = await client.embeddings.create({ ...request, encoding_format: "float" });
    packed.data.forEach(({ embedding }, at) => {
      assert.equal(embedding.length, 8);
      embedding.forEach((x, place) => assert.ok(Math.abs(x - plain.data[at].embedding[place]) < 1e-6));
    });
    assert.equal(packed.usage.prompt_tokens, 4);
  },

  "a list above the limit is joined in order": async () => {
    const input = Array.from({ length: 2100 }, (_, number) => `text ${number}`);
    const joined = await client.embeddings.create({ model: "demo/embed", input, dimensions: 2 });
    assert.deepEqual(joined.data.map((vector) => vector.index), input.map((_, at) => at));
  },

  "a text is completed, whole and streamed": async () => {
    const request = { model: "demo/echo", prompt: "Once upon a time", max_tokens: 8 };
    const whole = await client.completions.create(request);
    const chunks = await Array.fromAsync(await client.completions.create({ ...request, stream: true }));
    assert.equal(chunks.map((chunk) => chunk.choices[0]?.text ?? "").join(""), whole.choices[0].text);
    assert.equal(chunks.filter((chunk) => chunk.usage).length, 0);
  },

  "texts are judged": async () => {
    const judged = await client.moderations.create({ model: "demo/moderate", input: ["a river", "I hate it"] });
    assert.deepEqual(judged.results.map((result) => result.flagged), [false, true]);
  },

  "images are made": async () => {
    const made = await client.images.generate({ model: "demo/paint", prompt: "a river", n: 2 });
    assert.deepEqual(made.data.map((image) => Boolean(image.b64_json)), [true, true]);
  },

  "speech comes": async () => {
    const answer = await client.audio.speech.create({ model: "demo/voice", voice: "alloy", input: "to the sea" });
    assert.equal(answer.headers.get("content-type"), "audio/wav");
    assert.equal(Buffer.from(await answer.arrayBuffer()).subarray(0, 4).toString(), "RIFF");
  },

  "speech is transcribed and translated": async () => {
    const heard = await client.audio.transcriptions.create({ model: "demo/listen", file: await sound() });
    assert.match(heard.text, /demo\/listen/);
    const stream = await client.audio.transcriptions.create({ model: "demo/listen", file: await sound(), stream: true });
    const events = await Array.fromAsync(stream);
    assert.equal(events.map((event) => event.delta ?? "").join(""), events.at(-1).text);
    const translated = await client.audio.translations.create({ model: "demo/listen", file: await sound() });
    assert.match(translated.text, /demo\/listen/);
  },

  "mistakes are exceptions of the right class": async () => {
    const empty = await raises(OpenAI.BadRequestError, () => client.embeddings.create({ model: "demo/embed", input: [] }));
    assert.deepEqual([empty.param, empty.code], ["input", "invalid_value"]);
    await raises(OpenAI.NotFoundError, () => client.images.generate({ model: "no-such-model", prompt: "x" }));
    await raises(OpenAI.RateLimitError, () => client.embeddings.create({ model: "demo/embed~s429", input: "x" }));
    const voice = { model: "demo/voice~s500", voice: "v", input: "x" };
    await raises(OpenAI.InternalServerError, () => client.audio.speech.create(voice));
  },
};

for (const [sentence, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok ${sentence}`);
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAILED ${sentence}: ${`${error}`.replaceAll(/\s+/g, " ")}`);
  }
}
