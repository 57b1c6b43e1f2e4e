"""FAULTS 8-19 as far as they are SQLite's: full, read-only, cut off, locked, newer, foreign."""

from __future__ import annotations

import getpass
import os
import shutil
import sqlite3
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from acron.errors import StoreCorrupt, StoreError, StoreLocked, StoreUnavailable
from acron.model import Decision, RunState
from acron.stores.sqlite import SqliteStore
from acron.testing.contracts._stores_base import (
    CAN,
    NOW,
    a_job,
    a_node,
    end_of,
    ended,
    keeps,
    starts,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from acron.model import Job
    from tests.disks import SmallDisk


@asynccontextmanager
async def opened(path: Path, node: str | None = None, **how: float) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, **how)
    try:
        await store.open(NOW, None if node is None else a_node(node))
        yield store
    finally:
        await store.close()


async def put(store: SqliteStore, *jobs: Job) -> None:
    await store.write([job.id for job in jobs], keeps(*jobs), NOW)


async def refused(path: Path, kind: type[StoreError]) -> str:
    """Opening fails so, and leaves the file as it was."""
    before = path.read_bytes()
    with pytest.raises(kind) as caught:
        async with opened(path):
            pass
    assert path.read_bytes() == before
    assert str(path) in str(caught.value)
    return str(caught.value)


async def filled(path: Path, jobs: int = 50) -> None:
    async with opened(path) as store:
        await put(store, *(a_job(f"j{n}") for n in range(jobs)))


# ruff: noqa: ASYNC240 - a test may block
# --- what is no database of ours ---


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    assert "newer acron (schema 99" in await refused(path, StoreCorrupt)


async def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE recipes (id)")
    assert "another program" in await refused(path, StoreCorrupt)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    path.write_bytes(b'{"jobs": []}' * 1000)
    assert "not a database" in await refused(path, StoreCorrupt)


@pytest.mark.parametrize("part", [0.01, 0.3, 0.9])
async def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, part: float) -> None:
    path = tmp_path / "jobs.db"
    await filled(path, 500)
    os.truncate(path, int(path.stat().st_size * part))
    await refused(path, StoreCorrupt)


async def test_an_empty_file_with_a_log_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with opened(path) as store:
        await put(store, a_job("a"))
        for end in ("", "-wal"):  # as a crash leaves them
            shutil.copy(f"{path}{end}", tmp_path / f"cut.db{end}")
    cut = tmp_path / "cut.db"
    os.truncate(cut, 0)
    log = (tmp_path / "cut.db-wal").read_bytes()
    assert "cut off" in await refused(cut, StoreCorrupt)
    assert (tmp_path / "cut.db-wal").read_bytes() == log


