"""LangChain's documented `abatch`, with the official packages, against the gateway: many requests at once, answered in order.
https://docs.langchain.com/oss/python/langchain/models#batch."""

import asyncio
import os

import openai
from langchain_openai import ChatOpenAI


def model(name):
    url, key = os.environ["PENSTOCK_URL"] + "/v1", os.environ["PENSTOCK_KEY"]
    return ChatOpenAI(model=name, base_url=url, api_key=key, max_retries=0, timeout=60)


async def main():
    questions = [f"Question {number}?" for number in range(20)]
    answers = await model("demo/fast").abatch(questions, config={"max_concurrency": 5})
    assert len(answers) == 20 and all(answer.text for answer in answers), answers
    assert len({answer.id for answer in answers}) == 20, answers
    print("ok abatch")

    refused = (await model("no-such-model").abatch(["Hello?"], return_exceptions=True))[0]
    assert isinstance(refused, openai.NotFoundError), refused
    print("ok abatch with return_exceptions")


asyncio.run(main())
