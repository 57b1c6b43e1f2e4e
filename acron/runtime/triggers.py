"""Triggers that came from outside, together: one claim for all, then one look at what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acron.abc import Answer, Armed, Fired

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from acron.model import Job
    from acron.runtime import Runtime


async def fire_many(rt: Runtime, triggers: Sequence[Armed]) -> list[Answer]:
    """See ``Firing.fire_many``. Two thousand triggers cost no more than their claims."""
    if rt.draining:
        return [Answer(Fired.DRAINING) for _ in triggers]
    taken: set[str] = set()
    now = rt.clock.now()
    if any(one.instant <= now for one in triggers):
        await rt.claim_due(taken=taken)
        rt.pulse.success()
        await rt.pulse.beat()
    jobs = await rt.store.get_many({one.job_id for one in triggers})
    able, now = rt.can_run, rt.clock.now()
    return [_answer(one, jobs.get(one.job_id), taken, able, now) for one in triggers]


def _answer(
    trigger: Armed, job: Job | None, taken: Collection[str], able: Collection[str], now: datetime
) -> Answer:
    due = None if job is None else job.due_at
    if job is None:
        return Answer(Fired.NOTHING)
    if job.id in taken:
        return Answer(Fired.CLAIMED, due)
    if trigger.instant > now:
        return Answer(Fired.EARLY if due == trigger.instant else Fired.NOTHING, due)
    if job.action.needs not in able or (due is not None and due <= now):
        # Somebody who can, has room, or holds its row just now: perhaps; we have not claimed it.
        return Answer(Fired.DRAINING, due)
    return Answer(Fired.NOTHING, due)


async def sweep(rt: Runtime, delay: float) -> int:
    """Fire what was due ``delay`` seconds ago and that no trigger came for; how many runs."""
    return 0 if rt.draining else await rt.claim_due(late=delay)
