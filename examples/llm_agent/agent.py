"""A language-model agent that manages its own schedule, on the command line.

It speaks the chat-completions API with tool calls. Say "remind me every day at 9am to drink" and it
makes the job; what the job asks, the agent answers then. A run cannot schedule: it may only list.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import aiohttp

from acron import Acron
from acron.integrations import tool

API = os.environ.get("MODEL_API", "https://api.openai.com/v1")
MODEL = os.environ.get("MODEL", "gpt-4o-mini")
KEY = {"Authorization": f"Bearer {os.environ.get('MODEL_KEY', '')}"}

app = Acron(os.environ.get("AGENT_STORE", "sqlite:///agent.db"), app="agent", tz="Europe/Paris")


async def think(words: str) -> str:
    messages: list[dict[str, Any]] = [{"role": "user", "content": words}]
    ask = {"model": MODEL, "tools": [{"type": "function", "function": tool.schema()}]}
    async with aiohttp.ClientSession(headers=KEY, raise_for_status=True) as model:
        for _ in range(8):
            request = ask | {"messages": messages}
            async with model.post(f"{API}/chat/completions", json=request) as reply:
                said = (await reply.json())["choices"][0]["message"]
            messages.append(said)
            for wanted in said.get("tool_calls") or ():
                done = await tool.call(app, wanted["function"]["arguments"], origin="me")
                messages.append({"role": "tool", "tool_call_id": wanted["id"], "content": done})
            if not said.get("tool_calls"):
                return said.get("content") or said.get("refusal") or "(nothing)"
    return "I gave up after 8 steps."


@app.agent
async def scheduled(prompt: str) -> str:
    answer = await think(prompt)
    print(f"(scheduled) {answer}", flush=True)
    return answer


async def main() -> None:
    async with app:
        while words := await asyncio.to_thread(sys.stdin.readline):
            print(await think(words.strip()), flush=True)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (aiohttp.ClientError, TimeoutError, LookupError, TypeError, ValueError) as error:
        sys.exit(f"agent: no answer from {API}: {type(error).__name__}: {error}")
