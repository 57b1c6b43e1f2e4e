"""Work by hand: arguments for one run, backfills, listening."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from acron import (
    Acron,
    Command,
    InvalidJob,
    JobConflict,
    JobNotFound,
    NodeNotFound,
    Retry,
    Run,
)
from acron.abc import Context  # noqa: TC001 (read at run time)
from acron.backfill import MOST
from acron.manual import _rest
from acron.model import Decision, RunState, Settings
from acron.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from acron.testing import VirtualTime

HOUR = timedelta(hours=1)


class Host:
    """A program with one hourly job, which fails at the instants that it is told to."""

    def __init__(self, acron_time: VirtualTime, store: Any = "memory://", **policy: Any) -> None:
        self.time = acron_time
        rare = Settings(interval=1e5)  # nothing here may hang on a look now and then
        self.app = Acron(store, clock=acron_time.clock, drain_timeout=1.0, settings=rare)
        self.app.action(self.work)
        self.policy = policy
        self.done: list[datetime | None] = []
        self.begun: list[float] = []
        self.broken: set[datetime | None] = set()
        self.takes = 0.0

    async def work(self, ctx: Context) -> None:
        self.begun.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.takes)
        if ctx.scheduled_at in self.broken:
            raise ValueError("not today")
        self.done.append(ctx.scheduled_at)

    async def add(self) -> datetime:
        """The first instant of the job."""
        job = await self.app.add("0 * * * *", self.work, id="job", **self.policy)
        assert job.next_fire_at is not None
        return job.next_fire_at


# --- arguments for one run -----------------------------------------------------------------------


async def test_arguments_for_one_run(acron_time: VirtualTime) -> None:
    said: list[tuple[int, str]] = []
    app = Acron("memory://", clock=acron_time.clock)

    @app.action
    async def tell(chat: int, text: str = "tea") -> None:
        said.append((chat, text))
        if text == "again" and len(said) < 3:
            raise ValueError("not yet")

    retry = Retry(attempts=3, delay=1)
    async with app:
        await app.add("every 1h", tell, kwargs={"chat": 1}, id="job", retry=retry)
        run = await app.run_now("job", kwargs={"text": "now"}, wait=True)
        assert run.kwargs == {"text": "now"}
        await app.run_now("job", kwargs={"chat": 2, "text": "again"})
        await acron_time.advance(10)
        assert said == [(1, "now"), (2, "again"), (2, "again")]
        assert (await app.run_now("job", wait=True)).kwargs is None
        assert said[-1] == (1, "tea")
        with pytest.raises(InvalidJob, match="text: expected"):
            await app.run_now("job", kwargs={"text": 7})
        with pytest.raises(InvalidJob, match="no argument 'txet'"):
            await app.run_now("job", kwargs={"txet": "x"})
        await app.add("every 1h", Command("true"), id="sh")
        with pytest.raises(InvalidJob, match="no function"):
            await app.run_now("sh", kwargs={"a": 1})
        assert len(await app.runs()) == 4


# --- backfill ------------------------------------------------------------------------------------


async def test_a_backfill_runs_what_has_no_succeeded_run(acron_time: VirtualTime) -> None:
    host = Host(acron_time)
    async with host.app as app:
        first = await host.add()
        host.broken = {first + HOUR, first + 3 * HOUR}
        await acron_time.advance(hours=5)
        assert len(host.done) == 3
        before = await app.get("job")
        host.broken = {first + 3 * HOUR}
        host.done.clear()
        begun = await app.backfill("job", first, first + 4 * HOUR)
        assert (begun.runs, begun.already) == (2, 2)
        assert begun.batch is not None
        assert begun.batch.startswith("b")
        again = await app.backfill("job", first, first + 4 * HOUR)  # while it waits
        assert (again.runs, again.already, again.batch) == (0, 4, None)
        await acron_time.advance(minutes=1)
        assert host.done == [first + HOUR]
        runs = [run for run in await app.runs("job") if run.batch == begun.batch]
        assert [(run.scheduled_at, run.attempt, run.state.value) for run in runs[::-1]] == [
            (first + HOUR, 2, "succeeded"),
            (first + 3 * HOUR, 2, "failed"),
        ]
        after = await app.get("job")
        assert (after.cursor, after.next_fire_at, after.fired) == (
            before.cursor,
            before.next_fire_at,
            before.fired,
        )
        host.broken.clear()
        third = await app.backfill("job", first, first + 4 * HOUR)
        assert (third.runs, third.already) == (1, 3)
        await acron_time.advance(minutes=1)
        rows = await app.occurrences("job", first, first + 4 * HOUR)
        assert [(row.fate, row.attempts) for row in rows] == [
            *(("succeeded", 1), ("succeeded", 2), ("succeeded", 1), ("succeeded", 3))
        ]
        assert (await app.backfill("job", first, first + 4 * HOUR)).runs == 0
        assert (await app.backfill("job", first, first + 2 * HOUR, again=True)).runs == 2


async def test_nothing_is_backfilled_before_its_instant(acron_time: VirtualTime) -> None:
    """By a clock that was put back the job's cursor is ahead; what is to come is to come."""
    host = Host(acron_time)
    async with host.app as app:
        first = await host.add()
        await acron_time.advance(hours=5)
        host.done.clear()
        acron_time.jump_clock(-3 * HOUR)
        begun = await app.backfill("job", first, first + 9 * HOUR, again=True)
        await acron_time.advance(minutes=10)
    assert begun.runs == 2
    assert host.done == [first, first + HOUR]


