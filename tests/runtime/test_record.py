"""The recorder: ends together, each told of; and a drain that waits for what they lead to."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from acron import Acron, Adapter, Message, Receipt, RunState
from acron.errors import StoreUnavailable
from acron.model import Decision, End, Job, Outcome, Run
from acron.runtime.record import Recorder, settle
from acron.runtime.run import Attempt
from acron.runtime.tasks import Tasks
from acron.specs import Call
from acron.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from acron.abc import Settle
    from acron.testing import VirtualTime

NOW = datetime(2026, 11, 22, tzinfo=UTC)
JOB = Job(id="tea", schedule="in 1h", action=Call("tea"))


class Down(MemoryStore):
    """Takes no ends."""

    async def finish(self, ends: Sequence[End], settle: Settle) -> list[Decision | None]:
        raise StoreUnavailable("down", address="memory://")


class Ends:
    """A recorder over a store that holds ``count`` running runs, and what it told."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.told: list[tuple[str, Decision | None]] = []
        self.trouble: list[str] = []
        self.faulty = ""
        tasks = Tasks("node", lambda what, _: self.trouble.append(what))
        self.recorder = Recorder(
            store, tasks.start, lambda what, _: self.trouble.append(what), self.recorded
        )

    def recorded(self, attempt: Attempt, decision: Decision | None) -> None:
        self.told.append((attempt.run.id, decision))
        if attempt.run.id == self.faulty:
            raise ValueError("a listener's fault")

    async def run(self, count: int) -> None:
        """Start runs, and end them all."""
        await self.store.open(NOW)
        runs = tuple(
            Run(id=f"r{n}", job_id="tea", due_at=NOW, token=n, state=RunState.RUNNING)
            for n in range(1, count + 1)
        )
        await self.store.write(["tea"], lambda *_: Decision(JOB, runs=runs), NOW)
        for run in runs:
            attempt = Attempt(JOB, run, None)  # type: ignore[arg-type]  # it has ended already
            outcome = Outcome(state=RunState.SUCCEEDED)
            self.recorder.record(attempt, outcome, NOW)


@pytest.mark.usefixtures("acron_time")
async def test_who_is_told_at_fault_holds_up_no_sibling() -> None:
    ends = Ends(MemoryStore())
    ends.faulty = "r2"
    await ends.run(3)
    await ends.recorder.close(5)
    assert [run_id for run_id, _ in ends.told] == ["r1", "r2", "r3"]
    assert ends.trouble == ["end of tea r2"]
    kept = await ends.store.runs("tea")
    assert {run.state for run in kept} == {RunState.SUCCEEDED}


@pytest.mark.usefixtures("acron_time")
async def test_an_end_that_no_store_takes_is_told_of_as_lost() -> None:
    ends = Ends(Down())
    await ends.run(2)
    await ends.recorder.close(5)
    assert ends.told == [("r1", None), ("r2", None)]
    assert ends.trouble[-2:] == ["run tea r1", "run tea r2"]
    assert ends.recorder.writer is None


async def test_what_ends_after_the_close_starts_no_writer(
    acron_time: VirtualTime, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = Acron(f"sqlite:///{tmp_path}/acron.db", clock=acron_time.clock, drain_timeout=0)
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    app.job("every 10m", id="one")(stubborn)
    app.job("every 10m", id="two")(stubborn)
    async with app:
        await acron_time.advance(minutes=10, seconds=1)
    caplog.clear()
    caplog.set_level("INFO", "acron.runtime")
    release.set()
    await acron_time.advance(minutes=1)
    assert [task.get_name() for task in asyncio.all_tasks() if "acron" in task.get_name()] == []
    told = [one.getMessage() for one in caplog.records]
    assert len([one for one in told if "ended after acron did" in one]) == 1
    assert not [one for one in told if "cannot record" in one]
    assert {run.state for run in await app.runs()} == {RunState.INTERRUPTED}


class Slow(Adapter):
    """Takes four seconds to send."""

    name = "slow"
    sent = 0
    mark: ContextVar[str] = ContextVar("mark", default="")
    seen = "nothing"

    async def send(self, message: Message) -> Receipt:
        await asyncio.sleep(4)
        self.sent += 1
        self.seen = self.mark.get()
        return Receipt("sent")


async def test_a_drain_waits_for_what_an_end_has_to_deliver(acron_time: VirtualTime) -> None:
    slow = Slow()
    app = Acron("memory://", clock=acron_time.clock, adapters={"slow": slow}, drain_timeout=30)

    @app.job("every 10m", deliver="slow:here")
    async def tell() -> str:
        Slow.mark.set("the job's own")
        await asyncio.sleep(3)
        return "told"

    async with app:
        await acron_time.advance(minutes=10, seconds=1)
        begun = acron_time.clock.now()
        await app.drain()
        assert slow.sent == 1, "the end was recorded, and then delivered"
        assert acron_time.clock.now() - begun == timedelta(seconds=6)
        run = (await app.runs("tell"))[0]
    assert [one.state for one in run.deliveries] == ["delivered"]
    assert not slow.seen, "what a job puts into its context is not for deliveries"


def test_the_common_end_changes_nothing_of_the_job() -> None:
    run = Run(id="r1", job_id="tea", due_at=NOW, token=1, state=RunState.RUNNING)
    outcome = Outcome(state=RunState.SUCCEEDED)
    end = End(run_id="r1", token=1, finished_at=NOW, outcome=outcome)
    decision = settle(JOB, run, end, lambda: 2)
    assert decision.job is JOB
    assert decision.runs[0].state is RunState.SUCCEEDED
