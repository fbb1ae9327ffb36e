"""Drives OpenAI's conversations with OpenAI's own Python SDK in front of every provider of the matrix, whole and streamed.
See gateway/matrix.rs, which starts the providers.

    PENSTOCK_URL       the gateway, http://127.0.0.1:8080
    PENSTOCK_KEY       the caller's key
    MATRIX             a model of each provider, as JSON: {"openai": "gpt-5-mini", …}

One line per check, `{"provider": …, "cell": "ok"}` or `"FAILED …"`.
"""

import json
import os

import openai
from openai.types.conversations import Conversation, ConversationDeletedResource, ConversationItemList

client = openai.OpenAI(base_url=f"{os.environ['PENSTOCK_URL']}/v1", api_key=os.environ["PENSTOCK_KEY"], max_retries=0, timeout=60)
# Checks what we write ourselves against the SDK's types; what the simulated providers of this dialect write passes unchanged.
strict = client.with_options()
strict._strict_response_validation = True

TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


def same(what, found, expected):
    assert found == expected, f"{what}: {found!r}, not {expected!r}"


def streamed(**asked):
    with client.responses.stream(**asked) as stream:
        for _ in stream:
            pass
        return stream.get_final_response()


def whole(**asked):
    return client.responses.create(**asked)


def listed(conversation, **query):
    return list(client.conversations.items.list(conversation.id, order="asc", **query))


def talk(model, ask):
    """A question that a tool answers: the second request says nothing but the result, so the provider must be told the rest."""
    question = {"type": "message", "role": "user", "content": "How is the weather in Oslo?"}
    conversation = client.conversations.create(metadata={"topic": "weather"})
    assert isinstance(conversation, Conversation) and conversation.id.startswith("conv_")
    same("the metadata", conversation.metadata, {"topic": "weather"})
    first = ask(model=model, conversation=conversation.id, input=[question], tools=[TOOL])
    calls = [item for item in first.output if item.type == "function_call"]
    same("the conversation", first.conversation.id, conversation.id)
    same("the calls", [call.name for call in calls], ["get_weather"])
    result = {"type": "function_call_output", "call_id": calls[0].call_id, "output": "snow"}
    second = ask(model=model, conversation={"id": conversation.id}, input=[result], tools=[TOOL])
    same("the answer", second.output_text, "It snows in Oslo.")
    kinds = [item.type for item in listed(conversation, limit=2)]
    same("the question", kinds[0], "message")
    same("the items behind it", kinds[-3:], ["function_call", "function_call_output", "message"])
    same("the last", listed(conversation)[-1].id, second.output[-1].id)


def manage():
    conversation = strict.conversations.create(
        items=[{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}], metadata={"a": "b"}
    )
    added = strict.conversations.items.create(conversation.id, items=[{"type": "message", "role": "user", "content": "three"}])
    assert isinstance(added, ConversationItemList)
    same("those that were added", [item.content[0].text for item in added.data], ["three"])
    page = strict.conversations.items.list(conversation.id, limit=2, include=["reasoning.encrypted_content"])
    same("a page", ([item.content[0].text for item in page.data], page.has_more), (["three", "two"], True))
    same("all pages", [item.content[0].text for item in page], ["three", "two", "one"])
    one = strict.conversations.items.retrieve(page.data[1].id, conversation_id=conversation.id)
    same("an item", (one.role, one.status, one.content[0].type), ("assistant", "completed", "output_text"))
    left = strict.conversations.items.delete(one.id, conversation_id=conversation.id)
    same("the conversation", left.id, conversation.id)
    same("what is left", [item.content[0].text for item in strict.conversations.items.list(conversation.id, order="asc")], ["one", "three"])
    changed = strict.conversations.update(conversation.id, metadata={"c": "d"})
    same("the metadata", changed.metadata, {"c": "d"})
    same("the conversation", strict.conversations.retrieve(conversation.id), changed)
    gone = strict.conversations.delete(conversation.id)
    assert isinstance(gone, ConversationDeletedResource) and gone.deleted
    for call in [
        lambda: strict.conversations.retrieve(conversation.id),
        lambda: client.responses.create(model="x", conversation=conversation.id, input="Hi"),
    ]:
        try:
            call()
        except openai.NotFoundError as error:
            assert conversation.id in error.message, error.message
        else:
            raise AssertionError("a conversation that was deleted is found")


def tried(provider, check):
    try:
        check()
        cell = "ok"
    except Exception as error:  # any failure is a line of its own
        cell = f"FAILED {type(error).__name__}: {error}"
    print(json.dumps({"provider": provider, "cell": cell}), flush=True)


tried("none", manage)
for provider, model in json.loads(os.environ["MATRIX"]).items():
    for ask in (whole, streamed):
        tried(provider, lambda: talk(f"{provider}/{model}", ask))
