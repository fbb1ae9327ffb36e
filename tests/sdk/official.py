"""A pytest plugin that lets the official SDKs' own tests of their endpoints (`tests/api_resources` in their source
archives) run against the gateway: their `client` and `async_client`, with the gateway's URL and a key of its own. Their own
`conftest.py` fixes the key, and needs what only their other tests use.

    PENSTOCK_URL    the gateway, http://127.0.0.1:8080
    PENSTOCK_KEY    the caller's key

    cd "$PENSTOCK_TEST_SDK_TESTS/openai" && PYTHONPATH=.../tests/sdk python -m pytest -p official tests/api_resources/chat
"""

import os
from pathlib import Path

import anthropic
import openai
import pytest

URL = os.environ["PENSTOCK_URL"]
KEY = os.environ["PENSTOCK_KEY"]
IS_ANTHROPIC = Path.cwd().name == "anthropic"


def made(sdk, kind, strict):
    """A client of this kind; a strict one checks each answer against the SDK's own types."""
    base_url = URL if IS_ANTHROPIC else f"{URL}/v1"
    return getattr(sdk, kind)(base_url=base_url, api_key=KEY, _strict_response_validation=strict, max_retries=0, timeout=60)


@pytest.fixture(scope="session")
def client(request):
    with made(*((anthropic, "Anthropic") if IS_ANTHROPIC else (openai, "OpenAI")), getattr(request, "param", True)) as client:
        yield client


@pytest.fixture(scope="session")
async def async_client(request):
    strict = getattr(request, "param", True)
    kind = (anthropic, "AsyncAnthropic") if IS_ANTHROPIC else (openai, "AsyncOpenAI")
    async with made(*kind, strict) as client:
        yield client
