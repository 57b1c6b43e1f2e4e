"""Whether jobs fire, told from what the nodes say of themselves."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (msgspec reads the annotations)
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from acron.model import Node  # noqa: TC001 (msgspec reads the annotations)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acron.model import Job, Run

Health = Literal["not running", "stalled", "failing", "blocked loop", "draining", "ok"]

#: How many slots, and how many that wait, a status names.
NAMED = 20


class Slot(Struct, frozen=True, kw_only=True):
    """A run that holds a place, and what it keeps waiting: due jobs in its lane, which is the
    job, or all jobs with its ``key``."""

    run_id: str
    job_id: str
    since: datetime | None
    node: str | None = None
    key: str | None = None
    waiting: tuple[str, ...] = ()


def slots(running: Sequence[Run], due: Sequence[Job]) -> tuple[Slot, ...]:
    """Who has held a place for longest."""
    held: list[Slot] = []
    for run in sorted(running, key=lambda run: (run.started_at or run.due_at, run.id))[:NAMED]:
        waiting = [
            job.id
            for job in due
            if job.id == run.job_id or (run.key is not None and job.policy.key == run.key)
        ]
        slot = Slot(
            run_id=run.id,
            job_id=run.job_id,
            since=run.started_at,
            node=run.node,
            key=run.key,
            waiting=tuple(waiting[:NAMED]),
        )
        held.append(slot)
    return tuple(held)


class Status(Struct, frozen=True, kw_only=True):
    """What ``status`` tells. ``state`` is that of the best node."""

    state: Health
    store: str
    provider: str | None = None
    provider_note: str = ""  # why it is not the one asked for
    heartbeat_at: datetime | None = None
    last_success_at: datetime | None = None
    last_error: str | None = None
    blocked: str | None = None  # what blocks the loop now, and where
    jobs: int = 0
    next_fire_at: datetime | None = None
    running: int = 0
    slots: tuple[Slot, ...] = ()  # the runs that go on for longest, at most 20
    waiting: tuple[str, ...] = ()  # jobs that are due and have not started, at most 20
    parked: tuple[str, ...] = ()  # jobs that no live node can run
    errors: tuple[str, ...] = ()  # jobs whose next instant cannot be computed
    abandoned: tuple[str, ...] = ()  # coroutines and threads that would not end
    incidents: int = 0  # open ones: nobody has acknowledged them, and they are not over
    problems: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()

    @property
    def healthy(self) -> bool:
        return self.state in {"ok", "draining"}


def stale_after(node: Node) -> float:
    """Seconds of silence after which a node counts as stalled."""
    return 3 * node.interval + 20.0


def health(node: Node, now: datetime) -> Health:
    """How one node is."""
    if not node.alive:
        return "not running"
    bound = stale_after(node)
    if node.heartbeat_at is None or (now - node.heartbeat_at).total_seconds() > bound:
        return "stalled"
    if node.blocked is not None:
        return "blocked loop"
    if node.draining:
        return "draining"
    success = node.last_success_at or node.started_at
    if node.last_error is not None and success < node.heartbeat_at:
        return "failing"
    return "ok" if (now - success).total_seconds() <= bound else "failing"


_BEST_FIRST: tuple[Health, ...] = (
    *("ok", "draining", "blocked loop"),
    *("failing", "stalled", "not running"),
)


def judge(
    now: datetime,
    nodes: Sequence[Node],
    *,
    store: str,
    jobs: int,
    next_fire_at: datetime | None,
    parked: tuple[str, ...],
    errors: tuple[str, ...],
    incidents: int,
    problems: tuple[str, ...],
    running: Sequence[Run] = (),
    due: Sequence[Job] = (),
) -> Status:
    """One status from all nodes: the best of those with a trigger stands for the store."""
    pulling = [node for node in nodes if node.provider]
    if not pulling:
        return Status(
            state="not running",
            store=store,
            jobs=jobs,
            next_fire_at=next_fire_at,
            errors=errors,
            incidents=incidents,
            problems=problems,
            nodes=tuple(nodes),
        )
    ranked = sorted(
        pulling,
        key=lambda node: (
            _BEST_FIRST.index(health(node, now)),
            -(node.heartbeat_at or node.started_at).timestamp(),
        ),
    )
    best, live = ranked[0], {node.id for node in nodes if node.alive}
    return Status(
        state=health(best, now),
        store=store,
        provider=best.provider or None,
        provider_note=best.provider_note,
        heartbeat_at=best.heartbeat_at,
        last_success_at=best.last_success_at,
        last_error=best.last_error,
        blocked=best.blocked if best.alive else None,
        jobs=jobs,
        next_fire_at=next_fire_at,
        running=sum(
            run.node in live for run in running
        ),  # a node's own count is as old as its beat
        slots=slots(running, due),
        waiting=tuple(job.id for job in due[:NAMED]),
        parked=parked,
        errors=errors,
        abandoned=tuple(label for node in nodes if node.alive for label in node.abandoned),
        incidents=incidents,
        problems=problems,
        nodes=tuple(ranked),
    )
