"""What people's code, stores and providers may do to us, and what then still holds."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, Action, Context, Custom, InvalidJob, Retry, RunState
from acron.errors import StoreUnavailable
from acron.runtime.run import contain_children
from acron.stores.json_file import JsonFileStore
from acron.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from pathlib import Path

    from acron.abc import Decide, Settle
    from acron.model import Decision, End
    from acron.testing import VirtualTime


def make(acron_time: VirtualTime, store: Any = "memory://", **options: Any) -> Acron:
    return Acron(store, clock=acron_time.clock, **options)


class BadText(Exception):
    def __str__(self) -> str:
        raise SystemExit("even its text")


async def test_an_error_whose_text_cannot_be_read(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    @app.job("in 1m")
    async def bad() -> None:
        raise BadText

    async with app:
        await acron_time.advance(minutes=2)
        (run,) = await app.runs("bad")
    assert run.state is RunState.FAILED
    assert "BadText" in (run.error or "")


async def test_a_back_off_beyond_all_numbers_is_capped(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    @app.job("in 1m", retry=Retry(attempts=5000, factor=1e300, max_delay=60, jitter=0))
    async def bad() -> None:
        raise ValueError

    async with app:
        await acron_time.advance(minutes=5, seconds=30)
        runs = await app.runs("bad")
    assert [run.attempt for run in runs if run.state.ended] == [6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("field", ["factor", "jitter", "delay", "max_delay"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_a_retry_that_cannot_be_computed_is_refused(field: str, value: float) -> None:
    app = Acron("memory://")

    def job() -> None: ...

    with pytest.raises(InvalidJob, match=r"at least|negative|duration|long|number"):
        app.job("every 1h", retry={field: value})(job)


class GivesNumbers(Action):
    name = "numbers"

    async def run(self, spec: Any, ctx: Context) -> str | None:
        return 42  # type: ignore[return-value]


class CannotSay(Action):
    name = "mute"

    def offers(self) -> Collection[str]:
        raise RuntimeError("do not ask")

    async def run(self, spec: Any, ctx: Context) -> str | None:
        raise AssertionError


async def test_an_action_that_keeps_no_promise_harms_only_itself(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    app._actions = {**app._actions, "numbers": GivesNumbers(), "mute": CannotSay()}

    @app.job("every 1m")
    async def good() -> None: ...

    async with app:
        await app.add("in 1m", Custom("numbers"), id="numbers")
        await acron_time.advance(minutes=3, seconds=1)
        (run,) = await app.runs("numbers")
        assert len(await app.runs("good")) == 3
    assert (run.state, run.error) == (
        RunState.FAILED,
        "TypeError: the action gave int, not text",
    )


async def test_a_job_that_cancels_itself_has_failed(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    @app.job("every 1m")
    async def quits() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    async with app:
        await acron_time.advance(minutes=2, seconds=1)
        runs = await app.runs("quits")
    assert [run.state for run in runs] == [RunState.FAILED, RunState.FAILED]


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("caught", [False, True])
async def test_a_child_task_cannot_end_a_loop_of_ours(
    acron_time: VirtualTime, raised: type[BaseException], caught: bool
) -> None:
    app = make(acron_time)

    async def child() -> None:
        raise raised("no more")

    @app.job("in 1m")
    async def parent() -> None:
        try:
            await asyncio.gather(child())
        except BaseException:
            if not caught:
                raise

    loop = asyncio.get_running_loop()
    contain_children(loop)
    try:
        async with app:
            await acron_time.advance(minutes=2)
            (run,) = await app.runs("parent")
    finally:
        loop.set_task_factory(None)
    assert run.state is (RunState.SUCCEEDED if caught else RunState.FAILED)
    assert caught or f"{raised.__name__}: no more" in (run.error or "")


async def test_a_full_node_does_not_spin(acron_time: VirtualTime) -> None:
    store = Counting()
    app = make(acron_time, store, max_running=1)

    @app.job("every 1m", overlap="allow")
    async def slow() -> None:
        await asyncio.sleep(600)

    async with app:
        await acron_time.advance(minutes=9)
        assert store.asked < 60
        await app.drain()


class Counting(MemoryStore):
    asked = 0

    async def next_due(self, after: datetime, can_run: Collection[str]) -> datetime | None:
        self.asked += 1
        return await super().next_due(after, can_run)


class Fails(MemoryStore):
    """Raises ``error`` at the ``at``-th call of each kind."""

    def __init__(self, error: BaseException, at: int, *kinds: str) -> None:
        super().__init__()
        self.error = error
        self.left = dict.fromkeys(kinds, at)

    def _maybe(self, kind: str) -> None:
        if kind in self.left:
            self.left[kind] -= 1
            if self.left[kind] == 0:
                raise self.error

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109
        self._maybe("changed")
        return await super().changed(timeout)

    async def finish(self, ends: Sequence[End], settle: Settle) -> list[Decision | None]:
        self._maybe("finish")
        return await super().finish(ends, settle)

    async def recover(self, now: datetime, settle: Settle) -> list[Decision]:
        self._maybe("recover")
        return await super().recover(now, settle)

    async def claim(
        self,
        now: datetime,
        limit: int,
        can_run: Collection[str],
        decide: Decide,
        *,
        only: str | None = None,
    ) -> list[Decision]:
        self._maybe("claim")
        found = await super().claim(now, limit, can_run, decide, only=only)
        if found:
            self._maybe("claimed")
        return found


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), StoreUnavailable("gone"), SystemExit(2), KeyboardInterrupt()]
)
async def test_a_store_that_fails_once_in_every_way_is_survived(
    acron_time: VirtualTime, error: BaseException
) -> None:
    app = make(acron_time, Fails(error, 4, "changed", "finish", "recover", "claim"))

    @app.job("every 1m")
    async def beat() -> None: ...

    async with app:
        await acron_time.advance(minutes=30, seconds=30)
        runs = await app.runs("beat", limit=1000)
        skips = await app.skips("beat")
        assert (await app.status()).state == "ok"
    assert {run.state for run in runs} == {RunState.SUCCEEDED}
    assert len(runs) + sum(skip.count for skip in skips) == 30


async def test_a_claim_whose_answer_was_lost_does_not_block_its_job(
    acron_time: VirtualTime,
) -> None:
    app = make(acron_time, Fails(StoreUnavailable("after the commit"), 3, "claimed"))

    @app.job("every 10m")
    async def beat() -> None: ...

    async with app:
        await acron_time.advance(hours=2)
        runs = await app.runs("beat")
    states = [run.state for run in runs]
    assert states.count(RunState.UNKNOWN) == 1
    assert states.count(RunState.SUCCEEDED) >= 10


async def test_an_end_that_comes_while_it_is_stopped_is_still_its_end(
    acron_time: VirtualTime,
) -> None:
    app = make(acron_time, SlowToFinish())

    @app.job("in 1m")
    async def done() -> str:
        return "all is well"

    async with app:
        await acron_time.advance(minutes=1, seconds=1)
        (run,) = await app.runs("done")
        assert run.state is RunState.RUNNING
        await app.cancel(run.id)
        waiting = asyncio.create_task(app.wait(run.id))
        await acron_time.advance(seconds=30)
        ended = await waiting
    assert (ended.state, ended.output) == (RunState.SUCCEEDED, "all is well")


class SlowToFinish(MemoryStore):
    async def finish(self, ends: Sequence[End], settle: Settle) -> list[Decision | None]:
        await asyncio.sleep(10)
        return await super().finish(ends, settle)


async def test_the_instants_of_a_dead_node_wait_and_are_not_skipped(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.json"

    def app_on(store: JsonFileStore) -> Acron:
        app = make(acron_time, store)

        @app.job("every 10m")
        async def slow() -> None:
            await asyncio.sleep(60)

        return app

    dying = JsonFileStore(path)
    doomed = app_on(dying)
    await doomed.__aenter__()
    async with app_on(JsonFileStore(path)) as heir:
        await acron_time.advance(minutes=10, seconds=10)
        (run,) = await heir.runs("slow")
        if run.node != doomed._node.id:
            pytest.skip("the heir was quicker")
        await dying.close()  # as the kernel does for the dead
        await acron_time.advance(minutes=30)
        runs = await heir.runs("slow")
        skips = await heir.skips("slow")
    assert [one.state for one in reversed(runs)][:2] == [RunState.UNKNOWN, RunState.SUCCEEDED]
    assert skips == []
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


@pytest.mark.acron_time(hold=0.05)
@pytest.mark.filterwarnings("ignore::acron.testing.HoldDropped")
async def test_a_thread_that_never_returns_is_abandoned_and_named(
    acron_time: VirtualTime,
) -> None:
    app = make(acron_time)
    free = threading.Event()

    @app.job("in 1m", timeout=10)
    def stuck() -> None:
        free.wait(30)

    async with app:
        try:
            await acron_time.advance(minutes=2)
            (run,) = await app.runs("stuck")
            assert run.state is RunState.TIMED_OUT
            (label,) = (await app.status()).abandoned
            assert "stuck" in label
        finally:
            free.set()


class SlowClaims(MemoryStore):
    """A claim takes a while, as on a busy disk."""

    async def claim(
        self,
        now: datetime,
        limit: int,
        can_run: Collection[str],
        decide: Decide,
        *,
        only: str | None = None,
    ) -> list[Decision]:
        await asyncio.sleep(2)
        return await super().claim(now, limit, can_run, decide, only=only)


@pytest.mark.parametrize("drain,state", [(30.0, RunState.SUCCEEDED), (0.0, RunState.INTERRUPTED)])
async def test_a_claim_under_way_when_a_drain_begins_has_its_time(
    acron_time: VirtualTime, drain: float, state: RunState
) -> None:
    """It has taken the occurrence: to interrupt it before its first step would be to lose it."""
    store = SlowClaims()
    app = make(acron_time, store, drain_timeout=drain)

    @app.job("in 1m")
    async def tea() -> None:
        await asyncio.sleep(5)

    async with app:
        await acron_time.advance(minutes=1, seconds=1)  # in the middle of the claim
    await store.open(acron_time.now())
    (run,) = await store.runs()
    assert run.state is state
