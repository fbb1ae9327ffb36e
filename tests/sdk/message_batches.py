"""Anthropic's documented example of message batches, with the official SDK, against the gateway:
https://platform.claude.com/docs/en/build-with-claude/batch-processing."""

import os
import time

import anthropic
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from anthropic.types.messages.batch_create_params import Request

client = anthropic.Anthropic(base_url=os.environ["PENSTOCK_URL"], api_key=os.environ["PENSTOCK_KEY"], max_retries=0)


def request(name, model="demo/fast"):
    messages = [{"role": "user", "content": name}]
    return Request(
        custom_id=name, params=MessageCreateParamsNonStreaming(model=model, max_tokens=1024, messages=messages)
    )


message_batch = client.messages.batches.create(
    requests=[request("my-first-request"), request("my-second-request"), request("wrong", "no-such-model")]
)
assert message_batch.type == "message_batch" and message_batch.processing_status == "in_progress", message_batch
assert message_batch.request_counts.processing == 3 and message_batch.results_url is None, message_batch
print("ok messages.batches.create")

while True:
    message_batch = client.messages.batches.retrieve(message_batch.id)
    if message_batch.processing_status == "ended":
        break
    time.sleep(0.2)
counts = message_batch.request_counts
assert (counts.processing, counts.succeeded, counts.errored, counts.canceled, counts.expired) == (0, 2, 1, 0, 0), counts
assert message_batch.created_at <= message_batch.ended_at <= message_batch.expires_at, message_batch
print("ok messages.batches.retrieve")

results = {result.custom_id: result.result for result in client.messages.batches.results(message_batch.id)}
for name in ("my-first-request", "my-second-request"):
    assert results[name].type == "succeeded" and results[name].message.content[0].text, results
    assert results[name].message.model == "demo/fast" and results[name].message.usage.output_tokens > 0, results
assert results["wrong"].type == "errored" and "no-such-model" in results["wrong"].error.error.message, results
print("ok messages.batches.results")

listed = [batch.id for batch in client.messages.batches.list(limit=20)]
assert listed == [message_batch.id], listed
print("ok messages.batches.list")

try:
    client.messages.batches.cancel(message_batch.id)
    raise AssertionError("a batch that has ended cannot be cancelled")
except anthropic.BadRequestError as error:
    assert error.body["error"]["type"] == "invalid_request_error", error.body
print("ok messages.batches.cancel")

deleted = client.messages.batches.delete(message_batch.id)
assert deleted.type == "message_batch_deleted" and deleted.id == message_batch.id, deleted
try:
    client.messages.batches.retrieve(message_batch.id)
    raise AssertionError("it was deleted")
except anthropic.NotFoundError:
    pass
print("ok messages.batches.delete")