async def test_an_empty_file_alone_is_a_new_database(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    path.touch()
    await filled(path)


async def test_a_page_of_junk_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    await filled(path, 500)
    with path.open("r+b") as file:
        for page in range(2, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="nothing was overwritten"):
        async with opened(path) as store:
            await store.page()
    assert path.read_bytes() == before


# --- the disk ---


async def test_a_crash_keeps_what_was_committed(tmp_path: Path) -> None:
    path, crashed = tmp_path / "jobs.db", tmp_path / "crashed.db"
    async with opened(path, "n1") as store:
        await put(store, a_job("a"))
        await store.claim(NOW, 9, CAN, starts())
        for end in ("", "-wal"):
            shutil.copy(f"{path}{end}", f"{crashed}{end}")
    async with opened(crashed) as store:
        assert [run.state for run in await store.runs()] == [RunState.RUNNING]


async def test_a_log_cut_anywhere_is_whole_transactions(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with opened(path) as store:
        sizes = []
        for n in range(8):
            await store.write([f"a{n}", f"b{n}"], lambda job_id, *_: Decision(a_job(job_id)), NOW)
            sizes.append((tmp_path / "jobs.db-wal").stat().st_size)
        data, log = path.read_bytes(), (tmp_path / "jobs.db-wal").read_bytes()
    seen = set()
    for size in range(sizes[0], len(log) + 1, 1357):
        cut = tmp_path / f"{size}.db"
        cut.write_bytes(data)
        (tmp_path / f"{size}.db-wal").write_bytes(log[:size])
        async with opened(cut) as store:
            ids = {job.id for job in await store.page()}
        whole = sum(one <= size for one in sizes)
        assert ids == {f"{letter}{n}" for n in range(whole) for letter in "ab"}
        seen.add(whole)
    assert len(seen) > 4


async def put_until_it_fails(store: SqliteStore) -> None:
    for n in range(1000):
        await put(store, a_job(f"more{n}", 60.0 + n))


async def test_a_full_disk_fails_the_transaction_and_heals(small_disk: SmallDisk) -> None:
    path = small_disk.place / "jobs.db"
    async with opened(path) as store:
        await put(store, *(a_job(f"j{n}") for n in range(20)))
        small_disk.fill()
        with pytest.raises(StoreUnavailable) as caught:
            await put_until_it_fails(store)
        assert str(path) in str(caught.value)
        assert f" as user {getpass.getuser()}" in str(caught.value)
        kept = len(await store.page())
        with pytest.raises(StoreUnavailable):
            await store.claim(NOW, 500, CAN, starts())
        assert await store.runs() == []
        assert len(await store.page()) == kept
        small_disk.empty()
        assert len(await store.claim(NOW, 500, CAN, starts())) == 20
    async with opened(path) as store:
        assert len(await store.runs()) == 20
        assert len(await store.page()) == kept


async def test_a_read_only_file_system(small_disk: SmallDisk) -> None:
    path = small_disk.place / "jobs.db"
    await filled(path)
    small_disk.make_read_only()
    with pytest.raises(StoreUnavailable) as caught:
        async with opened(path) as store:
            await store.claim(NOW, 9, CAN, starts())
    assert str(path) in str(caught.value)
    assert f" as user {getpass.getuser()}" in str(caught.value)


async def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="file"):
        async with opened(tmp_path / "file" / "jobs.db"):
            pass


async def test_a_file_deleted_under_us_is_no_silent_loss(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with opened(path) as store:
        await put(store, a_job("a"))
        path.unlink()
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            await put(store, a_job("b"))
        with pytest.raises(StoreUnavailable):
            await put(store, a_job("b"))
        assert not path.exists()


# --- the lock ---


async def test_a_locked_database_is_a_bounded_wait(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with opened(path, "n1", lock_wait=0.1) as store:
        await put(store, a_job("a"))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreLocked, match="locked for more than") as caught:
                await store.claim(NOW, 9, CAN, starts())
            assert caught.value.holder == "another process"
            assert await store.get("a") == a_job("a"), "reading needs no lock"
        async with opened(path, "n2") as two:
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(StoreLocked) as caught:
                    await store.claim(NOW, 9, CAN, starts())
            assert caught.value.holder == "process 1 on here (suite)"
            assert await two.get("a") is not None
        assert len(await store.claim(NOW, 9, CAN, starts())) == 1


async def test_many_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    import asyncio

    stores = [SqliteStore(tmp_path / "jobs.db") for _ in range(8)]
    await asyncio.gather(*(store.open(NOW) for store in stores))
    await asyncio.gather(*(put(store, a_job(f"j{n}")) for n, store in enumerate(stores)))
    assert len(await stores[0].page()) == 8
    for store in stores:
        await store.close()


async def test_tables_made_while_we_look_are_not_another_program_s(tmp_path: Path) -> None:
    path, looks = tmp_path / "jobs.db", iter([True])

    class Interrupted(sqlite3.Connection):
        """Another process makes its tables between the first question and the second."""

        def execute(self, *args: Any) -> sqlite3.Cursor:
            if "application_id" in args[0] and next(looks, False):
                with (
                    closing(sqlite3.connect(path, timeout=0)) as other,
                    suppress(sqlite3.OperationalError),  # locked: it has to wait
                ):
                    other.execute("CREATE TABLE jobs (id)")
            return super().execute(*args)

    with closing(sqlite3.connect(path, isolation_level=None, factory=Interrupted)) as connection:
        assert SqliteStore(path)._file._version(connection) == 0
    assert next(looks, None) is None, "it was interrupted"


# --- one junk record ---


async def test_a_junk_record_stops_no_sibling(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    await filled(path, 9)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE jobs SET data = json_set(data, '$.fired', 'many') WHERE id = 'j4'")
    async with opened(path) as store:
        assert len(await store.claim(NOW, 4, CAN, starts())) == 4
        assert len(await store.claim(NOW, 9, CAN, starts())) == 4
        assert len(await store.page()) == 8
        (problem,) = await store.problems()
        assert "'j4'" in problem
        assert "fired" in problem
        with pytest.raises(StoreCorrupt, match="j4"):
            await store.get("j4")
        with pytest.raises(StoreCorrupt, match="j4"):
            await put(store, a_job("j4"))
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE jobs SET data = json_set(data, '$.fired', 0) WHERE id = 'j4'")
        assert len(await store.claim(NOW, 9, CAN, starts())) == 1
        assert await store.problems() == []


@pytest.mark.parametrize("broken", ["json_remove(data, '$.id')", "json_set(data, '$.id', 'x')"])
async def test_a_record_that_lost_its_id_leaves_no_tags_to_what_takes_its_place(
    tmp_path: Path, broken: str
) -> None:
    path = tmp_path / "jobs.db"
    async with opened(path) as store:
        await put(store, a_job("a", tags=("old",)))
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(f"UPDATE jobs SET data = {broken} WHERE id = 'a'")
        await put(store, a_job("a"))
        assert await store.page(tag="old") == []
        assert await store.remove_tagged("old", NOW) == 0


async def test_a_failing_function_leaves_the_connection_usable(tmp_path: Path) -> None:
    def stop(*_: object) -> Decision:
        raise StopIteration

    async with opened(tmp_path / "jobs.db") as store:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await store.write(["a"], stop, NOW)
        with pytest.raises(UnicodeEncodeError):
            await put(store, a_job("\ud800"))
        await put(store, a_job("a"))
        (decision,) = await store.claim(NOW, 9, CAN, starts())
        (run,) = decision.runs
        late = replace(end_of(run), token=run.token + 1)
        assert await store.finish([late, end_of(run)], ended) == [None, _any(run.id)]


class _any:  # noqa: N801
    """Equal to the decision that ended this run."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decision) and [one.id for one in other.runs] == [self._run_id]

    __hash__ = None  # type: ignore[assignment]
