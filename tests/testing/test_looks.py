"""Stores in files look for what others wrote; in virtual time, when somebody may have."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron
from acron.stores.files import Files
from acron.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    from acron.testing import VirtualTime

STORES = ["sqlite:///{}/bot.db", "{}/jobs.json"]


@pytest.mark.parametrize("store", STORES)
async def test_a_day_in_which_nothing_happens_is_looked_at_seldom(
    store: str, acron_time: VirtualTime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def counted(original: Any) -> Any:
        def call(*args: Any) -> Any:
            nonlocal looks
            looks += 1
            return original(*args)

        return call

    monkeypatch.setattr(SqliteStore, "_look", counted(SqliteStore._look))
    monkeypatch.setattr(Files, "stamp", counted(Files.stamp))
    async with Acron(store.format(tmp_path)):
        await acron_time.advance(hours=1)
    assert 100 < looks < 1500  # and not 7200


@pytest.mark.parametrize("store", STORES)
async def test_what_others_in_the_same_test_do_is_seen_within_a_second(
    store: str, acron_time: VirtualTime, tmp_path: Path
) -> None:
    fired: list[float] = []
    async with Acron(store.format(tmp_path)) as app, Acron(store.format(tmp_path)).attached() as by:

        @app.action
        async def note() -> None:
            fired.append(acron_time.clock.monotonic())

        by.action(note)
        for pause in (0.0, 0.1, 3.3, 100.0, 4000.0):
            await acron_time.advance(pause)
            begun = acron_time.clock.monotonic()
            await by.add("in 1s", note)
            await acron_time.advance(2)
            assert fired.pop() - begun == pytest.approx(1, abs=0.01)

        async def later() -> None:
            await asyncio.sleep(7.7)
            await by.add("in 1s", note)

        task = asyncio.create_task(later())
        await acron_time.advance(9)
        await task
        assert len(fired) == 1


async def test_an_edit_by_hand_is_seen_within_a_second(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    file = tmp_path / "jobs.json"
    app = Acron(str(file))

    @app.action
    async def note() -> None: ...

    @app.job("every 1h")
    async def editor() -> None:  # beside the store, without a word to it
        edited = json.loads(file.read_text())
        edited["jobs"].append({"id": "mine", "schedule": "every 5s", "call": app._name_of(note)})
        file.write_text(json.dumps(edited))

    async with app:
        await acron_time.advance(hours=1, seconds=6)
        assert len(await app.runs("mine")) == 1
        file.write_text('{"jobs": []}')
        await acron_time.advance(1)
        assert [job.id async for job in app.jobs()] == []
