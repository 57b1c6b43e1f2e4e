"""The agent of the examples: a real process and a real HTTP client; the model answers by rules."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.examples.model import model

if TYPE_CHECKING:
    from asyncio.subprocess import Process

AGENT = Path(__file__).parents[2] / "examples" / "llm_agent" / "agent.py"


async def says(agent: Process, words: str = "", **arguments: str) -> str:
    """What it answers; an answer to nothing is that of a scheduled run."""
    assert agent.stdin is not None
    assert agent.stdout is not None
    if words or arguments:
        asked = f"{words} schedule {json.dumps(arguments)}" if arguments else words
        agent.stdin.write(f"{asked}\n".encode())
    answer = [await asyncio.wait_for(agent.stdout.readline(), 20)]
    if any(one in answer[0] for one in (b"Created job", b"Paused job")):  # and when it fires next
        answer.append(await asyncio.wait_for(agent.stdout.readline(), 20))
    return b"".join(answer).decode()


async def start(folder: Path, address: str, key: str = "key") -> Process:
    environ = {
        "MODEL_API": address,
        "MODEL_KEY": key,
        "AGENT_STORE": f"sqlite:///{folder}/agent.db",
        "PYTHONPATH": os.pathsep.join(one for one in sys.path if one),
    }
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(AGENT)),
        env=os.environ | environ,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
    )


@pytest.mark.parametrize(
    "key, words, told",
    [("wrong", "hello", "401, message='Unauthorized'"), ("key", "babble", "IndexError: ")],
)
async def test_a_model_that_gives_no_answer_ends_it_in_one_line(
    tmp_path: Path, key: str, words: str, told: str
) -> None:
    async with model() as address:
        agent = await start(tmp_path, address, key)
        said, failed = await asyncio.wait_for(agent.communicate(f"{words}\n".encode()), 20)
    assert (agent.returncode, said) == (1, b"")
    assert failed.decode().startswith(f"agent: no answer from {address}: ")
    assert told in failed.decode()
    assert failed.count(b"\n") == 1


async def test_so_does_a_server_that_is_not_there(tmp_path: Path) -> None:
    agent = await start(tmp_path, "http://127.0.0.1:9")
    _, failed = await asyncio.wait_for(agent.communicate(b"hello\n"), 20)
    assert (agent.returncode, failed.count(b"\n")) == (1, 1)
    assert failed.startswith(b"agent: no answer from http://127.0.0.1:9: ClientConnectorError: ")


async def test_it_makes_its_schedule_and_a_run_of_it_may_not(tmp_path: Path) -> None:
    async with model() as address:
        agent = await start(tmp_path, address)
        try:
            assert await says(agent, "hello") == "You said: hello\n"
            assert await says(agent, "refuse") == "I will not.\n"
            made = await says(
                agent, "please", action="create", schedule="in 1s", prompt="drink tea", name="tea"
            )
            assert "('tea')" in made
            assert "Next (Europe/Paris): " in made
            assert await says(agent) == "(scheduled) You said: drink tea\n"
            again = 'go on: schedule {"action": "create", "schedule": "every 5m", "prompt": "x"}'
            await says(agent, "and", action="create", schedule="in 1s", prompt=again, name="worm")
            refused = await says(agent)
            assert "(scheduled) The tool says: Error: a scheduled run may only list jobs" in refused
            assert "You have no jobs" in await says(agent, "well", action="list")
            weekly = {"schedule": "every monday at 9am", "prompt": "plan", "name": "plan"}
            assert "Created" in await says(agent, "so", action="create", **weekly)
            assert "Paused" in await says(agent, "no", action="pause", job="plan")
            assert "Removed" in await says(agent, "no", action="remove", job="plan")
            assert agent.stdin is not None
            agent.stdin.close()
            assert await asyncio.wait_for(agent.wait(), 20) == 0
        finally:
            if agent.returncode is None:
                agent.kill()
                await agent.wait()
