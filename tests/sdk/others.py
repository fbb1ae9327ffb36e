"""Drives OpenAI's other endpoints with OpenAI's own Python SDK, which is told nothing but the base URL and the key. The
gateway runs with `--demo`: the simulator knows all of these endpoints.

    PENSTOCK_URL       the gateway, http://127.0.0.1:8080
    PENSTOCK_KEY       the caller's key

One line per check, `ok …` or `FAILED …: why`; exits with 1 if any failed.
"""

import os
import sys

import openai

client = openai.OpenAI(base_url=f"{os.environ['PENSTOCK_URL']}/v1", api_key=os.environ["PENSTOCK_KEY"], max_retries=0, timeout=30)


def same(what, found, expected):
    assert found == expected, f"{what}: {found!r}, not {expected!r}"


def raises(kind, call):
    """The SDK's exception of exactly this class."""
    try:
        call()
    except openai.OpenAIError as error:
        same("the exception", type(error).__name__, kind.__name__)
        return error
    raise AssertionError(f"no {kind.__name__}")


def embeddings_come_as_base64_which_the_sdk_asks_for_and_as_floats():
    packed = client.embeddings.create(model="demo/embed", input=["a river", "a gate"], dimensions=8)
    plain = client.embeddings.create(model="demo/embed", input=["a river", "a gate"], dimensions=8, encoding_format="float")
    same("the places", [vector.index for vector in packed.data], [0, 1])
    for a, b in zip(packed.data, plain.data):
        same("the length", len(a.embedding), 8)
        assert all(abs(x - y) < 1e-6 for x, y in zip(a.embedding, b.embedding)), (a.embedding, b.embedding)
    same("the usage", (packed.usage.prompt_tokens, packed.usage.total_tokens), (4, 4))
    tokens = client.embeddings.create(model="demo/embed", input=[[1, 2], [3]])
    same("vectors of tokens", len(tokens.data), 2)


def a_list_above_the_limit_is_joined_in_order():
    texts = [f"text {number}" for number in range(2100)]
    joined = client.embeddings.create(model="demo/embed", input=texts, dimensions=2)
    same("the places", [vector.index for vector in joined.data], list(range(2100)))
    last = client.embeddings.create(model="demo/embed", input=texts[-1], dimensions=2)
    same("the last", joined.data[-1].embedding, last.data[0].embedding)


def a_text_is_completed_whole_and_streamed():
    whole = client.completions.create(model="demo/echo", prompt="Once upon a time", max_tokens=8)
    same("the usage", (whole.usage.prompt_tokens, whole.usage.completion_tokens), (4, 8))
    chunks = list(client.completions.create(model="demo/echo", prompt="Once upon a time", max_tokens=8, stream=True))
    same("the text", "".join(choice.text for chunk in chunks for choice in chunk.choices), whole.choices[0].text)
    same("usages", [chunk.usage for chunk in chunks if chunk.usage], [])
    options = {"include_usage": True}
    *_, last = client.completions.create(model="demo/echo", prompt="Hi", stream=True, stream_options=options)
    same("the last chunk's choices", last.choices, [])
    assert last.usage.prompt_tokens == 1, last.usage


def texts_are_judged():
    judged = client.moderations.create(model="demo/moderate", input=["a river", "I hate it"])
    same("flagged", [result.flagged for result in judged.results], [False, True])


def images_are_made():
    made = client.images.generate(model="demo/paint", prompt="a river", n=2)
    same("images", [bool(image.b64_json) for image in made.data], [True, True])


def speech_is_streamed_and_whole():
    with client.audio.speech.with_streaming_response.create(model="demo/voice", voice="alloy", input="to the sea") as answer:
        same("the content type", answer.headers["content-type"], "audio/wav")
        pieces = list(answer.iter_bytes(4096))
    whole = client.audio.speech.create(model="demo/voice", voice="alloy", input="to the sea").read()
    assert whole.startswith(b"RIFF") and b"".join(pieces) == whole, len(whole)


def speech_is_transcribed_and_translated():
    sound = ("a.wav", b"RIFF" + bytes(9000), "audio/wav")
    heard = client.audio.transcriptions.create(model="demo/listen", file=sound)
    assert "demo/listen" in heard.text, heard
    text = client.audio.transcriptions.create(model="demo/listen", file=sound, response_format="text")
    same("the text", text.strip(), heard.text)
    events = list(client.audio.transcriptions.create(model="demo/listen", file=sound, stream=True))
    same("the stream", "".join(event.delta for event in events if event.type == "transcript.text.delta"), events[-1].text)
    assert "demo/listen" in client.audio.translations.create(model="demo/listen", file=sound).text


