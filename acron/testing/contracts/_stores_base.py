"""What the duties of a store are tested with: jobs built by hand, and plain decisions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from acron.model import Decision, End, Job, Node, Outcome, Run, RunState, Skip, SkipReason
from acron.specs import Call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from acron.abc import Change, Decide, Settle, Store
    from acron.model import Delivery, Due

    Mint = Callable[[], int]

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
#: What the jobs of the suite need, in the words of ``ActionSpec.needs``.
CAN = frozenset({"call:f"})


def at(seconds: float) -> datetime:
    """So many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


def a_job(job_id: str, due: float | None = 0.0, **fields: Any) -> Job:
    """A job that is due that many seconds after NOW, and calls ``f``."""
    given: dict[str, Any] = {
        "name": job_id,
        "schedule": "2026-12-01T09:00Z",
        "bound": "2026-12-01T09:00Z",
        "action": Call("f"),
        "next_fire_at": None if due is None else at(due),
        "created_at": NOW,
    }
    return Job(id=job_id, **given | fields)


def a_run(job_id: str, mint: Mint, due: float = 0.0, **fields: Any) -> Run:
    """A run with a token of its own; pending unless said otherwise."""
    token = mint()
    given: dict[str, Any] = {"id": f"r{token}", "due_at": at(due), "token": token}
    return Run(job_id=job_id, **given | fields)


def a_skip(job_id: str, due: float = 0.0, **fields: Any) -> Skip:
    given: dict[str, Any] = {"reason": SkipReason.MISFIRE, "recorded_at": at(due)}
    return Skip(job_id=job_id, scheduled_at=at(due), **given | fields)


def a_node(node_id: str) -> Node:
    return Node(id=node_id, pid=1, host="here", app="suite", started_at=NOW)


def starts(node: str = "n1", then: float | None = None, skips: tuple[Skip, ...] = ()) -> Decide:
    """Decide to run whatever is due; the job's next instant is ``then``."""

    def decide(due: Due, mint: Mint) -> Decision:
        begun: dict[str, Any] = {"state": RunState.RUNNING, "node": node, "started_at": NOW}
        if due.run is not None:
            return Decision(due.job, (replace(due.run, token=mint(), **begun),), skips)
        begun |= {"scheduled_at": due.job.next_fire_at, "key": due.job.policy.key}
        run = a_run(due.job.id, mint, **begun)
        job = replace(
            due.job,
            next_fire_at=None if then is None else at(then),
            completed=then is None,
            fired=due.job.fired + 1,
        )
        return Decision(job, (run,), skips)

    return decide


def ended(job: Job | None, run: Run, end: End, _mint: Mint) -> Decision:
    """Settle by writing the end down."""
    return Decision(
        job,
        (
            replace(
                run,
                state=end.outcome.state,
                finished_at=end.finished_at,
                output=end.outcome.output,
                error=end.outcome.error,
            ),
        ),
    )


def delivering(*deliveries: Delivery) -> Settle:
    """Settle by writing the end down, with these deliveries to make."""

    def settle(job: Job | None, run: Run, end: End, mint: Mint) -> Decision:
        (run,) = ended(job, run, end, mint).runs
        return Decision(job, (replace(run, deliveries=deliveries),))

    return settle


def end_of(run: Run, seconds: float = 1.0, **outcome: Any) -> End:
    given: dict[str, Any] = {"state": RunState.SUCCEEDED} | outcome
    return End(run_id=run.id, token=run.token, finished_at=at(seconds), outcome=Outcome(**given))


def keeps(*jobs: Job) -> Change:
    """Store these jobs, whatever was there."""
    by_id = {job.id: job for job in jobs}

    def change(job_id: str, _old: Job | None, _runs: Sequence[Run], _mint: Mint) -> Decision:
        return Decision(by_id[job_id])

    return change


def alone(node: str = "n1", then: float | None = None) -> Decide:
    """Decide to run what nothing is in the way of; the rest stays owed."""

    def decide(due: Due, mint: Mint) -> Decision | None:
        return None if due.live else starts(node, then)(due, mint)

    return decide


def removes(_id: str, _old: Job | None, _runs: Sequence[Run], _mint: Mint) -> Decision:
    return Decision(None)


async def no_news(store: Store) -> None:
    """Let what is news be told, so that what comes is."""
    for _ in range(10):
        if not await store.changed(0):
            return
    raise AssertionError("changed() is True again and again, and nothing has changed")


class Refused(Exception):
    """What a function of the suite raises."""


class StoreSuite(ABC):
    """How the suite gets its stores. See ``StoreContract``."""

    #: Several store objects can be open on the same data at one time.
    shared = True
    #: What was stored is there when it is opened again, by another object.
    durable = True

    @abstractmethod
    async def make_store(self, room: Path) -> Store:
        """A store, not yet opened. The same ``room`` (a folder of the test's) is the same data."""

    @asynccontextmanager
    async def opened(self, room: Path, node: str | None = "n1") -> AsyncIterator[Store]:
        store = await self.make_store(room)
        await store.open(NOW, None if node is None else a_node(node))
        try:
            yield store
        finally:
            await store.close()

    @asynccontextmanager
    async def both(self, room: Path) -> AsyncIterator[tuple[Store, Store]]:
        """Two nodes, n1 and n2, on the same data."""
        if not self.shared:
            pytest.skip("one store object only")
        async with self.opened(room, "n1") as one, self.opened(room, "n2") as two:
            yield one, two

    async def put(self, store: Store, *jobs: Job) -> None:
        await store.write([job.id for job in jobs], keeps(*jobs), NOW)

    async def wait(self, store: Store, job_id: str, due: float = 0.0, **fields: Any) -> Run:
        """Insert a pending run of a job that exists."""

        def change(_id: str, job: Job | None, _runs: Sequence[Run], mint: Mint) -> Decision:
            return Decision(job, (a_run(job_id, mint, due, **fields),))

        (decision,) = await store.write([job_id], change, NOW)
        return decision.runs[0]

    async def start(self, store: Store, node: str = "n1", **how: Any) -> list[Run]:
        """Claim and start all that is due at NOW."""
        decisions = await store.claim(NOW, 1000, CAN, starts(node, **how))
        return [run for decision in decisions for run in decision.runs]
