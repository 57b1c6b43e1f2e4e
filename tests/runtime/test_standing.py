"""A node that is asked to drain, or left behind by newer code, takes no more; and says so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from acron import Acron, Context, NodeNotFound
from acron.model import Node
from acron.runtime.standing import newer_code

if TYPE_CHECKING:
    from pathlib import Path

    from acron.testing import VirtualTime


@pytest.mark.parametrize("kind", ["jobs.json", "sqlite"])
async def test_a_node_that_is_asked_to_drain_ends_its_runs_and_takes_no_more(
    acron_time: VirtualTime, tmp_path: Path, kind: str
) -> None:
    url = str(tmp_path / kind) if kind == "jobs.json" else f"sqlite:///{tmp_path / kind}"
    app, other = (Acron(url, clock=acron_time.clock) for _ in range(2))
    started: list[str] = []

    @app.job("every 30s", overlap="allow")
    async def slow(ctx: Context) -> None:
        started.append(ctx.run_id)
        await asyncio.sleep(45)

    async with app:
        await acron_time.advance(seconds=31)
        assert len(started) == 1
        async with other.attached():
            (node,) = await other.nodes()
            with pytest.raises(NodeNotFound):
                await other.drain(node="nobody")
            await other.drain(node=node.id)
            (node,) = await other.nodes()
            assert node.draining
            assert node.alive
            assert (await other.status()).state == "draining"
        await acron_time.advance(minutes=5)
        (run,) = await app.runs("slow")
        assert run.state == "succeeded", "it was left to end by itself"
    assert len(started) == 1
    async with app:  # a restart takes part again
        await acron_time.advance(minutes=1)
    assert len(started) > 1


async def test_older_code_leaves_declared_jobs_to_the_newer(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    ran: list[str] = []

    def release(version: str, every: str) -> Acron:
        app = Acron(url, clock=acron_time.clock, app="bot", version=version)

        @app.job(every)
        async def beat() -> None:
            ran.append(version)

        @app.action
        async def dynamic() -> None:
            ran.append("dynamic")

        return app

    old, new = release("1.9", "every 1m"), release("1.10", "every 2m")
    async with old:
        await acron_time.advance(minutes=3, seconds=1)
        assert ran == ["1.9"] * 3
        assert old.node is not None
        assert old.node.stood_down == ""
        async with new:
            await acron_time.run_until(lambda: old.node and old.node.stood_down)
            (told,) = [one for one in await new.nodes() if one.version == "1.9"]
            assert "call:beat" not in told.offers, "said in the same breath"
            assert "call:dynamic" in told.offers
            await acron_time.advance(minutes=6)
            assert set(ran[3:]) == {"1.10"}
            assert "1.9 leaves its declared jobs to 1.10" in old.node.stood_down
            assert (await old.get("beat")).schedule == "every 2m"
        await acron_time.advance(minutes=10)
        assert old.node.stood_down == "", "what is newer has gone"
        assert ran[-1] == "1.9"


@pytest.mark.parametrize(
    "mine,other,stands_down",
    [
        ("1.9", "1.10", True),
        ("1.10", "1.9", False),
        ("", "2", False),
        ("2", "", False),
        ("2", "2", False),
        ("2", "2.0.0", False),
        ("2.0", "2.0.0rc3", False),
        ("2.0rc1", "2.0", False),
        ("2.0+77", "2.0+112", False),
        ("v2.0-beta", "v2.0.1", True),
        ("trunk", "2", False),
    ],
)
def test_versions_are_compared_as_numbers(
    mine: str, other: str, stands_down: bool, acron_time: VirtualTime
) -> None:
    now = acron_time.clock.now()
    me, him = (
        Node(id=one, pid=1, host="h", app="bot", version=version, started_at=now)
        for one, version in (("a", mine), ("b", other))
    )
    assert (newer_code(me, [me, him]) is not None) is stands_down
