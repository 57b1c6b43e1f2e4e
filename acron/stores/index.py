"""Jobs in memory, found by id, name, tag, and by whether they have incidents."""

from __future__ import annotations

from bisect import bisect_right
from heapq import nsmallest
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acron.model import Job


class Index:
    """``jobs`` are the owner's; it tells of each change by ``moved``."""

    __slots__ = ("_ids", "_jobs", "_names", "_tagged", "_troubled")

    def __init__(self, jobs: dict[str, Job]) -> None:
        self._jobs = jobs
        self._ids: list[str] | None = None  # in order, when asked for
        self._names: dict[str, set[str]] | None = None  # ids by name, when asked for
        self._tagged: dict[str, set[str]] = {}  # ids by tag
        self._troubled: set[str] = set()  # those with incidents

    def moved(self, job_id: str, old: Job | None, new: Job | None) -> None:
        """The job ``old`` is now ``new``."""
        if old is None or new is None:
            self._ids = None
            self._names = None
        elif self._names is not None and old.name != new.name:
            self._names = None
        before, after = () if old is None else old.tags, () if new is None else new.tags
        if before is not after and before != after:
            self._retag(job_id, before, after)
        if new is not None and new.incidents:
            self._troubled.add(job_id)
        elif self._troubled:
            self._troubled.discard(job_id)

    def _retag(self, job_id: str, before: tuple[str, ...], after: tuple[str, ...]) -> None:
        for tag in before:
            tagged = self._tagged.get(tag, set())
            tagged.discard(job_id)
            if not tagged:
                self._tagged.pop(tag, None)
        for tag in after:
            self._tagged.setdefault(tag, set()).add(job_id)

    def named(self, name: str) -> list[Job]:
        if self._names is None:
            self._names = {}
            for job in self._jobs.values():
                self._names.setdefault(job.name.casefold(), set()).add(job.id)
        return [self._jobs[one] for one in sorted(self._names.get(name.casefold(), ()))]

    def tagged(self, tag: str) -> list[str]:
        """The ids of the jobs with that tag."""
        return list(self._tagged.get(tag, ()))

    def incidents(self, limit: int) -> list[Job]:
        return [self._jobs[one] for one in nsmallest(limit, self._troubled)]

    def page(self, after: str, limit: int, app: str | None, tag: str | None) -> list[Job]:
        if tag is not None:
            tagged = (self._jobs[one] for one in self._tagged.get(tag, ()) if one > after)
            mine = (job for job in tagged if app is None or job.app == app)
            return nsmallest(limit, mine, key=lambda job: job.id)
        if self._ids is None:
            self._ids = sorted(self._jobs)
        found = (self._jobs[one] for one in self._ids[bisect_right(self._ids, after) :])
        wanted = found if app is None else (job for job in found if job.app == app)
        return list(islice(wanted, max(limit, 0)))