def azures_client_asks_by_deployment():
    url, key = os.environ["PENSTOCK_URL"], os.environ["PENSTOCK_KEY"]
    turns = [{"role": "user", "content": "Hello!"}]
    azure = openai.AzureOpenAI(azure_endpoint=url, api_key=key, api_version="2024-10-21", max_retries=0)
    whole = azure.chat.completions.create(model="demo/fast", messages=turns)
    assert whole.choices[0].message.content, whole
    same("the model", whole.model, "demo/fast")
    chunks = list(azure.chat.completions.create(model="demo/fast", messages=turns, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), chunks
    same("vectors", len(azure.embeddings.create(model="demo/embed", input=["a", "b"]).data), 2)
    sound = ("a.wav", b"RIFF" + bytes(9000), "audio/wav")
    assert "demo/listen" in azure.audio.transcriptions.create(model="demo/listen", file=sound).text
    assert azure.responses.create(model="demo/fast", input="Hello!", store=False).output_text
    assert any(model.id == "demo/fast" for model in azure.models.list())
    deployed = openai.AzureOpenAI(azure_endpoint=url, azure_deployment="demo/fast", api_key=key, api_version="2024-10-21")
    same("the model", deployed.chat.completions.create(model="ignored", messages=turns).model, "demo/fast")
    newer = openai.OpenAI(base_url=f"{url}/openai/v1/", api_key=key, max_retries=0)
    same("the model", newer.chat.completions.create(model="demo/fast", messages=turns).model, "demo/fast")


def completions_are_stored_and_found_again():
    turns = [{"role": "user", "content": "Hello!"}]
    whole = client.chat.completions.create(model="demo/fast", messages=turns, store=True, metadata={"topic": "whole"})
    *_, last = client.chat.completions.create(model="demo/fast", messages=turns, store=True, stream=True, metadata={"topic": "stream"})
    found = client.chat.completions.retrieve(whole.id)
    same("the choices", (found.choices, found.metadata), (whole.choices, {"topic": "whole"}))
    same("the streamed", client.chat.completions.retrieve(last.id).choices[0].message.content, whole.choices[0].message.content)
    page = client.chat.completions.list(limit=1)
    same("all pages", [one.id for one in page], [whole.id, last.id])
    same("one topic", [one.id for one in client.chat.completions.list(metadata={"topic": "stream"})], [last.id])
    asked = client.chat.completions.messages.list(whole.id)
    same("the messages", [(one.id, one.role, one.content) for one in asked], [(f"{whole.id}-0", "user", "Hello!")])
    same("the metadata", client.chat.completions.update(whole.id, metadata={"a": "b"}).metadata, {"a": "b"})
    assert client.chat.completions.delete(whole.id).deleted
    raises(openai.NotFoundError, lambda: client.chat.completions.retrieve(whole.id))


def mistakes_are_exceptions_of_the_right_class():
    error = raises(openai.BadRequestError, lambda: client.embeddings.create(model="demo/embed", input=[]))
    same("the field", (error.param, error.code), ("input", "invalid_value"))
    error = raises(openai.BadRequestError, lambda: client.chat.completions.create(model="demo/embed", messages=[{"role": "user", "content": "Hi"}]))
    same("the field", error.param, "model")
    raises(openai.NotFoundError, lambda: client.images.generate(model="no-such-model", prompt="x"))
    raises(openai.RateLimitError, lambda: client.embeddings.create(model="demo/embed~s429", input="x"))
    raises(openai.InternalServerError, lambda: client.audio.speech.create(model="demo/voice~s500", voice="v", input="x"))


CHECKS = [
    embeddings_come_as_base64_which_the_sdk_asks_for_and_as_floats,
    a_list_above_the_limit_is_joined_in_order,
    a_text_is_completed_whole_and_streamed,
    texts_are_judged,
    images_are_made,
    speech_is_streamed_and_whole,
    speech_is_transcribed_and_translated,
    azures_client_asks_by_deployment,
    completions_are_stored_and_found_again,
    mistakes_are_exceptions_of_the_right_class,
]

failed = 0
for check in CHECKS:
    sentence = check.__name__.replace("_", " ")
    try:
        check()
        print(f"ok {sentence}", flush=True)
    except Exception as error:  # any failure is a line of its own
        failed = 1
        print(f"FAILED {sentence}: {type(error).__name__}: {error}".replace("\n", " "), flush=True)
sys.exit(failed)
