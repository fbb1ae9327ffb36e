"""OpenAI's documented example of a batch, with the official SDK, against the gateway: https://platform.openai.com/docs/guides/batch."""

import io
import json
import os
import time

import openai

client = openai.OpenAI(base_url=os.environ["PENSTOCK_URL"] + "/v1", api_key=os.environ["PENSTOCK_KEY"], max_retries=0)


def line(name, model):
    body = {"model": model, "messages": [{"role": "user", "content": name}], "max_tokens": 100}
    return json.dumps({"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body})


def over(batch):
    while batch.status in ("validating", "in_progress", "finalizing", "cancelling"):
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    return batch


lines = [line(f"request-{number}", "demo/fast") for number in range(20)] + [line("wrong", "no-such-model")]
file = client.files.create(file=("batch.jsonl", io.BytesIO("\n".join(lines).encode())), purpose="batch")
assert file.object == "file" and file.purpose == "batch" and file.bytes > 0, file
print("ok files.create")

batch = client.batches.create(
    input_file_id=file.id,
    endpoint="/v1/chat/completions",
    completion_window="24h",
    metadata={"description": "nightly eval job"},
)
assert batch.object == "batch" and batch.status == "validating" and batch.input_file_id == file.id, batch
print("ok batches.create")

batch = over(batch)
assert batch.status == "completed", batch
assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (21, 20, 1), batch
assert batch.metadata == {"description": "nightly eval job"} and batch.completed_at >= batch.created_at, batch
assert batch.errors.data[0].line == 21 and batch.errors.data[0].code == "model_not_found", batch
assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens > 0, batch
print("ok batches.retrieve")

answers = [json.loads(text) for text in client.files.content(batch.output_file_id).text.splitlines()]
assert [answer["custom_id"] for answer in answers] == [f"request-{number}" for number in range(20)], answers
assert all(answer["response"]["status_code"] == 200 and answer["error"] is None for answer in answers), answers
assert all(answer["response"]["body"]["choices"][0]["message"]["content"] for answer in answers), answers
errors = [json.loads(text) for text in client.files.content(batch.error_file_id).text.splitlines()]
assert [error["custom_id"] for error in errors] == ["wrong"] and errors[0]["error"]["code"] == "model_not_found", errors
print("ok files.content")

assert batch.id in [listed.id for listed in client.batches.list(limit=10)]
print("ok batches.list")

try:
    client.batches.cancel(batch.id)
    raise AssertionError("a batch that is over cannot be cancelled")
except openai.BadRequestError as error:
    assert "completed" in error.message, error
print("ok batches.cancel")
