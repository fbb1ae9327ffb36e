"""Drives the gateway with OpenAI's own Python SDK, which is told nothing but the base URL and the key, and checks what the
caller gets and what the provider got. Starts neither: see upstream.mjs for the provider, whose journal it reads.

    PENSTOCK_URL       the gateway, http://127.0.0.1:8080; without it the upstream is driven directly, to test these tests
    PENSTOCK_KEY       the caller's key
    PENSTOCK_MODEL     as the caller names it; default openai/gpt-4o-mini
    UPSTREAM_URL       as upstream.mjs printed it; no other program may use it at the same time
    UPSTREAM_KEY       if it was started with one

One line per check, `ok …` or `FAILED …: why`; exits with 1 if any failed.
"""

import json
import os
import sys
import urllib.request

import openai

GATEWAY = os.environ.get("PENSTOCK_URL")
UPSTREAM = os.environ["UPSTREAM_URL"]
UPSTREAM_KEY = os.environ.get("UPSTREAM_KEY", "sk-anything")
BASE_URL = f"{GATEWAY}/v1" if GATEWAY else UPSTREAM
KEY = os.environ["PENSTOCK_KEY"] if GATEWAY else UPSTREAM_KEY
UPSTREAM_MODEL = os.environ.get("PENSTOCK_MODEL", "openai/gpt-4o-mini").split("/", 1)[1]
MODEL = os.environ.get("PENSTOCK_MODEL", "openai/gpt-4o-mini") if GATEWAY else UPSTREAM_MODEL

client = openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0, timeout=30)

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather now",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
RIVERS = "Rivers run — through 山 and ☃ — to the sea. 🌊"


# ---- Asking, and comparing with the provider's journal ----


