"""Stores in files look for what others wrote; in virtual time, when somebody may have."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, Command
from acron.errors import StoreError
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


async def test_what_the_test_itself_does_is_seen_though_it_waits_for_something_else(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    file, called = tmp_path / "jobs.json", asyncio.Event()
    app = Acron(str(file))

    @app.action
    async def note() -> None:
        called.set()

    async with app:
        await acron_time.advance(10.1)
        begun = acron_time.clock.monotonic()
        mine = {"id": "mine", "schedule": "every 5s", "call": app._name_of(note)}
        file.write_text(json.dumps({"jobs": [mine]}))
        await called.wait()
        assert acron_time.clock.monotonic() - begun < 7


@pytest.mark.parametrize("store", STORES)
async def test_what_was_written_while_nobody_waited_is_news_all_the_same(
    store: str, acron_time: VirtualTime, tmp_path: Path
) -> None:
    reader, writer = Acron(store.format(tmp_path)), Acron(store.format(tmp_path))
    async with reader.attached(), writer.attached():
        await acron_time.advance(5)

        async def listen() -> float:
            await asyncio.sleep(3)
            begun = acron_time.clock.monotonic()
            assert await reader.store.changed(300)
            return acron_time.clock.monotonic() - begun

        task = asyncio.create_task(listen())
        await acron_time.advance(1)
        await writer.add("in 2h", Command("true"))
        await acron_time.advance(600)
        assert await task < 1


async def test_a_look_that_fails_is_repeated(
    acron_time: VirtualTime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = Acron(f"sqlite:///{tmp_path}/bot.db"), Acron(f"sqlite:///{tmp_path}/bot.db")
    async with reader.attached(), writer.attached():
        await acron_time.advance(5)
        await reader.store.changed(0)
        with monkeypatch.context() as patched:
            patched.setattr(SqliteStore, "_look", _fails)
            await writer.add("in 2h", Command("true"))
            with pytest.raises(StoreError, match="disk"):
                await reader.store.changed(600)
        assert await reader.store.changed(600)


def _fails(_: SqliteStore) -> None:
    raise StoreError("the disk")
