"""A store's copy holds all that the store held, whatever kinds of stores the two are."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec.structs import replace

from acron import Acron, Command, JobConflict, Retry
from acron.errors import StoreUnavailable
from acron.model import Decision, Delivery, Job, Run, RunState
from acron.moving import Report
from acron.moving.archive import BadArchive, Totals, bundles, export, header_of
from acron.moving.restore import restore
from acron.occurrences import ALL
from acron.stores.json_file import JsonFileStore
from acron.stores.memory import MemoryStore
from acron.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from acron.abc import Change, Store
    from acron.testing import VirtualTime

KINDS = ("memory", "json", "sqlite")


def make(kind: str, room: Path) -> Store:
    if kind == "memory":
        return MemoryStore()
    return JsonFileStore(room / "jobs.json") if kind == "json" else SqliteStore(room / "jobs.db")


@asynccontextmanager
async def opened(kind: str, room: Path, now: datetime) -> AsyncIterator[Store]:
    store = make(kind, room)
    await store.open(now)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def with_a_past(kind: str, room: Path, acron_time: VirtualTime) -> AsyncIterator[Store]:
    store = make(kind, room)
    try:
        await lived(store, acron_time)
        yield store
    finally:
        await store.close()


async def lived(store: Store, acron_time: VirtualTime) -> None:
    """Open it, and give it a past: successes, failures, retries, skips, pauses, a removed job,
    unknown fields, a run that goes on and one that waits."""
    app = Acron(store, clock=acron_time.clock, drain_timeout=1.0)

    async def work(fail: bool = False) -> str:
        if fail:
            raise ValueError("não")
        return "fine ☕"

    async def slow() -> None:
        await asyncio.sleep(90)

    app.action(work)
    app.action(slow)
    async with app:
        await app.add("every 1m", work, id="tea", tz="Europe/Paris", tags=["a"], deliver=["local"])
        await app.add("every 1m", slow, id="slow")
        fails: dict[str, Any] = {"kwargs": {"fail": True}, "retry": Retry(attempts=2, delay=40)}
        await app.add("every 2m", work, id="bad", pause_after=9, **fails)
        await app.add(
            "0 9 * * *", work, id="daily", name="Every day", until=acron_time.now() + YEAR
        )
        await app.add("every 1m", work, id="gone")
        await app.add("in 90s", Command("true"), id="once", paused="not now")
        await acron_time.advance(minutes=3)
        await app.remove("gone")
        await app.pause("daily", "rest")
        await acron_time.advance(minutes=10)
    await store.open(acron_time.now())
    await store.write(["tea", "daily"], hang, acron_time.now())


YEAR = timedelta(days=366)


def hang(job_id: str, job: Job | None, _: Sequence[Run], mint: Callable[[], int]) -> Decision:
    """As a process leaves it that dies: one run going on, one waiting; and unknown fields."""
    assert job is not None
    assert job.created_at is not None
    token = mint()
    run = Run(id=f"r{token}", job_id=job_id, due_at=job.created_at)
    if job_id == "daily":
        return Decision(replace(job, extra={"colour": {"of": ["tea", 1.5, None]}}), runs=(run,))
    going = {"state": RunState.RUNNING, "token": token, "started_at": job.created_at, "node": "x"}
    sent = (Delivery("local", state="pending"),)
    ended = replace(
        run, id=f"r{mint()}", token=token + 1, state=RunState.SUCCEEDED, deliveries=sent
    )
    return Decision(job, runs=(replace(run, **going), replace(ended, attempt=7)))


async def archived(store: Store, now: datetime) -> list[bytes]:
    pieces = [piece async for piece in export(store, now, Totals())]
    return b"".join(pieces).splitlines(keepends=True)


async def everything(store: Store) -> dict[str, Any]:
    runs = await store.runs(limit=ALL)
    skips = [
        await store.skips(job_id, limit=ALL)
        for job_id in sorted({one.job_id for one in await store.skips(limit=ALL)})
    ]
    return {"jobs": await store.page(), "runs": runs, "skips": skips}


async def bring(store: Store, lines: list[bytes], now: datetime, **how: Any) -> Report:
    report = Report()
    await restore(store, lambda: bundles(lines), now, report, **how)
    return report


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
async def test_a_copy_is_the_whole_store(
    source: str, target: str, tmp_path: Path, acron_time: VirtualTime
) -> None:
    (tmp_path / "a").mkdir()
    async with with_a_past(source, tmp_path / "a", acron_time) as old:
        before, lines = await everything(old), await archived(old, acron_time.now())
    now = acron_time.now()
    async with opened(target, tmp_path / "b", now) as new:
        report = await bring(new, lines, now)
        after = await everything(new)
    assert len(before["jobs"]) == 5
    assert len(before["runs"]) > 20
    assert {run.job_id for run in before["runs"]} > {"gone", "bad", "slow"}
    assert before["skips"]
    assert after["jobs"] == before["jobs"]
    assert after["skips"] == before["skips"]
    going = [run for run in before["runs"] if run.state is RunState.RUNNING]
    assert len(going) == 1
    told = "it was running in the store that this is a copy of"
    unknown = {"state": RunState.UNKNOWN, "finished_at": now, "error": told}
    assert after["runs"] == [
        replace(run, **unknown) if run in going else run for run in before["runs"]
    ]
    assert (report.added, report.runs) == (5, len(before["runs"]))
    if target != "memory":  # and it is durable
        async with opened(target, tmp_path / "b", now) as again:
            assert await everything(again) == after


@pytest.mark.parametrize("target", KINDS)
async def test_the_same_import_again_changes_nothing(
    target: str, tmp_path: Path, acron_time: VirtualTime
) -> None:
    async with with_a_past("memory", tmp_path, acron_time) as old:
        lines = await archived(old, acron_time.now())
    async with opened(target, tmp_path, acron_time.now()) as new:
        await bring(new, lines, acron_time.now())
        before = await everything(new)
        report = await bring(new, lines, acron_time.now())
        assert await everything(new) == before
    assert report == Report(unchanged=5)


@pytest.mark.parametrize("target", KINDS)
async def test_new_tokens_are_larger_than_those_imported(
    target: str, tmp_path: Path, acron_time: VirtualTime
) -> None:
    async with with_a_past("memory", tmp_path, acron_time) as old:
        lines = await archived(old, acron_time.now())
        newest = max(int(run.id[1:]) for run in await old.runs(limit=ALL))
    async with opened(target, tmp_path, acron_time.now()) as new:
        await bring(new, lines, acron_time.now())
        assert await minted(new, acron_time.now()) > newest


async def minted(store: Store, now: datetime) -> int:
    tokens: list[int] = []

    def change(_: str, job: Job | None, __: Any, mint: Callable[[], int]) -> Decision:
        tokens.append(mint())
        return Decision(job)

    await store.write(["tea"], change, now)
    return tokens[-1]


@pytest.mark.parametrize("target", KINDS)
async def test_runs_get_new_numbers_where_theirs_are_taken(
    target: str, tmp_path: Path, acron_time: VirtualTime
) -> None:
    async with with_a_past("memory", tmp_path, acron_time) as old:
        was, lines = await everything(old), await archived(old, acron_time.now())
    app = Acron(new := make(target, tmp_path), clock=acron_time.clock)
    async with app.attached():
        await app.add("every 1h", Command("true"), id="own")
        mine = await app.run_now("own")
        await app.cancel(mine.id)
        await bring(new, lines, acron_time.now())
        (own,) = await new.runs("own")
        moved = [run for run in await new.runs(limit=ALL) if run.job_id != "own"]
        assert (own.id, own.state) == (mine.id, "cancelled")
        assert [keyed(run) for run in moved] == [keyed(run) for run in was["runs"]]  # the order
        assert len({run.id for run in moved} | {own.id}) == len(was["runs"]) + 1
        tokens = [run.token for run in reversed(moved) if run.token]
        assert tokens == sorted(set(tokens))
        assert min(tokens) > int(own.id[1:])
        assert await minted(new, acron_time.now()) > max(tokens)
        again = await bring(new, lines, acron_time.now())
        assert (again.added, again.runs, again.unchanged) == (0, 0, 5)


def keyed(run: Run) -> tuple[Any, ...]:
    return run.job_id, run.scheduled_at, run.attempt, run.due_at, run.started_at


async def test_a_moved_job_goes_on_where_it_was(tmp_path: Path, acron_time: VirtualTime) -> None:
    def app_on(store: Store) -> Acron:
        app = Acron(store, clock=acron_time.clock)

        @app.action
        def work() -> None: ...

        return app

    start = acron_time.now()
    old, new = MemoryStore(), JsonFileStore(tmp_path / "jobs.json")
    async with (app := app_on(old)):
        await app.add("every 1m", "work", id="tea", repeat=6)
        await acron_time.advance(minutes=3, seconds=10)
    async with app.attached(), app_on(new).attached() as there:
        lines = await archived(app.store, acron_time.now())
        await bring(there.store, lines, acron_time.now())
    async with (app := app_on(new)):
        await acron_time.advance(minutes=30)
        runs = await app.runs("tea")
        job = await app.get("tea")
    instants = [start + timedelta(minutes=n) for n in range(1, 7)]
    assert [run.scheduled_at for run in reversed(runs)] == instants
    assert (job.fired, job.completed) == (6, True)


# --- conflicts and failures ---------------------------------------------------------------------


async def one_job(acron_time: VirtualTime, command: str = "true", **fields: Any) -> list[bytes]:
    async with Acron(MemoryStore(), clock=acron_time.clock) as app:
        await app.add("every 1h", Command(command), id="tea", **fields)
        await app.run_now("tea", wait=True)
        return await archived(app.store, acron_time.now())


@pytest.mark.parametrize(
    "how,command,runs",
    [("replace", "new", 2), ("keep", "old", 1)],
)
async def test_a_conflict_is_decided_by_who_imports(
    how: str, command: str, runs: int, acron_time: VirtualTime
) -> None:
    mine = await one_job(acron_time, "old")
    await acron_time.advance(minutes=5)
    theirs = await one_job(acron_time, "new")
    store = MemoryStore()
    await store.open(acron_time.now())
    await bring(store, mine, acron_time.now())
    before = await everything(store)
    with pytest.raises(JobConflict, match="tea"):
        await bring(store, theirs, acron_time.now())
    assert await everything(store) == before
    dry = await bring(store, theirs, acron_time.now(), on_conflict=how, dry_run=True)
    assert await everything(store) == before
    report = await bring(store, theirs, acron_time.now(), on_conflict=how)
    assert report == dry
    assert report == Report(replaced=how == "replace", kept=how == "keep", runs=runs - 1)
    job = await store.get("tea")
    assert job is not None
    assert job.action == Command(command)
    assert len(await store.runs("tea")) == runs


class Failing(MemoryStore):
    """Takes ``left`` transactions, then none."""

    left = 10**9

    async def write(self, ids: Sequence[str], change: Change, now: datetime) -> list[Decision]:
        if self.left <= 0:
            raise StoreUnavailable("the disk is full", address="memory://")
        self.left -= 1
        return await super().write(ids, change, now)


async def test_an_import_that_failed_is_run_again(
    acron_time: VirtualTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acron.moving.restore.PAGE", 1)
    source = MemoryStore()
    await lived(source, acron_time)
    lines = await archived(source, acron_time.now())
    whole = MemoryStore()
    await whole.open(acron_time.now())
    await bring(whole, lines, acron_time.now())
    for stop in range(9):
        store = Failing()
        await store.open(acron_time.now())
        store.left, report = stop, Report()
        failed = False
        try:
            await restore(store, lambda: bundles(lines), acron_time.now(), report)
        except StoreUnavailable:
            failed = True
        there = await store.page()
        assert len(there) == report.added
        assert len(await store.runs(limit=ALL)) == report.runs
        assert failed == (stop < 8)
        store.left = 100
        again = await bring(store, lines, acron_time.now())
        assert again.added == 5 - report.added
        assert await everything(store) == await everything(whole)


async def test_jobs_of_a_page_are_one_transaction(acron_time: VirtualTime) -> None:
    store = Failing()
    await store.open(acron_time.now())
    app = Acron(MemoryStore(), clock=acron_time.clock)
    async with app.attached():
        await app.add_many(
            {"id": f"job{n:04}", "schedule": "every 1h", "action": Command("true")}
            for n in range(5000)
        )
        lines = await archived(app.store, acron_time.now())
    store.left = 3
    report = await bring(store, lines, acron_time.now())
    assert report == Report(added=5000)
    assert len(await store.page(limit=9999)) == 5000


async def test_numbers_far_ahead_are_not_counted_up_to(acron_time: VirtualTime) -> None:
    lines = await one_job(acron_time)
    far = [line.replace(b'"r1"', b'"r%d"' % 2**60) for line in lines]
    assert far != lines
    store = MemoryStore()
    await store.open(acron_time.now())
    await bring(store, far, acron_time.now())
    (run,) = await store.runs("tea")
    assert int(run.id[1:]) < 10


# --- what is no archive -------------------------------------------------------------------------


async def test_every_cut_is_seen(acron_time: VirtualTime) -> None:
    lines = await one_job(acron_time)
    data = b"".join(lines)
    assert len(list(bundles(data.splitlines()))) == 1
    for length in range(len(data) - 1):
        with pytest.raises(BadArchive):
            list(bundles(data[:length].splitlines()))
    for missing in range(1, len(lines)):
        with pytest.raises(BadArchive):
            list(bundles(lines[:missing] + lines[missing + 1 :]))


def changed(lines: list[bytes], **fields: Any) -> list[bytes]:
    job = json.loads(lines[1])
    job["job"] |= fields
    return [lines[0], json.dumps(job).encode(), *lines[2:]]


@pytest.mark.parametrize(
    "fields,words",
    [
        ({"id": "../../etc"}, "line 2: .*not allowed"),
        ({"name": "a\x1b[2J"}, "printable"),
        ({"next_fire_at": "2026-11-22T12:00:00"}, "next_fire_at has no zone"),
        ({"fired": "many"}, "line 2: .*int"),
        ({"policy": {"repeat": 0}}, "at least 1"),
        ({"action": {"kind": "pickle"}}, "line 2"),
    ],
)
async def test_what_may_not_be_written_may_not_be_imported(
    fields: dict[str, Any], words: str, acron_time: VirtualTime
) -> None:
    lines = changed(await one_job(acron_time), **fields)
    with pytest.raises(BadArchive, match=words):
        list(bundles(lines))


async def test_broken_lines(acron_time: VirtualTime) -> None:
    lines = await one_job(acron_time)
    run = lines[2]
    cases: dict[str, list[bytes]] = {
        "not the id of a run": [*lines[:2], run.replace(b'"r1"', b'"x1"'), lines[3]],
        "beyond all bounds": [*lines[:2], run.replace(b'"r1"', b'"r%d"' % 2**62), lines[3]],
        "comes twice": [*lines[:3], lines[1], *lines[3:]],
        "follows the end": [*lines, lines[1]],
        "no job, no run": [*lines[:2], b'{"jab": 1}', *lines[2:]],
        "does not begin": lines[1:],
        "lines are missing": [*lines[:2], lines[3]],
        "nested too deep": [*lines[:1], b'{"job":' * 3000, *lines[1:]],
    }
    for words, given in cases.items():
        with pytest.raises(BadArchive, match=words):
            list(bundles(given))


def test_headers() -> None:
    assert header_of(b'{"acron": 1, "kind": "journal"}') is None
    assert header_of(b"[1]") is None
    assert header_of(b"[" * 5000) is None
    with pytest.raises(BadArchive, match="newer acron"):
        header_of(b'{"acron": 2, "kind": "export"}')


async def test_an_export_reads_a_job_at_a_time(acron_time: VirtualTime) -> None:
    """Pieces, not one text: so that memory stays flat."""
    app = Acron(MemoryStore(), clock=acron_time.clock)
    async with app.attached():
        rows = [
            {"id": f"j{n}", "schedule": "every 1h", "action": Command("true")} for n in range(9)
        ]
        await app.add_many(rows)
        pieces = [piece async for piece in export(app.store, acron_time.now(), Totals())]
    assert len(pieces) == 9 + 2


def test_bundles_are_read_one_by_one() -> None:
    """A reader that looked at all before giving the first would stumble here."""

    def lines() -> Iterator[bytes]:
        yield b'{"acron": 1, "kind": "export"}'
        for name in ("a", "b"):
            action = {"kind": "call", "name": "f", "kwargs": {}}
            job = {"id": name, "name": name, "schedule": "every 1h", "action": action}
            yield msgspec.json.encode({"job": job})
        raise OSError("so far")

    found = bundles(lines())
    assert next(found).job_id == "a"
    with pytest.raises(OSError, match="so far"):
        next(found)