def journal(offset):
    """What the provider got, from its `offset`th request on, and how many it got in all."""
    address = UPSTREAM.removesuffix("/v1") + f"/__aimock/journal?path=/v1/chat/completions&offset={offset}"
    request = urllib.request.Request(address, headers={"authorization": f"Bearer {UPSTREAM_KEY}"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer), int(answer.headers["x-total-count"])


def ask(content, **parameters):
    """Asks, and checks that each of the provider's requests (a retry makes several) is what the SDK was told to send."""
    messages = content if isinstance(content, list) else [{"role": "user", "content": content}]
    parameters = {"messages": messages, **parameters}
    _, before = journal(0)
    failed = None
    try:
        answer = client.chat.completions.create(model=MODEL, **parameters)
        answer = list(answer) if parameters.get("stream") else answer
    except openai.OpenAIError as error:
        failed = error

    expected = {"model": UPSTREAM_MODEL, **parameters, **parameters.get("extra_body", {})}
    expected.pop("extra_body", None)
    if GATEWAY and parameters.get("stream"):  # the gateway counts tokens on every stream
        expected["stream_options"] = {**expected.get("stream_options", {}), "include_usage": True}
    received, _ = journal(before)
    for entry in received:
        entry["body"].pop("_endpointType")
        same("the provider got", entry["body"], expected)
    if failed:
        raise failed
    assert received, "an answer, but the provider got no request"
    return answer


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


def joined(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def joined_tool_calls(chunks):
    """The calls of a stream, put together by their indexes: [(id, name, arguments)]."""
    calls = {}
    for chunk in chunks:
        for delta in chunk.choices[0].delta.tool_calls or []:
            call = calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
            call["id"] += delta.id or ""
            call["name"] += delta.function.name or ""
            call["arguments"] += delta.function.arguments or ""
    return [(call["id"], call["name"], json.loads(call["arguments"])) for _, call in sorted(calls.items())]


def tool_calls(answer):
    calls = answer.choices[0].message.tool_calls
    return [(call.id, call.function.name, json.loads(call.function.arguments)) for call in calls]


def finish(chunks):
    return [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]


def usage(of):
    return (of.prompt_tokens, of.completion_tokens, of.total_tokens)


# ---- The checks ----


def a_question_is_answered():
    answer = ask("What is a penstock?")
    same("the text", answer.choices[0].message.content, "The gate and pipe that carry a river to the turbines.")
    same("the finish reason", answer.choices[0].finish_reason, "stop")
    same("the usage", usage(answer.usage), (11, 12, 23))


def every_parameter_reaches_the_provider_also_unknown_ones():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
    answer = ask(
        [
            {"role": "system", "content": "Be brief. \u2028 \"Quoted\" \\ and 🌊"},
            {"role": "user", "content": [{"type": "text", "text": "What is a penstock?"}, image], "name": "ann"},
        ],
        temperature=0.25,
        max_completion_tokens=64,
        stop=["\n\n", "END"],
        seed=2**53 - 1,
        logit_bias={"50256": -100},
        metadata={"team": "search"},
        user="ann@example.org",
        extra_body={"not_yet_known": {"deep": [1, 2.5, None, {"deeper": True}]}},
    )
    same("the finish reason", answer.choices[0].finish_reason, "stop")


def a_stream_joins_to_the_whole_text_and_shows_no_usage_unasked():
    chunks = ask("Tell me of rivers.", stream=True)
    same("the text", joined(chunks), RIVERS)
    same("the finish reasons", finish(chunks), ["stop"])
    same("chunks without a choice", [chunk for chunk in chunks if not chunk.choices], [])
    same("usages", [chunk.usage for chunk in chunks if chunk.usage], [])


def a_stream_ends_with_its_usage_when_asked():
    chunks = ask("Tell me of rivers.", stream=True, stream_options={"include_usage": True})
    same("the text", joined(chunks), RIVERS)
    same("the last chunk's choices", chunks[-1].choices, [])
    same("the usage", usage(chunks[-1].usage), (9, 21, 30))
    same("usages", len([chunk for chunk in chunks if chunk.usage]), 1)


def conversation_with_a_tool(stream):
    content = "How is the weather in Oslo?"
    asked = ask(content, tools=TOOLS, tool_choice="auto", **stream)
    calls = joined_tool_calls(asked) if stream else tool_calls(asked)
    same("the calls", calls, [("call_oslo", "get_weather", {"city": "Oslo"})])
    same("the finish reason", finish(asked) if stream else [asked.choices[0].finish_reason], ["tool_calls"])
    [(call, name, arguments)] = calls
    function = {"name": name, "arguments": json.dumps(arguments)}
    answer = ask(
        [
            {"role": "user", "content": content},
            {"role": "assistant", "content": None, "tool_calls": [{"id": call, "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": call, "content": '{"snow": true}'},
        ],
        tools=TOOLS,
        **stream,
    )
    same("the text", joined(answer) if stream else answer.choices[0].message.content, "It snows in Oslo.")


def a_tool_is_called_and_its_result_answered():
    conversation_with_a_tool({})


def a_tool_is_called_and_its_result_answered_in_streams():
    conversation_with_a_tool({"stream": True})


BOTH = [("call_1", "get_weather", {"city": "Oslo"}), ("call_2", "get_weather", {"city": "Rome"})]


def parallel_tool_calls_keep_their_ids_and_order():
    same("the calls", tool_calls(ask("Compare Oslo and Rome.", tools=TOOLS, parallel_tool_calls=True)), BOTH)


def parallel_tool_calls_in_a_stream_keep_their_ids_and_indexes():
    chunks = ask("Compare Oslo and Rome.", tools=TOOLS, parallel_tool_calls=True, stream=True)
    same("the calls", joined_tool_calls(chunks), BOTH)


def what_the_provider_refuses_is_a_BadRequestError_with_its_words():
    for stream in ({}, {"stream": True}):
        error = raises(openai.BadRequestError, lambda: ask("Be refused.", **stream))
        same("the type", error.type, "invalid_request_error")
        same("param and code", (error.param, error.code), ("messages", "unsupported_value"))
        assert "Unsupported value: 'Be refused.'" in error.message, error.message


def what_the_provider_limits_is_a_RateLimitError_with_retry_after():
    for stream in ({}, {"stream": True}):
        error = raises(openai.RateLimitError, lambda: ask("Be limited.", **stream))
        wait = error.response.headers.get("retry-after", "")
        assert wait.isdigit() and int(wait) >= 1, f"retry-after: {wait!r}"


def models_are_listed():
    names = [model.id for model in client.models.list()]
    assert names, "none"
    if GATEWAY:
        assert MODEL in names, f"{MODEL} is not among {len(names)}: {names[:5]} …"


def a_wrong_key_is_an_AuthenticationError():
    call = client.with_options(api_key="psk_wrongwrongwrongwrong").chat.completions.create
    error = raises(openai.AuthenticationError, lambda: call(model=MODEL, messages=[{"role": "user", "content": "Hello"}]))
    assert error.message and error.code, f"message {error.message!r}, code {error.code!r}"


def an_unknown_model_is_a_NotFoundError():
    call = client.chat.completions.create
    error = raises(openai.NotFoundError, lambda: call(model="no-such-model", messages=[{"role": "user", "content": "Hello"}]))
    assert "no-such-model" in error.message, error.message
    same("param and code", (error.param, error.code), ("model", "model_not_found"))


CHECKS = [
    a_question_is_answered,
    every_parameter_reaches_the_provider_also_unknown_ones,
    a_stream_joins_to_the_whole_text_and_shows_no_usage_unasked,
    a_stream_ends_with_its_usage_when_asked,
    a_tool_is_called_and_its_result_answered,
    a_tool_is_called_and_its_result_answered_in_streams,
    parallel_tool_calls_keep_their_ids_and_order,
    parallel_tool_calls_in_a_stream_keep_their_ids_and_indexes,
    what_the_provider_refuses_is_a_BadRequestError_with_its_words,
    what_the_provider_limits_is_a_RateLimitError_with_retry_after,
    models_are_listed,
    *([a_wrong_key_is_an_AuthenticationError, an_unknown_model_is_a_NotFoundError] if GATEWAY else []),
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
