"""The agent's tool, spoken to by the official client in a real process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from acron import Acron

if TYPE_CHECKING:
    from pathlib import Path

mcp = pytest.importorskip("mcp")


async def test_a_client_makes_and_lists_a_job(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'jobs.db'}"
    options = ["--origin", "chat:7", "--tz", "Europe/Paris", "--shortest", "1h", "--max-jobs", "1"]
    parameters = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-m", "acron", "--store", store, "mcp", *options],
        env={"ACRON_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
    )
    async with mcp.Client(mcp.stdio_client(parameters)) as client:
        (tool,) = (await client.list_tools()).tools
        assert tool.name == "schedule"
        assert "create" in tool.input_schema["properties"]["action"]["enum"]

        async def say(**arguments: object) -> tuple[bool, str]:
            result = await client.call_tool("schedule", arguments)
            return bool(result.is_error), result.content[0].text

        daily = {"action": "create", "schedule": "every day at 9am", "prompt": "Brief me"}
        refused, text = await say(**daily)
        assert not refused
        assert "at 09:00 every day (Europe/Paris)" in text
        assert "nothing is running that would fire it" in text
        assert await say(**daily) == (
            True,
            "you have 1 jobs, and 1 are allowed; remove one first",
        )
        refused, text = await say(action="create", schedule="every 5m", prompt="x")
        assert refused
        assert "the shortest interval allowed is 1h" in text
        assert (await say(action="list"))[1].startswith("1 of at most 1 jobs:")
    jobs = [job async for job in Acron(store).jobs()]
    assert [(job.tags, job.tz) for job in jobs] == [(("origin:chat:7",), "Europe/Paris")]


async def test_a_client_that_a_job_started_may_only_look(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'jobs.db'}"
    parameters = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-m", "acron", "--store", store, "mcp"],
        env={
            "ACRON_HOME": str(tmp_path),
            "ACRON_JOB_ID": "nightly",
            "PYTHONPATH": ":".join(sys.path),
        },
    )
    async with mcp.Client(mcp.stdio_client(parameters)) as client:
        result = await client.call_tool(
            "schedule", {"action": "create", "schedule": "in 1h", "prompt": "x"}
        )
        assert result.is_error
        assert "a scheduled run may only list jobs" in result.content[0].text
