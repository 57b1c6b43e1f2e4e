"""Who makes room for whom: replace, lanes by key, and who is told about it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from acron import Acron, Context, RunState
from acron.errors import InvalidJob, JobConflict
from acron.model import End, Outcome, Run, SkipReason
from acron.records import job_from_record
from acron.runtime.claim import REPLACED
from acron.runtime.record import settle
from acron.stores import open_store
from acron.testing.clock import START

if TYPE_CHECKING:
    from pathlib import Path

    from acron.abc import Store
    from acron.testing import VirtualTime

MINUTE = timedelta(minutes=1)


def make(acron_time: VirtualTime, store: Store | str = "memory://", **options: Any) -> Acron:
    return Acron(store, clock=acron_time.clock, **options)


class Work:
    """A job's function that takes its time, and knows how many of it go on at once."""

    def __init__(self, seconds: float, cleanup: float = 0.0) -> None:
        self.seconds = seconds
        self.cleanup = cleanup
        self.at_once = 0
        self.most = 0

    async def __call__(self, ctx: Context) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            if self.cleanup:
                await asyncio.sleep(self.cleanup)
            self.at_once -= 1


def added(app: Acron, work: Work) -> Any:
    async def busy(ctx: Context) -> None:
        await work(ctx)

    return app.action(busy)


# --- replace ---


