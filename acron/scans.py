"""How a store of few jobs finds what one of millions has an index for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acron.model import Job, RunState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from acron.abc import Store

#: All pending runs: there are few at any time.
_ALL = 1_000_000


async def every_job(store: Store) -> AsyncIterator[Job]:
    """All jobs, by id."""
    after = ""
    while page := await store.page(after):
        after = page[-1].id
        for job in page:
            yield job


async def upcoming(
    store: Store, since: datetime | None, until: datetime
) -> list[tuple[datetime, str]]:
    """See ``Store.upcoming``."""
    runs = await store.runs(state=RunState.PENDING, limit=_ALL)
    rows = {(run.due_at, run.job_id) for run in runs}
    rows |= {(due, job.id) async for job in every_job(store) if (due := job.due_at) is not None}
    return sorted(row for row in rows if row[0] <= until and (since is None or row[0] > since))