class Between(MemoryStore):
    """Lets others at work, once, when somebody has read the ledger and has not written yet."""

    others: Callable[[], Awaitable[None]] | None = None

    async def runs(self, *asked: Any, **more: Any) -> list[Run]:
        found = await super().runs(*asked, **more)
        others, self.others = self.others, None
        if others is not None:
            await others()
        return found


async def test_two_backfills_at_the_same_moment_run_no_instant_twice(
    acron_time: VirtualTime,
) -> None:
    store = Between()
    host = Host(acron_time, store)
    async with host.app as app:
        first = await host.add()
        instants = [first - n * HOUR for n in range(1, 4)]

        async def another() -> None:
            assert (await app.backfill("job", instants[-1], first)).runs == 3
            await asyncio.sleep(60)
            assert len(host.done) == 3, "its runs have ended: none is open"

        store.others = another
        told = await app.backfill("job", instants[-1], first)
        await acron_time.advance(minutes=2)
        assert (told.runs, told.already) == (0, 3)
    assert Counter(host.done) == dict.fromkeys(instants, 1)


async def test_a_backfill_of_a_job_that_never_rests_gives_up(acron_time: VirtualTime) -> None:
    store = Between()
    host = Host(acron_time, store)
    async with host.app as app:
        first = await host.add()
        edits = 0

        async def edit() -> None:
            nonlocal edits
            edits += 1
            store.others = edit
            await app.edit("job", name=f"the {edits}th")

        store.others = edit
        with pytest.raises(JobConflict, match="all the time"):
            await app.backfill("job", first - HOUR, first)
        store.others = None
        assert await app.runs("job") == []
        assert (await app.backfill("job", first - HOUR, first)).runs == 1


@pytest.mark.parametrize("store", ["memory://", "sqlite", "json"])
async def test_skipped_instants_are_filled_and_counted_once(
    acron_time: VirtualTime, tmp_path: Path, store: str
) -> None:
    where = {"sqlite": f"sqlite:///{tmp_path}/a.db", "json": str(tmp_path / "jobs.json")}
    host = Host(acron_time, where.get(store, store))
    async with host.app as app:
        first = await host.add()
        await app.pause("job")
        acron_time.jump_clock(6 * 3600)
        await app.resume("job")
        (skip,) = await app.skips("job")
        assert skip.count == 6
        begun = await app.backfill("job", first + HOUR, first + 3 * HOUR)
        assert begun.runs == 2
        await acron_time.advance(3)
        rows = await app.occurrences("job", first, first + 7 * HOUR)
        assert [(row.fate, row.count) for row in rows] == [
            *(("skipped", 1), ("succeeded", 1), ("succeeded", 1), ("skipped", 3), ("upcoming", 1))
        ]
        assert [row.scheduled_at for row in rows[1:4]] == [first + n * HOUR for n in (1, 2, 5)]
        assert rows[3].first_at == first + 3 * HOUR


