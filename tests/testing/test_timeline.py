"""``timeline``: what the ledger of an app tells, also of one that is closed or dead."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from acron import Acron, Context, Retry
from acron.errors import DeliveryError
from acron.testing import RecordingAdapter, crash, timeline

if TYPE_CHECKING:
    from pathlib import Path

    from acron.testing import VirtualTime


async def test_a_day_of_a_program(acron_time: VirtualTime) -> None:
    chat = RecordingAdapter("chat")
    chat.fail(DeliveryError("no\nsuch chat", permanent=True))
    app = Acron("memory://", app="bot", clock=acron_time.clock, adapters={"chat": chat}, tz="Japan")

    @app.job("every 1m", repeat=1, deliver="chat:7", retry=Retry(attempts=2, delay=60, jitter=0))
    async def sync(ctx: Context) -> str:
        await asyncio.sleep(90)
        if ctx.attempt == 1:
            raise ConnectionError("no answer")
        return "in\nstep"

    @app.job("every 40s", repeat=3, deliver="chat:8")
    def tick() -> str:
        return "tick"

    async with app:
        await acron_time.advance(seconds=90)
        acron_time.jump_clock(600)
        await acron_time.advance(minutes=3)
        await app.run_now("tick")
        drawn = await timeline(app)
        await acron_time.advance(seconds=10)
    assert drawn.splitlines() == [
        "bot: 6 runs, 15 skipped, Japan, on memory://",
        "  Thu 2026-01-01",
        "  09:00:40               ●  tick  succeeded “tick” → chat:8 failed (no\\nsuch chat)",
        "  09:01:00         +20s  ╭  sync  starts",
        "  09:01:20         +20s  │● tick  succeeded “tick” → chat:8",
        "  09:12:00     +10m 40s  │● tick  succeeded “tick” → chat:8",
        "  09:12:00               │○ tick  15 skipped: coalesced",
        "  09:12:30         +30s  ╰  sync  failed: ConnectionError: no answer",
        "  09:13:30          +1m  ╭  sync  starts, attempt 2",
        "  09:14:30          +1m  │◌ tick  is due, by hand",
        "  09:14:30               │  now",
    ]


@pytest.mark.parametrize("url", ["memory://", "{}/jobs.json", "sqlite:///{}/jobs.db"])
async def test_one_that_is_open_killed_or_closed(
    url: str, tmp_path: Path, acron_time: VirtualTime
) -> None:
    app = Acron(url.format(tmp_path), clock=acron_time.clock)
    assert (await timeline(app)).splitlines() == [
        "acron: 0 runs, UTC",
        "  Thu 2026-01-01",
        "  00:00:00                now",
    ]

    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 (nothing was made for it)

    @app.job("every 10s", overlap="allow")
    async def work() -> None:
        await asyncio.sleep(100)

    page = [
        "  Thu 2026-01-01",
        "  00:00:10               ╭  work  starts",
        "  00:00:20         +10s  │╭ work  starts",
        "  00:00:21          +1s  ││ now",
    ]
    async with app:
        await acron_time.advance(seconds=21)
        assert (await timeline(app)).splitlines()[1:] == page
        crash(app)
        assert (await timeline(app)).splitlines()[1:] == page
    heir = Acron(app._given if url == "memory://" else url.format(tmp_path), clock=acron_time.clock)
    async with heir:
        await acron_time.advance(seconds=1)
    assert (await timeline(heir)).splitlines()[4:] == [
        "  00:00:21          +1s  ╰│ work  unknown: the process died",
        "  00:00:21                ╰ work  unknown: the process died",
        "  00:00:22          +1s     now",
    ]
