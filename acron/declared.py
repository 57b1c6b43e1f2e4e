"""The jobs that a program declares, and what they become in a store when it opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.errors import JobConflict, ScheduleError
from acron.model import Decision
from acron.timetable import bind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from acron.abc import Store
    from acron.model import Job, Node, Run


async def declare(store: Store, app: str, jobs: Mapping[str, Job], now: datetime) -> None:
    """Put what ``app`` declares into the store: the code's definition wins, the progress (next
    instant, counts, a pause by hand) stays. Raises JobConflict for an id that is another's,
    ScheduleError for a schedule that is none."""
    gone = _gone(app)

    def change(job_id: str, old: Job | None, _: Sequence[Run], __: Callable[[], int]) -> Decision:
        job = jobs[job_id]
        if old is None:
            return bound(job, None)
        if old.app != app:
            owner = f"app {old.app!r}" if old.app else "a job added at run time"
            message = f"the id {job_id!r} belongs to {owner}; give the declared job another id"
            raise JobConflict(message, job_id=job_id)
        kept = replace(job, extra=old.extra)
        if old.paused != gone:
            kept = replace(kept, paused=old.paused, paused_until=old.paused_until)
        return bound(kept, old)

    def bound(job: Job, old: Job | None) -> Decision:
        try:
            return bind(job, old, now, past=True)
        except ScheduleError as error:  # of many jobs: which one?
            message = f"job {job.id!r}: {error.message}"
            at = error.position
            raise ScheduleError(message, text=error.text, position=at, hint=error.hint) from None

    if jobs:
        await store.write(list(jobs), change, now)


async def pause_orphans(
    store: Store, app: str, declared: Collection[str], others: Sequence[Node], now: datetime
) -> None:
    """Pause the jobs of ``app`` that neither it nor another live node of it declares any more:
    their functions are gone, and someone should know."""
    offers = frozenset[str]().union(*(node.offers for node in others if node.app == app))
    orphans: list[str] = []
    after = ""
    while page := await store.page(after, app=app):
        after = page[-1].id
        orphans += [
            job.id
            for job in page
            if job.id not in declared and job.paused is None and job.action.needs not in offers
        ]

    def change(_: str, old: Job | None, __: Sequence[Run], ___: Callable[[], int]) -> Decision:
        if old is None or old.paused is not None:
            return Decision(old)
        return Decision(replace(old, paused=_gone(app), revision=old.revision + 1))

    if orphans:
        await store.write(orphans, change, now)


def _gone(app: str) -> str:
    return f"no longer declared by app {app!r}"