async def test_a_paused_job_can_be_filled(acron_time: VirtualTime) -> None:
    host = Host(acron_time)
    async with host.app as app:
        first = await host.add()
        await app.pause("job")
        await acron_time.advance(hours=3)
        assert (await app.backfill("job", first, first + 99 * HOUR)).runs == 3
        await acron_time.advance(minutes=1)
        assert host.done == [first, first + HOUR, first + 2 * HOUR]
        rows = await app.occurrences("job", first, first + 3 * HOUR)
        assert [row.fate for row in rows] == ["succeeded"] * 3
        await app.resume("job")
        rows = await app.occurrences("job", first, first + 3 * HOUR)
        assert [row.fate for row in rows] == ["succeeded"] * 3
        assert (await app.get("job")).fired == 0


async def test_the_runs_of_another_job_with_its_key_are_not_its_own(
    acron_time: VirtualTime,
) -> None:
    host = Host(acron_time, key="chat")
    async with host.app as app:
        first = await host.add()
        await app.add("0 * * * *", host.work, id="other", key="chat")
        await app.pause_all()
        await acron_time.advance(hours=2)
        assert (await app.backfill("other", first, first + 2 * HOUR)).runs == 2
        begun = await app.backfill("job", first, first + 2 * HOUR)
        assert (begun.runs, begun.already) == (2, 0)
        assert [run.attempt for run in await app.runs("job")] == [1, 1]


async def test_what_is_still_owed_is_left_to_the_schedule(acron_time: VirtualTime) -> None:
    host = Host(acron_time)
    async with host.app as app:
        first = await host.add()
        await acron_time.advance(hours=2)
        begun = await app.backfill("job", first - 2 * HOUR, first + 50 * HOUR)
        assert (begun.runs, begun.already) == (2, 2)  # before the job was there, too
        await acron_time.advance(minutes=2)
        assert sorted(filter(None, host.done)) == [first + n * HOUR for n in (-2, -1, 0, 1)]


async def test_rate_and_overlap(acron_time: VirtualTime) -> None:
    host = Host(acron_time)
    async with host.app as app:
        first = await host.add()
        await app.pause("job")
        unknown = await app.backfill("job", first - 20 * HOUR, first, rate=2)
        assert unknown.last_due_at == acron_time.now() + timedelta(seconds=19)
        await app.cancel_batch(unknown.batch or "")
        await app.run_now("job", wait=True)
        host.begun.clear()
        begun = await app.backfill("job", first - 20 * HOUR, first, rate=2)
        assert begun.last_due_at == acron_time.now() + timedelta(seconds=9.5)
        await acron_time.advance(30)
        steps = {round(b - a, 2) for a, b in zip(host.begun, host.begun[1:], strict=False)}
        assert steps == {0.5}
        # Slower than the rate: one after another, never two at once, none lost.
        host.begun.clear()
        host.takes = 3.0
        await app.backfill("job", first - 10 * HOUR, first, rate=1, again=True)
        await acron_time.advance(40)
        steps = {round(b - a, 2) for a, b in zip(host.begun, host.begun[1:], strict=False)}
        assert len(host.begun) == 10
        assert steps == {3.0}
        # Its pace is now known.
        later = await app.backfill("job", first - 10 * HOUR, first, rate=1, again=True)
        assert later.last_due_at == acron_time.now() + timedelta(seconds=27)


