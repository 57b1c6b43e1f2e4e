"""What is due because a node starts, and which instant a due one stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.contain import text_of
from acron.model import Decision
from acron.text import one_line
from acron.timetable import on_start, timetable

if TYPE_CHECKING:
    from datetime import datetime

    from acron.model import Job
    from acron.runtime import Runtime


async def boot(rt: Runtime) -> None:
    """``@reboot`` is due when a store goes from no live node to one: of nodes that start at
    the same time, the one that started first."""
    me = (rt.pulse.node.started_at, rt.node_id)
    for node in await rt.store.nodes():
        if node.alive and node.provider and (node.started_at, node.id) < me:
            return
    jobs = await rt.store.on_start()
    if not jobs:
        return
    now = rt.clock.now()

    def change(_: str, job: Job | None, *__: object) -> Decision:
        try:
            return Decision(None if job is None else on_start(job, now))
        except Exception as error:  # noqa: BLE001 (a calendar that is gone stops no sibling)
            return Decision(job and replace(job, error=one_line(text_of(error))))

    await rt.store.write([job.id for job in jobs], change, now)


def owed_instant(job: Job, due: datetime) -> datetime:
    """The instant of the schedule that ``due``, which includes jitter, belongs to."""
    if not job.policy.jitter or job.cursor is None:
        return due
    return min(due, timetable(job).next_after(job.cursor) or due)
