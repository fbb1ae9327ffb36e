"""Google's documented example of a batch, with the official SDK, against the gateway:
https://ai.google.dev/gemini-api/docs/batch-api."""

import io
import json
import os
import tempfile
import time

from google import genai
from google.genai import types

URL, KEY = os.environ["PENSTOCK_URL"], os.environ["PENSTOCK_KEY"]
client = genai.Client(api_key=KEY, http_options={"base_url": URL})


def over(name):
    done = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"}
    batch_job = client.batches.get(name=name)
    while batch_job.state.name not in done:
        time.sleep(0.2)
        batch_job = client.batches.get(name=name)
    return batch_job


inline_requests = [
    {"contents": [{"parts": [{"text": "Tell me a one-sentence joke."}], "role": "user"}]},
    {"contents": [{"parts": [{"text": "Why is the sky blue?"}], "role": "user"}]},
]
inline_batch_job = client.batches.create(
    model="demo/fast", src=inline_requests, config={"display_name": "inlined-requests-job-1"}
)
assert inline_batch_job.name.startswith("batches/"), inline_batch_job
assert inline_batch_job.display_name == "inlined-requests-job-1", inline_batch_job
print("ok batches.create")

batch_job = over(inline_batch_job.name)
assert batch_job.state.name == "JOB_STATE_SUCCEEDED" and batch_job.model == "models/demo/fast", batch_job
assert batch_job.create_time <= batch_job.end_time, batch_job
responses = batch_job.dest.inlined_responses
assert len(responses) == 2 and all(inlined.response.text for inlined in responses), responses
print("ok batches.get")

assert [listed.name for listed in client.batches.list(config={"page_size": 1})] == [batch_job.name]
print("ok batches.list")

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "my-batch-requests.jsonl")
    with open(path, "w") as f:
        requests = [
            {"key": "request-1", "request": {"contents": [{"parts": [{"text": "Describe the process of photosynthesis."}]}]}},
            {"key": "request-2", "request": {"contents": [{"parts": [{"text": "What are the main ingredients in a Margherita pizza?"}]}]}},
        ]
        for req in requests:
            f.write(json.dumps(req) + "\n")
    uploaded_file = client.files.upload(
        file=path, config=types.UploadFileConfig(display_name="my-batch-requests", mime_type="jsonl")
    )
assert uploaded_file.name.startswith("files/") and uploaded_file.display_name == "my-batch-requests", uploaded_file
assert uploaded_file.uri.startswith(URL) and uploaded_file.expiration_time > uploaded_file.create_time, uploaded_file
assert client.files.get(name=uploaded_file.name).size_bytes == uploaded_file.size_bytes > 0
assert uploaded_file.name in [file.name for file in client.files.list(config={"page_size": 1})]
print("ok files.upload")

answer = client.models.generate_content(
    model="demo/fast",
    contents=["What is this?", client.files.upload(file=io.BytesIO(b"A text."), config={"mime_type": "text/plain"})],
)
assert answer.text, answer
print("ok files in contents")

file_job = over(client.batches.create(model="demo/fast", src=uploaded_file.name, config={"display_name": "file-upload-job-1"}).name)
assert file_job.state.name == "JOB_STATE_SUCCEEDED" and file_job.dest.file_name.startswith("files/"), file_job
content = client.files.download(file=file_job.dest.file_name).decode()
answers = {answer["key"]: answer["response"] for answer in map(json.loads, content.splitlines())}
assert set(answers) == {"request-1", "request-2"}, answers
assert all(answer["candidates"][0]["content"]["parts"][0]["text"] for answer in answers.values()), answers
print("ok batches.create with a file")

try:
    client.batches.cancel(name=batch_job.name)
    raise AssertionError("a batch that is over cannot be cancelled")
except genai.errors.ClientError as error:
    assert error.code == 400, error
print("ok batches.cancel")

client.files.delete(name=uploaded_file.name)
try:
    client.files.get(name=uploaded_file.name)
    raise AssertionError("it was deleted")
except genai.errors.ClientError as error:
    assert error.code == 404, error
print("ok files.delete")

client.batches.delete(name=batch_job.name)
try:
    client.batches.get(name=batch_job.name)
    raise AssertionError("it was deleted")
except genai.errors.ClientError as error:
    assert error.code == 404, error
print("ok batches.delete")
