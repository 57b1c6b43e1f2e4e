"""The verbs on many jobs at once: all there are, or those with a tag."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.errors import InvalidJob, ScheduleError
from acron.model import Decision
from acron.schedules import Once, parse
from acron.timetable import bind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from acron.abc import Store
    from acron.clock import Clock
    from acron.model import Job, Run

#: How the reason of a job begins that was paused with others, and is resumed with them.
WITH_OTHERS = "paused with others"
_MOMENTS = "write for example 'in 2h', 'tomorrow at 9am' or '2026-12-01T09:00'"


class Bulk(ABC):
    """What is changed goes into the store a page at a time: jobs that are added meanwhile are
    not among them."""

    tz: str
    clock: Clock

    @property
    @abstractmethod
    def store(self) -> Store:
        """The open store."""

    async def pause_all(
        self, reason: str = "", *, until: datetime | str | None = None, tag: str | None = None
    ) -> int:
        """Pause every job, or those with ``tag``; how many. Those that are paused already stay
        as they are, also when ``resume_all`` comes. ``until`` is as in ``pause``."""
        end = self._moment(until)
        why = f"{WITH_OTHERS}: {reason}" if reason else WITH_OTHERS

        def paused(job: Job) -> Job | None:
            if job.paused is not None or job.completed:
                return None
            return replace(job, paused=why, paused_until=end)

        return await self._change_all(paused, tag)

    async def resume_all(self, *, tag: str | None = None) -> int:
        """Resume what ``pause_all`` has paused, of those with ``tag`` when given; how many."""

        def resumed(job: Job) -> Job | None:
            if job.paused is None or not job.paused.startswith(WITH_OTHERS):
                return None
            return replace(job, paused=None, paused_until=None)

        return await self._change_all(resumed, tag)

    async def remove_tagged(self, tag: str) -> int:
        """Forget every job with ``tag``, as ``remove`` would; how many there were."""
        return await self.store.remove_tagged(tag, self.clock.now())

    async def _change_all(self, changed: Callable[[Job], Job | None], tag: str | None) -> int:
        count, after = 0, ""
        while page := await self.store.page(after, tag=tag):
            after = page[-1].id
            ids = [job.id for job in page if changed(job) is not None]
            if ids:
                count += await self._write(ids, changed)
        return count

    async def _write(self, ids: Sequence[str], changed: Callable[[Job], Job | None]) -> int:
        now = self.clock.now()
        done: set[str] = set()

        def change(
            job_id: str, old: Job | None, _: Sequence[Run], __: Callable[[], int]
        ) -> Decision:
            new = None if old is None else changed(old)
            if old is None or new is None:  # somebody was faster
                return Decision(old)
            done.add(job_id)
            return bind(new, old, now)

        await self.store.write(ids, change, now)
        return len(done)

    def _moment(self, until: datetime | str | None) -> datetime | None:
        """The end of a pause, UTC. Raises ScheduleError, InvalidJob."""
        if until is None:
            return None
        now = self.clock.now()
        if isinstance(until, str):
            try:
                schedule = parse(until, tz=self.tz, now=now)
            except ScheduleError as error:
                raise ScheduleError(error.message, text=until, hint=_MOMENTS) from error
            if not isinstance(schedule, Once):
                message = f"a pause ends once: at a moment, or after a delay, not {until!r}"
                raise InvalidJob(message, where="$.paused_until")
            until = schedule.at
        if until.tzinfo is None:
            message = f"{until.isoformat()} has no zone; give an aware datetime"
            raise InvalidJob(message, where="$.paused_until")
        if until <= now:
            message = f"{until.isoformat()} is past: the pause would be over"
            raise InvalidJob(message, where="$.paused_until")
        return until