async def test_replace_cancels_cleans_up_and_then_starts(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    work = Work(90, cleanup=2)

    async with app:
        await app.add("every 1m", added(app, work), id="a", overlap="replace", pause_after=1)
        await acron_time.advance(minutes=3, seconds=30)
        third, second, first = await app.runs("a")
        assert await app.skips("a") == []
        job = await app.get("a")
    assert [run.state for run in (first, second)] == [RunState.CANCELLED] * 2
    assert first.error == second.error == REPLACED
    assert second.lateness == third.lateness == pytest.approx(2.0)
    assert work.most == 1
    assert (job.state, job.failures) == ("scheduled", 0)


async def test_one_that_swallows_cancellation_is_abandoned_and_replaced(
    acron_time: VirtualTime,
) -> None:
    app = make(acron_time)

    @app.job("every 1m", overlap="replace")
    async def stubborn() -> None:
        for _ in range(4):
            try:
                await asyncio.sleep(40)
            except asyncio.CancelledError:
                continue

    async with app:
        await acron_time.advance(minutes=2, seconds=10)
        await app.pause("stubborn")
        second, first = await app.runs("stubborn")
        assert first.state is RunState.CANCELLED
        assert REPLACED in (first.error or "")
        assert "abandoned" in (first.error or "")
        assert second.lateness == pytest.approx(5.0)
        await acron_time.advance(minutes=10)


def test_a_run_that_succeeds_while_it_is_told_to_end_has_no_error() -> None:
    run = Run(
        id="r1", job_id="a", due_at=START, state=RunState.RUNNING, token=1, cancel_requested=True
    )
    job = job_from_record({"id": "a", "schedule": "every 1m", "command": "true"})
    outcome = Outcome(state=RunState.SUCCEEDED)
    end = End(run_id="r1", token=1, finished_at=START, outcome=outcome)
    (ended,) = settle(job, replace(run, error=REPLACED), end, lambda: 2).runs
    assert (ended.state, ended.error) == (RunState.SUCCEEDED, None)


async def test_a_waiting_retry_makes_room(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    failing = True

    @app.job("every 1m", overlap="replace", retry={"attempts": 3, "delay": 300, "jitter": 0})
    async def flaky() -> None:
        if failing:
            raise ValueError

    async with app:
        await acron_time.advance(MINUTE)
        failing = False
        await acron_time.advance(MINUTE)
        newer, first, retry = await app.runs("flaky")  # a retry never claimed has no token
    assert first.state is RunState.FAILED
    assert (retry.state, retry.attempt, retry.error) == (RunState.CANCELLED, 2, REPLACED)
    assert (newer.state, newer.attempt) == (RunState.SUCCEEDED, 1)


async def test_a_manual_run_replaces_too(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    async with app:
        await app.add("every 1h", added(app, Work(600)), id="a", overlap="replace")
        await acron_time.advance(hours=1)
        run = await app.run_now("a")
        await acron_time.advance(minutes=1)
        states = {one.id: one.state for one in await app.runs("a")}
    assert states.pop(run.id) is RunState.RUNNING
    assert list(states.values()) == [RunState.CANCELLED]


async def test_replace_reaches_a_run_on_another_node(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    """Two nodes on one file; the first has the run, the second its next occurrence."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    first = make(acron_time, open_store(url, tmp_path))
    second = make(acron_time, open_store(url, tmp_path), app="second")
    work = Work(3600)
    for app in (first, second):
        added(app, work)
    async with first:
        await first.add("every 1m", "busy", id="a", overlap="replace")
        await acron_time.advance(MINUTE)
        (run,) = await first.runs("a")
        async with second.attached(firing=True):
            acron_time.jump_clock(MINUTE)
            assert await second.tick() == 0  # it is told, and the instant waits
            assert (await second.get_run(run.id)).cancel_requested
            ended = await acron_time.run_until(lambda: _ended(second, run.id), MINUTE)
            await acron_time.run_until(lambda: _running(second, "a"), MINUTE)
    assert (ended.state, ended.error) == (RunState.CANCELLED, REPLACED)
    assert work.most == 1


async def _ended(app: Acron, run_id: str) -> Any:
    run = await app.get_run(run_id)
    return run if run.state.ended else None


async def _running(app: Acron, job_id: str) -> Any:
    await app.tick()
    return await app.runs(job_id, state="running")


# --- lanes ---


async def test_one_lane_for_all_jobs_of_a_key(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    work = Work(90)
    async with app:
        busy = added(app, work)
        for overlap, kind in (("queue", "q"), ("skip", "s")):
            for number in range(2):
                await app.add("in 60s", busy, id=f"{kind}{number}", key=kind, overlap=overlap)
        await acron_time.advance(minutes=10)
        queued = [run for run in await app.runs() if run.job_id in {"q0", "q1"}]
        assert sorted(round(run.lateness) for run in queued) == [0, 90]
        assert {run.key for run in queued} == {"q"}
        assert [run.job_id for run in await app.runs() if run.key == "s"] == ["s0"]
        (skip,) = await app.skips("s1")
    assert skip.reason is SkipReason.OVERLAP


async def test_max_running_counts_within_the_lane(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    work = Work(60)
    async with app:
        busy = added(app, work)
        for number in range(5):
            await app.add(
                "in 60s", busy, id=f"j{number}", key="guild", overlap="allow", max_running=2
            )
        await acron_time.advance(minutes=5)
        runs = await app.runs(state="succeeded")
    assert work.most == 2
    assert sorted(round(run.lateness) for run in runs) == [0, 0, 60, 60, 120]


async def test_replace_within_a_lane(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    async with app:
        busy = added(app, Work(600))
        await app.add("in 60s", busy, id="old", key="chat:1", overlap="skip")
        await app.add("in 120s", busy, id="new", key="chat:1", overlap="replace")
        await app.add("in 120s", busy, id="apart", key="chat:2", overlap="replace")
        await acron_time.advance(minutes=3)
        states = {run.job_id: run.state for run in await app.runs()}
    assert states == {
        "old": RunState.CANCELLED,
        "new": RunState.RUNNING,
        "apart": RunState.RUNNING,
    }


async def test_a_key_may_be_worked_out_from_the_arguments(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    @app.action
    async def remind(chat: int, text: str = "") -> None: ...

    @app.job("every 1h", key=lambda: "declared")
    async def declared() -> None: ...

    async with app:
        job = await app.add(
            "in 1h", remind, kwargs={"chat": 7, "text": "x"}, key=lambda chat, **_: f"chat:{chat}"
        )
        assert job.policy.key == "chat:7"
        assert (await app.get("declared")).policy.key == "declared"
        edited = await app.edit(job.id, key=lambda chat, text: f"{chat}{text}")
        assert edited.policy.key == "7x"
        with pytest.raises(InvalidJob, match="KeyError"):
            await app.add("in 1h", remind, kwargs={"chat": 7}, key=lambda **given: given["guild"])
        with pytest.raises(InvalidJob, match="gave int, not text"):
            await app.add("in 1h", remind, kwargs={"chat": 7}, key=lambda chat: chat)


async def test_who_is_in_the_way_is_named(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    async with app:
        busy = added(app, Work(600))
        await app.add("every 60s", busy, id="holder", key="chat:1", overlap="queue")
        await app.add("in 120s", busy, id="waiter", key="chat:1", overlap="queue")
        await app.add("in 1h", busy, id="refused", key="chat:1")
        await acron_time.advance(minutes=3)
        (run,) = await app.runs(state="running")
        with pytest.raises(JobConflict) as refused:
            await app.run_now("refused")
        status = await app.status()
        await app.edit("holder", overlap="skip")
        with pytest.raises(JobConflict, match=r"^job 'holder' is running: r\d+, since 2026-"):
            await app.run_now("holder")
    assert str(refused.value) == (
        f"the key 'chat:1' of 'refused' is held by 'holder': {run.id}, since 2026-01-01T00:01:00Z"
    )
    (slot,) = status.slots
    assert (slot.run_id, slot.job_id, slot.key) == (run.id, "holder", "chat:1")
    assert slot.since == run.started_at
    assert set(slot.waiting) == set(status.waiting) == {"holder", "waiter"}


async def test_removing_a_job_leaves_the_rest_of_its_lane_alone(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    async with app:
        busy = added(app, Work(600))
        await app.add("in 1m", busy, id="a", key="k", overlap="queue")
        await app.add("in 1h", busy, id="b", key="k", overlap="queue")
        await acron_time.advance(MINUTE)
        waiting = await app.run_now("b")
        await app.remove("a")
        assert (await app.get_run(waiting.id)).state is RunState.PENDING
