# ruff: noqa: ASYNC240 - a test may block
from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from acron.errors import ConfigError
from acron.specs import Call
from acron.stores import open_store, sqlite_file, sqlite_prune, sqlite_rows
from acron.stores.sqlite import SqliteStore
from acron.testing.contracts._stores_base import (
    CAN,
    NOW,
    Refused,
    a_job,
    a_skip,
    at,
    end_of,
    ended,
    keeps,
    removes,
    starts,
)
from acron.testing.contracts.stores import StoreContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from acron.abc import Store
    from acron.model import Decision, Job


class TestSqliteStore(StoreContract):
    async def make_store(self, room: Path) -> Store:
        return SqliteStore(room / "bot.db")


@pytest.fixture(autouse=True)
def _virtual_time(acron_time: object) -> None:
    """Waiting for other stores takes no time."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "bot.db")
    await opened.open(NOW)
    yield opened
    await opened.close()


async def put(store: Store, *jobs: Job) -> None:
    await store.write([job.id for job in jobs], keeps(*jobs), NOW)


# --- addresses ---


@pytest.mark.parametrize(
    "address, path",
    [
        ("sqlite:///jobs.db", "{here}/jobs.db"),
        ("sqlite:////var/lib/bot/jobs.db", "/var/lib/bot/jobs.db"),
        ("SQLite:///a%20b.db", "{here}/a%20b.db"),
    ],
)
def test_the_address_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found = open_store(address, tmp_path / "home")
    assert isinstance(found, SqliteStore)
    assert found.address == "sqlite:///" + path.format(here=tmp_path)
    assert open_store(found.address, tmp_path).address == found.address


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://host/x",
        "sqlite:///x?y",
        "sqlite:///x/",
        "sqlite:////tmp",
        "sqlite:///a\n.db",
    ],
)
def test_what_names_no_file_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError):
        open_store(address, tmp_path)


# --- files ---


async def test_only_the_owner_may_read_it(store: SqliteStore, tmp_path: Path) -> None:
    await put(store, a_job("a"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("bot.db*")}
    assert modes == {"bot.db": 0o600, "bot.db-wal": 0o600, "bot.db-shm": 0o600}


async def test_all_who_come_by_a_link_meet(store: SqliteStore, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "bot.db")
    other = SqliteStore(link)
    await other.open(NOW)
    await put(other, a_job("a"))
    await other.close()
    assert await store.get("a") == a_job("a")
    assert not list(tmp_path.glob("link.db-*"))


async def test_commits_are_synced(store: SqliteStore) -> None:
    def ask() -> tuple[object, ...]:
        db = store._file.connection()
        return tuple(
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        )

    assert await store._do(ask) == ("wal", 2)


# --- look-ups ---


QUESTIONS = ["_NEEDED", "_DUE_JOBS", "_LAST_JOB", "_DUE_RUNS", "_LAST_RUN"]
QUESTIONS += ["_ENDING", "_KNOWN", "_LANES", "_NEXT_DUE"]


@pytest.mark.parametrize("name", QUESTIONS)
async def test_no_question_of_a_fire_walks_over_all_rows(store: SqliteStore, name: str) -> None:
    statement: str = getattr(sqlite_rows, name)
    statement = sqlite_rows.many(statement, 1, 4) if "%s" in statement else statement
    asked = ["[]", 1, 1, 1, "", 1, ""]

    def explain() -> list[str]:
        db = store._file.connection()
        count = (
            4 if name == "_KNOWN" else max(int(one) for one in "1234567" if f"?{one}" in statement)
        )
        return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", asked[:count])]

    plan = await store._do(explain)
    assert any("SEARCH" in step for step in plan)
    assert not [
        step
        for step in plan
        if step.startswith(("SCAN jobs", "SCAN runs", "SCAN r ", "SCAN o ")) or "TEMP" in step
    ]


async def test_oldest_first_over_many_pages_of_many_actions(store: SqliteStore) -> None:
    jobs = [a_job(f"j{n:03}", -n // 3, action=Call("fgh"[n % 3])) for n in range(300)]
    await put(store, *jobs, a_job("other", -999, action=Call("nobody")))
    asked: list[str] = []

    def decide(due: object, mint: object) -> Decision | None:
        asked.append(due.job.id)  # type: ignore[attr-defined]
        return starts()(due, mint) if len(asked) % 3 == 0 else None  # type: ignore[arg-type]

    claimed = await store.claim(NOW, 7, {"call:f", "call:g", "call:h"}, decide)
    expected = sorted(jobs, key=lambda job: (job.next_fire_at or NOW, job.id))
    assert len(claimed) == 7
    assert asked == [job.id for job in expected[:21]]
    asked.clear()
    assert await store.claim(NOW, 500, {"call:f", "call:g", "call:h"}, lambda *_: None) == []
    asked.clear()
    everything = {"call:f", "call:g", "call:h"}
    assert len(await store.claim(NOW, 500, everything, starts())) == 293


@pytest.mark.parametrize("count", [1, 3, 19, 99, 625, 1234])
async def test_any_number_of_rows_is_written(store: SqliteStore, count: int) -> None:
    await put(store, *(a_job(f"j{n}") for n in range(count)))
    decisions = await store.claim(NOW, 10_000, CAN, starts(skips=(a_skip("x"),)))
    assert len(decisions) == count
    results = await store.finish([end_of(one.runs[0]) for one in decisions], ended)
    assert None not in results
    assert len(await store.runs(limit=9999)) == len(await store.skips(limit=9999)) == count
    await store.write([f"j{n}" for n in range(count)], removes, NOW)
    assert await store.page() == []


async def test_the_jobs_of_one_program(store: SqliteStore) -> None:
    mine = [a_job(f"m{n}", app="bot") for n in range(3)]
    await put(store, *mine, a_job("other", app="web"), a_job("dynamic"))
    assert await store.page(app="bot") == mine
    assert await store.page("m0", 1, app="bot") == mine[1:2]


async def test_a_bare_id_of_odd_text_does_not_leak_into_others(store: SqliteStore) -> None:
    await put(store, a_job("a\x00b"), a_job("a"))
    await store.write(["a"], removes, NOW)
    assert [job.id for job in await store.page()] == ["a\x00b"]


# --- retention and news ---


async def test_pruning_goes_in_steps(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_prune, "ROWS", 7)
    monkeypatch.setattr(sqlite_prune, "_JOBS", 2)
    await put(store, *(a_job(f"j{n}") for n in range(5)))
    for _ in range(20):
        claimed = await store.claim(NOW, 99, CAN, starts(then=0.0, skips=(a_skip("j1", 5),)))
        await store.finish([end_of(one.runs[0]) for one in claimed], ended)
    assert await store.prune(NOW, 3) == 5 * 17 + 97
    assert len(await store.runs(limit=999)) == 15
    assert len(await store.skips(limit=999)) == 3
    assert await store.prune(at(99), 3) == 18


async def test_firing_elsewhere_is_no_news(store: SqliteStore, tmp_path: Path) -> None:
    await put(store, a_job("a"))
    assert await store.changed(5)
    other = SqliteStore(tmp_path / "bot.db")
    await other.open(NOW)
    (decision,) = await other.claim(NOW, 9, CAN, starts(then=60.0))
    await other.finish([end_of(decision.runs[0])], ended)
    assert not await store.changed(2)
    await put(other, a_job("b"))
    assert await store.changed(2)
    assert not await store.changed(2)
    await other.close()


async def test_what_came_between_is_news_beside_our_own(store: SqliteStore) -> None:
    job = a_job("a", 60)
    await put(store, job)
    with closing(sqlite3.connect(store.directory / "bot.db")) as db, db:
        db.execute("UPDATE meta SET news = news + 1")
    await put(store, replace(job, name="b"))
    assert await store.changed(1)
    assert not await store.changed(1)


async def test_the_log_is_moved_into_the_database_in_time(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "COMMITS", 5)
    log = tmp_path / "bot.db-wal"
    sizes = []
    for n in range(40):
        await put(store, a_job(f"j{n}"))
        sizes.append(log.stat().st_size)
    assert max(sizes[10:]) == max(sizes[:10]), "the log is written from its start again"
    assert len(await store.page()) == 40


async def test_a_long_reader_stops_no_writer(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "ROWS", 5)
    monkeypatch.setattr(sqlite_file, "CHECKPOINT_WAIT", 0.01)
    await put(store, a_job("a"))
    with closing(sqlite3.connect(tmp_path / "bot.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
        for n in range(40):
            await put(store, a_job(f"j{n}"))
        assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
    assert len(await store.page()) == 41


# --- group commit ---


async def test_adds_that_come_together_share_commits(store: SqliteStore) -> None:
    commits: list[str] = []
    await store._do(
        lambda: store._file.connection().set_trace_callback(
            lambda text: commits.append(text) if text == "COMMIT" else None
        )
    )
    await asyncio.gather(*(put(store, a_job(f"j{n:03}", n)) for n in range(250)))
    assert len(await store.page()) == 250
    assert 1 < len(commits) <= 4


async def test_a_claim_and_the_ends_of_the_tick_before_share_a_commit(store: SqliteStore) -> None:
    await put(store, a_job("a"))
    ((run,),) = [one.runs for one in await store.claim(NOW, 9, CAN, starts())]
    await put(store, a_job("b"))
    await put(store, a_job("c"))
    commits: list[str] = []
    await store._do(
        lambda: store._file.connection().set_trace_callback(
            lambda text: commits.append(text) if text == "COMMIT" else None
        )
    )
    held = threading.Event()
    busy = asyncio.ensure_future(store._do(lambda: held.wait(9)))
    ending = asyncio.ensure_future(store.finish([end_of(run)], ended))
    claiming = asyncio.ensure_future(store.claim(NOW, 9, CAN, starts()))
    await asyncio.sleep(0)
    held.set()
    await busy
    (done,) = await ending
    claimed = await claiming
    assert done is not None
    assert {one.job.id for one in claimed if one.job} == {"b", "c"}
    assert len(commits) == 1


async def test_an_answer_waits_for_no_commit(store: SqliteStore) -> None:
    await put(store, a_job("a"))
    held = threading.Event()
    busy = asyncio.ensure_future(store._do(lambda: held.wait(9)))
    try:
        assert len(await store.page()) == 1
        assert not busy.done()
    finally:
        held.set()
        await busy


async def test_whoever_spoils_a_shared_commit_spoils_his_own(store: SqliteStore) -> None:
    def refuse(*_: object) -> Decision:
        raise Refused

    def stop(*_: object) -> Decision:
        raise StopIteration

    bad = a_job("bad", name="\ud800")  # no text for a database
    first, second, third = (put(store, a_job(f"j{n}")) for n in range(3))
    refused, stopped = (store.write(["a"], how, NOW) for how in (refuse, stop))
    writes = (first, refused, put(store, bad), stopped, second, third)
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(one) for one in results if one is not None] == [
        Refused,
        UnicodeEncodeError,
        RuntimeError,
    ]
    assert [job.id for job in await store.page()] == ["j0", "j1", "j2"]


async def test_a_caller_who_gives_up_stops_nobody(store: SqliteStore) -> None:
    writes = [asyncio.ensure_future(put(store, a_job(f"j{n}"))) for n in range(5)]
    await asyncio.sleep(0)
    writes[0].cancel()
    writes[3].cancel()
    await asyncio.wait(writes)
    found = {job.id for job in await store.page()}
    assert {"j1", "j2", "j4"} <= found


async def test_what_was_dropped_leaves_nothing_and_can_be_opened_again(store: SqliteStore) -> None:
    await put(store, a_job("a"))
    await store.page()
    store.drop()
    assert store._view._connection is None
    await store.open(NOW)
    assert [job.id for job in await store.page()] == ["a"]


async def test_a_bad_record_is_never_thought_good(store: SqliteStore) -> None:
    """Two threads ask: while one looks again, the other must not write over it."""
    await put(store, a_job("a"))
    spoil = "UPDATE jobs SET data = '{}' WHERE id = 'a'"
    await store._do(lambda: store._file.connection().execute(spoil))
    known: list[bool] = []

    def look(_: str) -> None:
        known.append("a" in store._bad)

    assert await store.page() == []
    await store._ask(lambda _: store._view.connection().set_trace_callback(look))
    assert len(await store.problems()) == 1
    assert known == [True, True]