async def test_it_goes_on_after_a_restart(acron_time: VirtualTime) -> None:
    store = MemoryStore()
    host = Host(acron_time, store)
    async with host.app as app:
        first = await host.add()
        begun = await app.backfill("job", first - 20 * HOUR, first, rate=1)
        await acron_time.advance(5.5)
        assert begun.batch is not None
        assert len(await app.unfinished(begun.batch)) == 14
    heir = Host(acron_time, store)
    async with heir.app as app:
        await acron_time.advance(60)
        assert await app.unfinished(begun.batch) == []
    both = Counter(host.done + heir.done)
    assert both == Counter(first - n * HOUR for n in range(1, 21))


async def test_cancel_takes_what_waits(acron_time: VirtualTime) -> None:
    host = Host(acron_time)
    async with host.app as app:
        first = await host.add()
        begun = await app.backfill("job", first - 20 * HOUR, first, rate=1)
        await acron_time.advance(5.5)
        assert begun.batch is not None
        by_hand = await app.run_now("job", wait=True)  # what waits is not in its way
        assert by_hand.state is RunState.SUCCEEDED
        assert await app.cancel_batch(begun.batch) == 14
        assert await app.cancel_batch(begun.batch) == 0
        await acron_time.advance(60)
        assert len(host.done) == 7
        with pytest.raises(JobNotFound, match="no backfill 'b99'"):
            await app.cancel_batch("b99")
        runs = await app.runs("job", state="cancelled")
        assert {run.error for run in runs} == {f"{begun.batch} was cancelled"}


async def test_a_large_one_is_written_in_parts(acron_time: VirtualTime) -> None:
    host = Host(acron_time)
    async with host.app as app:
        first = await host.add()
        begun = await app.backfill("job", first - 1203 * HOUR, first, rate=100)
        assert begun.runs == 1203
        waiting = await app.unfinished(begun.batch or "")
        assert len({run.due_at for run in waiting}) == 1203
        with pytest.raises(InvalidJob, match=f"{MOST + 1:,} instants") as refusal:
            await app.backfill("job", first - (MOST + 1) * HOUR, first)
        split = (first - HOUR).isoformat().replace("+00:00", "Z")
        assert f"until {split}" in str(refusal.value)
        await app.cancel_batch(begun.batch or "")


async def test_what_no_window_is(acron_time: VirtualTime) -> None:
    host = Host(acron_time)
    async with host.app as app:
        first = await host.add()
        for since, until, rate in (
            (first, first, 1.0),
            (first.replace(tzinfo=None), first, 1.0),
            (first - HOUR, first, 0.0),
            (first - HOUR, first, float("nan")),
        ):
            with pytest.raises(ValueError, match=r"until|since|rate"):
                await app.backfill("job", since, until, rate=rate)
        with pytest.raises(JobNotFound):
            await app.backfill("nobody", first - HOUR, first)
        future = datetime(2099, 1, 1, tzinfo=UTC)
        assert (await app.backfill("job", future, future + HOUR)).runs == 0


# --- listening -----------------------------------------------------------------------------------


async def test_a_command_is_heard_while_it_goes_on(tmp_path: Path) -> None:
    app = Acron(str(tmp_path / "jobs.json"))
    gate = tmp_path / "gate"
    script = f"echo one; while [ ! -e {gate} ]; do sleep 0.02; done; echo one; echo one"
    async with app:
        await app.add("every 1h", Command(script), id="job")
        run = await app.run_now("job")
        said: list[str] = []
        async for text in app.follow(run.id):
            said.append(text)
            (live,) = (tmp_path / "output" / "live").iterdir() if not gate.exists() else [gate]
            assert gate.exists() or live.stat().st_mode & 0o777 == 0o600
            gate.touch()
        assert said[0] == "one\n"
        assert "".join(said) == "one\none\none\n"
        assert list((tmp_path / "output" / "live").iterdir()) == []
        assert (await app.get_run(run.id)).output == "one\none\none\n"
        assert [text async for text in app.follow(run.id)] == ["one\none\none\n"]


