"""FAULTS 9-12: no fire without a claim, the trouble is told, and it heals."""

from __future__ import annotations

import asyncio
import errno
import getpass
import os
from typing import TYPE_CHECKING

import pytest

from acron import Acron, RunState
from acron.events import Troubled
from acron.stores.json_file import JsonFileStore
from acron.stores.memory import MemoryStore
from tests.stores.faults import FaultyFiles

if TYPE_CHECKING:
    from pathlib import Path

    from acron.model import Decision
    from acron.testing import VirtualTime


class Trouble(FaultyFiles):
    """Every step fails with ``code`` while there is one."""

    code = failed = 0

    def _fails(self, name: str) -> bool:
        if self.code:
            self.failed += 1
            raise OSError(self.code, os.strerror(self.code))
        return super()._fails(name)


async def test_a_failure_is_told_once(
    acron_time: VirtualTime, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = Trouble()
    app = Acron(JsonFileStore(tmp_path / "jobs.json", files=files), clock=acron_time.clock)

    @app.job("every 10m")
    async def beat() -> None: ...

    async with app:
        events = app.events()
        files.code = errno.ENOSPC
        await acron_time.advance(minutes=12)
        files.code = 0
    told = [event.error async for event in events if isinstance(event, Troubled)]
    whats = [one.partition(":")[0] for one in told]
    assert whats == ["heartbeat"] * whats.index("tick failed") + ["tick failed"] * 7
    disk = os.strerror(errno.ENOSPC)
    assert [text for one in caplog.records if disk in (text := one.getMessage())] == told


async def test_a_tick_that_is_cancelled_by_nobody_is_told(acron_time: VirtualTime) -> None:
    """A driver's own CancelledError: else it would fail for ever, and nobody know why."""

    class Cancels(MemoryStore):
        async def claim(self, *_: object, **__: object) -> list[Decision]:
            raise asyncio.CancelledError("by a driver")

    app = Acron(Cancels(), clock=acron_time.clock)
    async with app:
        await acron_time.advance(minutes=2)
        status = await app.status()
    assert status.last_error == "tick failed: CancelledError: by a driver"


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("code", ["ENOSPC", "EIO", "EROFS", "EACCES", "EMFILE"])
async def test_a_disk_that_fails_for_an_hour(
    acron_time: VirtualTime, tmp_path: Path, code: str
) -> None:
    path, files = tmp_path / "jobs.json", Trouble()
    app = Acron(JsonFileStore(path, files=files), clock=acron_time.clock)
    fired = 0

    @app.job("every 10m", catch_up="all")
    async def beat() -> None:
        nonlocal fired
        fired += 1

    async with app:
        await acron_time.advance(minutes=30, seconds=5)
        assert fired == 3
        files.code = getattr(errno, code)
        await acron_time.advance(hours=1)
        assert fired == 3, "nothing fires without a claim"
        assert 0 < files.failed < 600, "a bounded back-off"
        told = app.node
        assert told is not None
        assert told.last_error is not None
        for word in (os.strerror(files.code), str(tmp_path)):
            assert word in told.last_error
        ours = code in {"EROFS", "EACCES"}  # may be, if somebody else could
        assert (f" as user {getpass.getuser()}" in told.last_error) == ours
        files.code = 0
        await acron_time.advance(minutes=10)
        assert (await app.status()).state == "ok"
        runs = await app.runs("beat")
    assert fired == len({run.scheduled_at for run in runs}) == 10
    assert {run.state for run in runs} == {RunState.SUCCEEDED}
