"""The agent of the examples: a real process and a real HTTP client; the model answers by rules."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

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


async def test_it_makes_its_schedule_and_a_run_of_it_may_not(tmp_path: Path) -> None:
    async with model() as address:
        environ = {
            "MODEL_API": address,
            "MODEL_KEY": "key",
            "AGENT_STORE": f"sqlite:///{tmp_path}/agent.db",
            "PYTHONPATH": os.pathsep.join(one for one in sys.path if one),
        }
        agent = await asyncio.create_subprocess_exec(
            *(sys.executable, str(AGENT)),
            env=os.environ | environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert await says(agent, "hello") == "You said: hello\n"
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
