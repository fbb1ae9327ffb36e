"""Drives every provider's dialect through the gateway with the official Python SDKs of OpenAI, Anthropic, Google and
Mistral and with LangChain, which are told nothing but the base URL and the key: see providers.mjs for the answers.

    PENSTOCK_URL       the gateway, http://127.0.0.1:8080
    PENSTOCK_KEY       the caller's key
    MATRIX             the providers' names and models: {"openai": "gpt-5-mini", ...}
    ONLY               if set, the cells whose "client provider feature" holds this text

One line per cell, {"client", "provider", "feature", "cell"}: "ok", a word why not, or "FAILED: why".
"""

import base64
import json
import os
import traceback
from concurrent.futures import ThreadPoolExecutor

import anthropic
import mistralai.client as mistralai
import openai
import mistralai.client.errors as mistral_errors
from google import genai
from google.genai import errors as google_errors
from google.genai import types as google
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI

URL = os.environ["PENSTOCK_URL"]
KEY = os.environ["PENSTOCK_KEY"]
MODELS = json.loads(os.environ["MATRIX"])
ONLY = os.environ.get("ONLY", "")

PENSTOCK = "The gate and pipe that carry a river to the turbines."
RIVERS = "Rivers run — through 山 and ☃ — to the sea. 🌊"
OSLO = "How is the weather in Oslo?"
BOTH = [("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Rome"})]
BIG = 2**53 + 1
# The wish that the provider's front checks: it sees whether the number came whole.
SNOW = f'{{"snow": true, "station": "exactly {BIG}"}}'
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
CITY = {"type": "object", "properties": {"city": {"type": "string"}, "station": {"type": "integer"}}, "required": ["city"]}
PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "population": {"type": "integer"}},
    "required": ["city", "population"],
    "additionalProperties": False,
}
IS = {"city": "Oslo", "population": 709037}
THOUGHT = "Let me count the gates."
PICTURE = {"url": f"data:image/png;base64,{PNG}"}


class Cannot(Exception):
    """Not a fault: the client has no such thing."""


def same(what, found, expected):
    assert found == expected, f"{what}: {found!r}, not {expected!r}"


def raised(call):
    try:
        got = call()
    except Exception as error:
        return error
    raise AssertionError(f"nothing was raised, but {got!r:.300}")


def seen_by_class(kinds, call, unwrapped=lambda error: error):
    """Whether each status of the provider comes as the SDK's own exception for it, with the provider's words."""
    for status, kind in kinds.items():
        error = unwrapped(raised(lambda: call(status)))
        same(f"the exception of {status}", type(error).__name__, kind.__name__)
        if status in (400, 429):
            assert f"The words of {status}" in str(error), f"other words of {status}: {error}"


