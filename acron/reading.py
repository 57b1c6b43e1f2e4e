"""The verbs that read: jobs, the ledger, what is to come, and how it is."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from acron.errors import AmbiguousJob, JobNotFound
from acron.incidents import is_open
from acron.model import RunState
from acron.occurrences import history, occurrences
from acron.status import Status, judge
from acron.text import is_silent, one_line
from acron.timetable import pause_over, timetable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from acron.abc import Store
    from acron.clock import Clock
    from acron.model import Job, Node, Occurrence, Run, Skip


log = logging.getLogger("acron")


class Reading(ABC):
    """What can be asked of a store, also while the app is not open: it is opened for the purpose.

    ``ref`` is a job's id, or its name in any letter case.
    """

    clock: Clock

    @property
    @abstractmethod
    def store(self) -> Store:
        """The open store. Raises WrongLoop from another event loop than the app's."""

    @abstractmethod
    def _reading(self) -> AbstractAsyncContextManager[Store]:
        """The store, opened for the purpose when the app is not open."""

    async def get(self, ref: str) -> Job:
        """The job with that id, else the one with that name. Raises JobNotFound, AmbiguousJob."""
        async with self._reading() as store:
            job = await store.get(ref)
            named = [job] if job is not None else await store.named(ref)
        if not named:
            raise JobNotFound(ref)
        if len(named) > 1:
            raise AmbiguousJob(ref, tuple(one.id for one in named))
        return named[0]

    async def jobs(self, *, tag: str | None = None) -> AsyncIterator[Job]:
        """All jobs, or those with ``tag``, by id, read in pages."""
        after = ""
        async with self._reading() as store:
            while page := await store.page(after, tag=tag):
                for job in page:
                    yield job
                after = page[-1].id

    async def runs(
        self, ref: str | None = None, *, state: str | None = None, limit: int = 100
    ) -> list[Run]:
        """The ledger of runs, newest first. A removed job's runs answer to its id."""
        wanted = None if state is None else RunState(state)
        async with self._reading() as store:
            return await store.runs(await self._ledger_id(ref), state=wanted, limit=limit)

    async def skips(self, ref: str | None = None, *, limit: int = 100) -> list[Skip]:
        """The ledger of occurrences that did not run, newest first."""
        async with self._reading() as store:
            return await store.skips(await self._ledger_id(ref), limit=limit)

    async def occurrences(self, ref: str, since: datetime, until: datetime) -> list[Occurrence]:
        """Every occurrence of a job in ``since <= instant < until`` and its fate, oldest first.

        Runs come one by one; what was skipped together, is owed or lies ahead is one counted row,
        so that there are never many more rows than the ledger has. What retention has forgotten
        is not there. Raises JobNotFound, and ValueError for naive instants.
        """
        if since.tzinfo is None or until.tzinfo is None:
            message = "since and until are aware datetimes"
            raise ValueError(message)
        job_id = await self._ledger_id(ref)
        async with self._reading() as store:
            told = await history(store, job_id or "")
        return occurrences(told, self.clock.now(), since, until)

    async def _ledger_id(self, ref: str | None) -> str | None:
        if ref is None:
            return None
        try:
            return (await self.get(ref)).id
        except JobNotFound:
            async with self._reading() as store:
                if await store.runs(ref, limit=1):
                    return ref
            raise

    async def get_run(self, run_id: str) -> Run:
        """One run. Raises JobNotFound."""
        async with self._reading() as store:
            run = await store.run(run_id)
        if run is None:
            raise JobNotFound(run_id, kind="run")
        return run

    async def _newest_output(self, ref: str) -> str | None:
        """The newest output of a job that says something, for ``context_from``."""
        try:
            job_id = await self._ledger_id(ref)
        except (JobNotFound, AmbiguousJob) as error:
            log.warning("context_from: %s", one_line(str(error)))
            return None
        async with self._reading() as store:
            runs = await store.runs(job_id, state=RunState.SUCCEEDED, limit=50)
        return next((run.output for run in runs if not is_silent(run.output)), None)

    async def upcoming(self, ref: str, count: int = 5) -> list[datetime]:
        """The job's next instants, UTC; none while it is paused without an end. What comes due in
        a pause with an end, and is to fire all the same, is told as that end."""
        job = await self.get(ref)
        end = job.paused_until
        if job.due_at is None or end is None:
            return self._following(job, count)
        job = pause_over(job, max(self.clock.now(), end)).job or job
        return [max(at, end) for at in self._following(job, count)]

    @staticmethod
    def _following(job: Job, count: int) -> list[datetime]:
        if job.due_at is None or job.cursor is None:
            return []
        left = count if job.policy.repeat is None else min(count, job.policy.repeat - job.fired)
        schedule = timetable(job)
        return (
            schedule.upcoming(job.cursor, left) if schedule.next_after(job.cursor) else [job.due_at]
        )

    async def nodes(self) -> list[Node]:
        """The processes that use this store, as each last described itself; the dead are kept
        until another's upkeep forgets them."""
        async with self._reading() as store:
            return await store.nodes()

    async def status(self) -> Status:
        """Whether jobs fire, and if not, why."""
        now = self.clock.now()
        async with self._reading() as store:
            nodes = await store.nodes()
            problems = tuple(await store.problems())
            running = await store.runs(state=RunState.RUNNING, limit=1000)
            overdue = await store.overdue(now)
            jobs = [job async for job in self.jobs()]
        live = [node for node in nodes if node.alive]
        offers = frozenset[str]().union(*(node.offers for node in live))
        waiting = [job for job in jobs if job.due_at is not None]
        return judge(
            now,
            nodes,
            store=store.address,
            jobs=len(jobs),
            next_fire_at=min((job.due_at for job in waiting if job.due_at), default=None),
            parked=tuple(job.id for job in waiting if live and job.action.needs not in offers),
            errors=tuple(job.id for job in jobs if job.state == "error"),
            incidents=sum(is_open(one) for job in jobs for one in job.incidents),
            problems=problems,
            running=running,
            due=[job for job in overdue if job.state == "scheduled"],
        )
