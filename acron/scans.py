"""What a store can do by its other methods: one of millions knows better."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.model import Decision, Job, Node, RunState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from acron.abc import Store

#: When something is due, and whose it is.
DueRow = tuple[datetime, str]
#: All pending runs: there are few at any time.
_ALL = 1_000_000


async def every_job(store: Store) -> AsyncIterator[Job]:
    """All jobs, by id."""
    after = ""
    while page := await store.page(after):
        after = page[-1].id
        for job in page:
            yield job


async def upcoming(store: Store, since: datetime | None, until: datetime) -> AsyncIterator[DueRow]:
    """See ``Store.upcoming``."""
    runs = await store.runs(state=RunState.PENDING, limit=_ALL)
    rows = {(run.due_at, run.job_id) for run in runs}
    rows |= {(due, job.id) async for job in every_job(store) if (due := job.due_at) is not None}
    for row in sorted(rows):
        if row[0] <= until and (since is None or row[0] > since):
            yield row


async def request_drain(store: Store, node: Node) -> None:
    """See ``Store.request_drain``: what the node says of itself, changed, and news for all."""
    await store.beat(replace(node, drain_requested=True))
    ids = [job.id for job in await store.page(limit=1)]
    await store.write(ids, lambda _, job, *__: Decision(job), node.started_at)