class OpenAI:
    name = "OpenAI Python, chat"
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": CITY}}]
    format = {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": PLACE}}

    def __init__(self):
        self.client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0, timeout=30)

    def ask(self, model, text, **more):
        messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
        return self.client.chat.completions.create(model=model, messages=messages, **more)

    def text(self, model):
        answer = self.ask(model, "What is a penstock?")
        same("the text", answer.choices[0].message.content, PENSTOCK)
        same("the reason", answer.choices[0].finish_reason, "stop")
        same("the usage", (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens), (11, 12, 23))
        assert answer.id and answer.model and answer.created > 1_700_000_000, f"no id, model or time: {answer}"

    def stream(self, model):
        chunks = list(self.ask(model, "Tell me of rivers.", stream=True, stream_options={"include_usage": True}))
        same("the text", "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices), RIVERS)
        same("the reasons", [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason], ["stop"])
        same("the usages", [(c.usage.prompt_tokens, c.usage.completion_tokens) for c in chunks if c.usage], [(9, 21)])
        assert all(c.id and c.model and c.created > 1_700_000_000 for c in chunks), f"no id, model or time: {chunks[0]}"
        same("ids", len({chunk.id for chunk in chunks}), 1)

    def tool(self, model):
        asked = self.ask(model, OSLO, tools=self.tools)
        [call] = asked.choices[0].message.tool_calls
        same("the reason", asked.choices[0].finish_reason, "tool_calls")
        same("the call", (call.function.name, json.loads(call.function.arguments)), ("get_weather", {"city": "Oslo", "station": BIG}))
        turns = [
            {"role": "user", "content": OSLO},
            asked.choices[0].message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": SNOW},
        ]
        same("the text", self.ask(model, turns, tools=self.tools).choices[0].message.content, "It snows in Oslo.")

    def parallel(self, model):
        calls = {}
        for chunk in self.ask(model, "Compare Oslo and Rome.", tools=self.tools, stream=True):
            for delta in [d for choice in chunk.choices for d in choice.delta.tool_calls or []]:
                call = calls.setdefault(delta.index, ["", "", ""])
                for at, piece in enumerate((delta.id, delta.function.name, delta.function.arguments)):
                    call[at] += piece or ""
        same("the places", sorted(calls), [0, 1])
        same("the calls", [(name, json.loads(arguments)) for _, name, arguments in calls.values()], BOTH)
        assert len({call[0] for call in calls.values()} - {""}) == 2, f"ids: {calls}"

    def image(self, model):
        parts = [{"type": "text", "text": "What is in the picture?"}, {"type": "image_url", "image_url": PICTURE}]
        answer = self.ask(model, [{"role": "user", "content": parts}])
        same("the text", answer.choices[0].message.content, "A red dot.")

    def structured(self, model):
        answer = self.ask(model, "Describe Oslo as JSON.", response_format=self.format)
        same("the object", json.loads(answer.choices[0].message.content), IS)
        same("the reason", answer.choices[0].finish_reason, "stop")

    def reasoning(self, model):
        answer = self.ask(model, "Think of gates.", reasoning_effort="low").choices[0].message
        same("the text", answer.content, "Two.")
        same("the thought", getattr(answer, "reasoning_content", None), THOUGHT)
        chunks = list(self.ask(model, "Think of gates.", reasoning_effort="low", stream=True))
        deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
        same("the streamed thought", "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas), THOUGHT)
        same("the streamed text", "".join(delta.content or "" for delta in deltas), "Two.")

    kinds = {
        400: openai.BadRequestError,
        401: openai.InternalServerError,
        404: openai.NotFoundError,
        429: openai.RateLimitError,
        500: openai.InternalServerError,
        503: openai.InternalServerError,
    }

    def errors(self, model):
        seen_by_class(self.kinds, lambda status: self.ask(model(status), f"Fail with {status}"))

    def cut(self, model):
        for words in ("Be cut.", "Be cut cleanly."):
            error = raised(lambda: list(self.ask(model, words, stream=True)))
            assert isinstance(error, openai.APIError), repr(error)


class Responses(OpenAI):
    name = "OpenAI Python, responses"
    tools = [{"type": "function", "name": "get_weather", "parameters": CITY, "strict": False}]

    def ask(self, model, text, **more):
        return self.client.responses.create(model=model, input=text, store=False, **more)

    def text(self, model):
        answer = self.ask(model, "What is a penstock?")
        same("the text", answer.output_text, PENSTOCK)
        same("the status", answer.status, "completed")
        same("the usage", (answer.usage.input_tokens, answer.usage.output_tokens), (11, 12))
        assert answer.id and answer.model and answer.created_at > 1_700_000_000, f"no id, model or time: {answer}"

    def stream(self, model):
        events = list(self.ask(model, "Tell me of rivers.", stream=True))
        same("the text", "".join(e.delta for e in events if e.type == "response.output_text.delta"), RIVERS)
        same("the ends", (events[0].type, events[-1].type), ("response.created", "response.completed"))
        same("the whole", events[-1].response.output_text, RIVERS)
        usage = events[-1].response.usage
        same("the usage", (usage.input_tokens, usage.output_tokens), (9, 21))

    def tool(self, model):
        asked = self.ask(model, OSLO, tools=self.tools)
        [call] = [item for item in asked.output if item.type == "function_call"]
        same("the call", (call.name, json.loads(call.arguments)), ("get_weather", {"city": "Oslo", "station": BIG}))
        turns = [
            {"role": "user", "content": OSLO},
            {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
            {"type": "function_call_output", "call_id": call.call_id, "output": SNOW},
        ]
        same("the text", self.ask(model, turns, tools=self.tools).output_text, "It snows in Oslo.")

    def parallel(self, model):
        events = list(self.ask(model, "Compare Oslo and Rome.", tools=self.tools, stream=True))
        done = [e for e in events if e.type == "response.function_call_arguments.done"]
        same("the arguments", [json.loads(e.arguments) for e in done], [arguments for _, arguments in BOTH])
        calls = [item for item in events[-1].response.output if item.type == "function_call"]
        same("the calls", [(call.name, json.loads(call.arguments)) for call in calls], BOTH)
        same("ids", len({call.call_id for call in calls}), 2)

    def image(self, model):
        parts = [{"type": "input_text", "text": "What is in the picture?"}, {"type": "input_image", "image_url": PICTURE["url"], "detail": "auto"}]
        same("the text", self.ask(model, [{"role": "user", "content": parts}]).output_text, "A red dot.")

    def structured(self, model):
        shape = {"format": {"type": "json_schema", "name": "place", "strict": True, "schema": PLACE}}
        answer = self.client.responses.create(model=model, input="Describe Oslo as JSON.", store=False, text=shape)
        same("the object", json.loads(answer.output_text), IS)

    def reasoning(self, model):
        wish = {"effort": "low", "summary": "auto"}
        answer = self.ask(model, "Think of gates.", reasoning=wish)
        same("the text", answer.output_text, "Two.")
        thoughts = [part.text for item in answer.output if item.type == "reasoning" for part in [*item.summary, *(item.content or [])]]
        same("the thought", "".join(thoughts), THOUGHT)
        events = list(self.ask(model, "Think of gates.", reasoning=wish, stream=True))
        same("the streamed thought", "".join(e.delta for e in events if e.type == "response.reasoning_summary_text.delta"), THOUGHT)
        same("the streamed text", events[-1].response.output_text, "Two.")

    def cut(self, model):
        for words in ("Be cut.", "Be cut cleanly."):
            events = []
            try:
                for event in self.ask(model, words, stream=True):
                    events.append(event.type)
            except openai.APIError:
                continue
            assert events[-1] in ("response.failed", "error"), f"it looks complete: {events}"


class Anthropic:
    name = "Anthropic Python"
    tools = [{"name": "get_weather", "input_schema": CITY}]

    def __init__(self):
        self.client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0, timeout=30)

    def told(self, text, more):
        messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
        return {"messages": messages, "max_tokens": 2048, **more}

    def ask(self, model, text, **more):
        return self.client.messages.create(model=model, **self.told(text, more))

    def streamed(self, model, text, **more):
        with self.client.messages.stream(model=model, **self.told(text, more)) as stream:
            names = [event.type for event in stream]
            return names, stream.get_final_message()

    def text(self, model):
        answer = self.ask(model, "What is a penstock?")
        same("the text", answer.content[0].text, PENSTOCK)
        same("the reason", answer.stop_reason, "end_turn")
        same("the usage", (answer.usage.input_tokens, answer.usage.output_tokens), (11, 12))
        assert answer.id and answer.model, f"no id or model: {answer}"

    def stream(self, model):
        names, answer = self.streamed(model, "Tell me of rivers.")
        same("the ends", (names[0], names[-1]), ("message_start", "message_stop"))
        same("the text", answer.content[0].text, RIVERS)
        same("the reason", answer.stop_reason, "end_turn")
        same("the usage", (answer.usage.input_tokens, answer.usage.output_tokens), (9, 21))

    def tool(self, model):
        asked = self.ask(model, OSLO, tools=self.tools)
        same("the reason", asked.stop_reason, "tool_use")
        [call] = [block for block in asked.content if block.type == "tool_use"]
        same("the call", (call.name, call.input), ("get_weather", {"city": "Oslo", "station": BIG}))
        turns = [
            {"role": "user", "content": OSLO},
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in asked.content]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": SNOW}]},
        ]
        same("the text", self.ask(model, turns, tools=self.tools).content[0].text, "It snows in Oslo.")

    def parallel(self, model):
        _, answer = self.streamed(model, "Compare Oslo and Rome.", tools=self.tools)
        calls = [block for block in answer.content if block.type == "tool_use"]
        same("the calls", [(call.name, call.input) for call in calls], BOTH)
        same("ids", len({call.id for call in calls}), 2)

    def image(self, model):
        source = {"type": "base64", "media_type": "image/png", "data": PNG}
        parts = [{"type": "image", "source": source}, {"type": "text", "text": "What is in the picture?"}]
        same("the text", self.ask(model, [{"role": "user", "content": parts}]).content[0].text, "A red dot.")

    def structured(self, model):
        shape = {"format": {"type": "json_schema", "schema": PLACE}}
        same("the object", json.loads(self.ask(model, "Describe Oslo as JSON.", output_config=shape).content[0].text), IS)

    def reasoning(self, model):
        wish = {"type": "enabled", "budget_tokens": 1024}
        answer = self.ask(model, "Think of gates.", thinking=wish)
        same("the thought", (answer.content[0].thinking, answer.content[-1].text), (THOUGHT, "Two."))
        assert {block.type for block in answer.content[1:-1]} <= {"redacted_thinking"}, answer.content
        _, answer = self.streamed(model, "Think of gates.", thinking=wish)
        same("the streamed thought", (answer.content[0].thinking, answer.content[-1].text), (THOUGHT, "Two."))

    kinds = {
        400: anthropic.BadRequestError,
        401: anthropic.InternalServerError,
        404: anthropic.NotFoundError,
        429: anthropic.RateLimitError,
        500: anthropic.InternalServerError,
        503: anthropic.OverloadedError,
    }

    def errors(self, model):
        seen_by_class(self.kinds, lambda status: self.ask(model(status), f"Fail with {status}"))

    def cut(self, model):
        for words in ("Be cut.", "Be cut cleanly."):
            error = raised(lambda: self.streamed(model, words))
            assert isinstance(error, anthropic.APIError), repr(error)


class Google:
    name = "Google Python"
    tools = [google.Tool(function_declarations=[google.FunctionDeclaration(name="get_weather", parameters_json_schema=CITY)])]

    def __init__(self):
        self.client = genai.Client(api_key=KEY, http_options={"base_url": URL, "timeout": 30_000})

    def ask(self, model, contents, **more):
        more.setdefault("automatic_function_calling", {"disable": True})
        return self.client.models.generate_content(model=model, contents=contents, config=more)

    def streamed(self, model, contents, **more):
        more.setdefault("automatic_function_calling", {"disable": True})
        return list(self.client.models.generate_content_stream(model=model, contents=contents, config=more))

    def text(self, model):
        answer = self.ask(model, "What is a penstock?")
        same("the text", answer.text, PENSTOCK)
        same("the reason", answer.candidates[0].finish_reason, "STOP")
        usage = answer.usage_metadata
        same("the usage", (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count), (11, 12, 23))

    def stream(self, model):
        chunks = self.streamed(model, "Tell me of rivers.")
        same("the text", "".join(chunk.text or "" for chunk in chunks), RIVERS)
        same("the reason", chunks[-1].candidates[0].finish_reason, "STOP")
        usage = chunks[-1].usage_metadata
        same("the usage", (usage.prompt_token_count, usage.candidates_token_count), (9, 21))

    def tool(self, model):
        asked = self.ask(model, OSLO, tools=self.tools)
        [call] = asked.function_calls
        same("the call", (call.name, call.args), ("get_weather", {"city": "Oslo", "station": BIG}))
        result = google.FunctionResponse(id=call.id, name=call.name, response=json.loads(SNOW))
        turns = [
            google.Content(role="user", parts=[google.Part(text=OSLO)]),
            asked.candidates[0].content,
            google.Content(role="user", parts=[google.Part(function_response=result)]),
        ]
        same("the text", self.ask(model, turns, tools=self.tools).text, "It snows in Oslo.")

    def parallel(self, model):
        chunks = self.streamed(model, "Compare Oslo and Rome.", tools=self.tools)
        calls = [call for chunk in chunks for call in chunk.function_calls or []]
        same("the calls", [(call.name, call.args) for call in calls], BOTH)

    def image(self, model):
        parts = [google.Part.from_bytes(data=base64.b64decode(PNG), mime_type="image/png"), google.Part(text="What is in the picture?")]
        same("the text", self.ask(model, [google.Content(role="user", parts=parts)]).text, "A red dot.")

    def structured(self, model):
        answer = self.ask(model, "Describe Oslo as JSON.", response_mime_type="application/json", response_json_schema=PLACE)
        same("the object", json.loads(answer.text), IS)

    def reasoning(self, model):
        wish = {"thinking_budget": 1024, "include_thoughts": True}
        answer = self.ask(model, "Think of gates.", thinking_config=wish)
        same("the text", answer.text, "Two.")
        same("the thought", "".join(part.text for part in answer.candidates[0].content.parts if part.thought), THOUGHT)
        chunks = self.streamed(model, "Think of gates.", thinking_config=wish)
        parts = [part for c in chunks for part in c.candidates[0].content.parts or [] if part.text]
        same("the streamed thought", "".join(part.text for part in parts if part.thought), THOUGHT)
        same("the streamed text", "".join(part.text for part in parts if not part.thought), "Two.")

    client_error, server_error = google_errors.ClientError, google_errors.ServerError
    kinds = {400: client_error, 401: server_error, 404: client_error, 429: client_error, 500: server_error, 503: server_error}

    def errors(self, model):
        seen_by_class(self.kinds, lambda status: self.ask(model(status), f"Fail with {status}"))

    def cut(self, model):
        for words in ("Be cut.", "Be cut cleanly."):
            error = raised(lambda: self.streamed(model, words))
            assert isinstance(error, google_errors.APIError), repr(error)


class Mistral(OpenAI):
    name = "Mistral Python"

    def __init__(self):
        self.client = mistralai.Mistral(api_key=KEY, server_url=URL, timeout_ms=30_000)

    def ask(self, model, text, stream=False, stream_options=None, **more):
        messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
        call = self.client.chat.stream if stream else self.client.chat.complete
        answer = call(model=model, messages=messages, **more)
        return [event.data for event in answer] if stream else answer

    def stream(self, model):
        chunks = self.ask(model, "Tell me of rivers.", stream=True)
        same("the text", "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices), RIVERS)
        same("the reasons", [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason], ["stop"])

    def parallel(self, model):
        raise Cannot("Mistral's SDK takes a streamed call in one piece only, and other providers stream it in many")

    def reasoning(self, model):
        raise Cannot("Mistral's SDK reads thoughts of Mistral's own form only")

    def errors(self, model):
        for status, seen in {400: 400, 401: 502, 404: 404, 429: 429, 500: 502, 503: 503}.items():
            error = raised(lambda: self.ask(model(status), f"Fail with {status}"))
            assert isinstance(error, mistral_errors.SDKError), repr(error)
            same(f"the status of {status}", error.status_code, seen)

    def cut(self, model):
        for words in ("Be cut.", "Be cut cleanly."):
            error = raised(lambda: self.ask(model, words, stream=True))
            assert isinstance(error, mistral_errors.MistralError), repr(error)


class LangChain(OpenAI):
    name = "LangChain Python, ChatOpenAI"

    def chat(self, model):
        return ChatOpenAI(model=model, base_url=f"{URL}/v1", api_key=KEY, max_retries=0, timeout=30, stream_usage=True)

    def __init__(self):
        pass

    def text(self, model):
        answer = self.chat(model).invoke("What is a penstock?")
        same("the text", answer.content, PENSTOCK)
        same("the usage", (answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"]), (11, 12))

    def stream(self, model):
        chunks = list(self.chat(model).stream("Tell me of rivers."))
        same("the text", "".join(chunk.content for chunk in chunks), RIVERS)
        used = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
        same("the usage", [(usage["input_tokens"], usage["output_tokens"]) for usage in used], [(9, 21)])

    def tool(self, model):
        chat = self.chat(model).bind_tools(self.tools)
        asked = chat.invoke(OSLO)
        [call] = asked.tool_calls
        same("the call", (call["name"], call["args"]), ("get_weather", {"city": "Oslo", "station": BIG}))
        answer = chat.invoke([HumanMessage(OSLO), asked, ToolMessage(SNOW, tool_call_id=call["id"])])
        same("the text", answer.content, "It snows in Oslo.")

    def parallel(self, model):
        joined = None
        for chunk in self.chat(model).bind_tools(self.tools).stream("Compare Oslo and Rome."):
            joined = chunk if joined is None else joined + chunk
        same("the calls", [(call["name"], call["args"]) for call in joined.tool_calls], BOTH)

    def image(self, model):
        parts = [{"type": "text", "text": "What is in the picture?"}, {"type": "image_url", "image_url": PICTURE}]
        same("the text", self.chat(model).invoke([HumanMessage(parts)]).content, "A red dot.")

    def structured(self, model):
        chat = self.chat(model).with_structured_output({"title": "place", **PLACE}, method="json_schema")
        same("the object", chat.invoke("Describe Oslo as JSON."), IS)

    def reasoning(self, model):
        raise Cannot("LangChain leaves thoughts out of chat completions")

    def errors(self, model):
        # LangChain makes classes of its own below those of the SDK.
        for status, kind in self.kinds.items():
            error = raised(lambda: self.chat(model(status)).invoke(f"Fail with {status}"))
            assert isinstance(error, kind), f"{status}: {error!r}"

    def cut(self, model):
        for words in ("Be cut.", "Be cut cleanly."):
            error = raised(lambda: list(self.chat(model).stream(words)))
            assert isinstance(error, openai.APIError), repr(error)


CLIENTS = [OpenAI, Responses, Anthropic, Google, Mistral, LangChain]
FEATURES = ["text", "stream", "tool", "parallel", "image", "structured", "reasoning", "errors", "cut"]


def cell(client, provider, feature):
    model = f"{provider}/{MODELS[provider]}"
    # What fails is of a provider and models of its own: a limit or a circuit closes one of them only.
    bad = f"{provider}bad/py{CLIENTS.index(type(client))}"
    if feature == "errors":
        model = lambda status: f"{bad}-{status}"  # noqa: E731
    elif feature == "cut":
        model = bad
    try:
        getattr(client, feature)(model)
        return "ok"
    except Cannot as why:
        return str(why)
    except Exception as error:
        if ONLY:
            traceback.print_exc()
        return f"FAILED: {type(error).__name__}: {error}".replace("\n", " ")[:600]


def run(job):
    client, provider, feature = job
    line = {"client": client.name, "provider": provider, "feature": feature, "cell": cell(client, provider, feature)}
    print(json.dumps(line) + "\n", end="", flush=True)


jobs = [(client, provider, feature) for client in [kind() for kind in CLIENTS] for provider in MODELS for feature in FEATURES]
jobs = [job for job in jobs if ONLY in f"{job[0].name} {job[1]} {job[2]}"]
# Those that wait go first.
jobs.sort(key=lambda job: job[2] not in ("errors", "cut"))
with ThreadPoolExecutor(24) as pool:
    list(pool.map(run, jobs))
