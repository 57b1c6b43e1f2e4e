"""A stand-in for a language model: a chat-completions API that answers by rules.

``schedule JSON`` in what it is told makes it call the tool so; what the tool says, it repeats.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def reply(messages: list[dict[str, Any]]) -> dict[str, Any]:
    last = messages[-1]
    if last["role"] == "tool":
        return {"role": "assistant", "content": f"The tool says: {last['content']}"}
    words, _, arguments = last["content"].partition("schedule ")
    if words == "refuse":
        return {"role": "assistant", "content": None, "refusal": "I will not."}
    if not arguments:
        return {"role": "assistant", "content": f"You said: {words}"}
    function = {"name": "schedule", "arguments": arguments}
    called = {"id": "call_1", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [called]}


async def completions(request: web.Request) -> web.Response:
    if request.headers.get("Authorization") != "Bearer key":
        return web.json_response({"error": {"message": "who are you?"}}, status=401)
    asked = await request.json()
    (tool,) = asked["tools"]
    assert tool["type"] == "function"
    assert tool["function"]["parameters"]["required"] == ["action"]
    json.dumps(asked)
    if asked["messages"][-1]["content"] == "babble":
        return web.json_response({"object": "chat.completion", "choices": []})
    choice = {"index": 0, "finish_reason": "stop", "message": reply(asked["messages"])}
    return web.json_response({"object": "chat.completion", "choices": [choice]})


@asynccontextmanager
async def model() -> AsyncIterator[str]:
    """Its address."""
    app = web.Application()
    app.router.add_post("/v1/chat/completions", completions)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/v1"
    finally:
        await runner.cleanup()