async def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    app = Acron(str(tmp_path / "jobs.json"))
    async with app:
        stale = app._live.path("r99")
        assert stale is not None
        assert app._live.path("../r99") is None
        stale.parent.mkdir(parents=True)
        stale.write_text("left behind")
        other = stale.parent / "0123456789ab-r99.live"
        other.write_text("of another store")
    async with app:
        assert not stale.exists()
        assert other.exists()


async def test_a_long_output_that_was_followed_ends_with_its_end(tmp_path: Path) -> None:
    app = Acron(str(tmp_path / "jobs.json"))
    async with app:
        await app.add("every 1h", Command("seq 1 60000; sleep 0.5; echo end"), id="job")
        run = await app.run_now("job")
        said = "".join([text async for text in app.follow(run.id)])
    assert said == "".join(f"{n}\n" for n in range(1, 60001)) + "end\n"


@pytest.mark.parametrize(
    "whole, told, lines, rest",
    [
        ("one\ntwo\nthree", "one\ntwo\n", 2, "three"),
        ("one\n", "one\n", 1, ""),
        ("one", "", 0, "one"),
        ("reply\n", "what a script said\n", 1, "reply\n"),
        ("reply", "what\na script\nsaid\n", 3, "reply"),
        ("a\n" * 35_000 + "b\nc", "a\nb\n", 90_000, "c"),
        ("a\n" * 35_000, "b\n", 90_000, "\n[…]\n" + "a\n" * 500),
    ],
)
def test_what_comes_after_that_which_was_told(whole: str, told: str, lines: int, rest: str) -> None:
    assert _rest(whole, told, lines, kept=False) == rest


KEY = ["-----BEGIN RSA PRIVATE KEY-----", *["SECRET" * 10] * 20, "-----END RSA PRIVATE KEY-----"]


async def test_secrets_are_not_heard_and_change_nothing_of_the_rest(tmp_path: Path) -> None:
    """Also not the half of a key that has been said by the first look."""
    app = Acron(str(tmp_path / "jobs.json"))
    first, then = "\n".join(KEY[:9]), "\n".join(KEY[9:])
    script = f"echo 'token=SECRET\n{first}'; sleep 0.5; echo '{then}\ntea'; sleep 0.5; echo end"
    async with app:
        await app.add("every 1h", Command(script), id="job")
        run = await app.run_now("job")
        said = [text async for text in app.follow(run.id)]
        assert (await app.get_run(run.id)).output == "token=***\n***\ntea\nend\n"
    assert said == ["token=***\n", "***\ntea\n", "end\n"]


async def test_nor_do_those_of_a_long_output(tmp_path: Path) -> None:
    app = Acron(str(tmp_path / "jobs.json"))
    key = "\n".join(KEY)
    async with app:
        script = f"echo '{key}'; seq 1 20000; sleep 0.5; seq 1 100"
        await app.add("every 1h", Command(script), id="job")
        run = await app.run_now("job")
        said = "".join([text async for text in app.follow(run.id)])
        assert said == await app.output(run.id)
    numbers = "".join(f"{n}\n" for n in (*range(1, 20001), *range(1, 101)))
    assert said == f"***\n{numbers}"


async def test_a_disk_that_takes_no_live_file_stops_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "output").write_text("a file where a folder should be")
    app = Acron(str(tmp_path / "jobs.json"))
    async with app:
        await app.add("every 1h", Command("echo one; sleep 0.4"), id="job", deliver=[])
        run = await app.run_now("job", wait=True)
    assert (run.state, run.output) == (RunState.SUCCEEDED, "one\n")
    assert "no live output" in caplog.text


async def test_following_what_a_dead_process_had_ends(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)
    async with app.attached():
        job = await app.add("every 1h", Command("true"), id="job")
        now = acron_time.now()
        lost = Run(
            id="r1", job_id="job", due_at=now, state=RunState.RUNNING, token=1, node="it-is-gone"
        )
        await app.store.write(["job"], lambda *_: Decision(job, runs=(lost,)), now)
        with pytest.raises(NodeNotFound, match="r1 was cut short"):
            await anext(app.follow("r1"))
