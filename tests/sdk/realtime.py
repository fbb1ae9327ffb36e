"""Drives a session with OpenAI's own Python SDK, unchanged but for its address. See gateway/realtime.rs, which starts the provider.

    PENSTOCK_URL       the gateway, http://127.0.0.1:8080
    PENSTOCK_KEY       the caller's key

Prints what each event was, and what ended the session.
"""

import asyncio
import os

import openai
import websockets

base = f"{os.environ['PENSTOCK_URL']}/v1"
client = openai.AsyncOpenAI(
    base_url=base,
    websocket_base_url=base.replace("http", "ws", 1),
    api_key=os.environ["PENSTOCK_KEY"],
    max_retries=0,
)


async def main():
    async with client.realtime.connect(model="rt/m") as connection:
        await connection.session.update(session={"type": "realtime", "instructions": "Be brief.", "output_modalities": ["text"]})
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
        await connection.conversation.item.create(item=item)
        await connection.response.create()
        async for event in connection:
            if event.type == "session.created":
                print(event.type, event.session.model)
            elif event.type == "response.done":
                print(event.type, event.response.status, event.response.usage.total_tokens)
                break
            else:
                print(event.type)
    try:
        async with client.realtime.connect(model="gpt-4o-mini") as connection:
            print("a session of a model that has none")
    except websockets.exceptions.InvalidStatus as error:
        print("refused", error.response.status_code)


asyncio.run(main())
