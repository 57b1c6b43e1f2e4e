"""Reminders that people ask for in a chat, on whatever platform: each sees and ends their own."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from acron.errors import InvalidJob, ScheduleError
from acron.schedules import parse
from acron.specs import Call
from acron.text import one_line

if TYPE_CHECKING:
    from datetime import datetime

    from acron.app import Acron
    from acron.model import Job
    from acron.schedules import Schedule

HOW = "Say when, then what: `in 10m tea`, `tomorrow at 9am call Ada`, `weekdays at 9:30 stand up`."
NO_SUCH = "You have no reminder of that name. `/schedules` lists yours."
#: The longest text of a reminder, in characters: it fits into one message anywhere.
LONGEST = 1000
#: Words that a schedule may have at most, where one line holds both schedule and text.
WORDS = 16
#: Reminders that one answer lists: it fits into one message anywhere.
SHOWN = 12
#: For how long a reminder that is over is kept, for its delivery to be tried again.
KEPT = timedelta(days=1)


async def acron_reminder(text: str) -> str:
    """What a reminder does: it says its text, and the job's ``deliver`` says where."""
    return text


def title(job: Job) -> str:
    """The text of a reminder in one line."""
    given = job.action.kwargs if isinstance(job.action, Call) else {}
    return one_line(str(given.get("text", job.name)), 60)


class Reminders:
    """What ``/remind`` and ``/schedules`` do, for the people of one ``platform``.

    A reminder is a job of ``app``, so it survives restarts. It is delivered to
    ``platform:chat``, tagged ``user:platform:user`` and ``chat:platform:chat``, and those of one
    chat come one after the other. A person has at most ``quota`` that are still to come, each at
    most every ``shortest`` seconds. ``tz`` is the zone of what people write; by default the app's.
    Every method gives the words to answer with: a mistake of a person's is an answer, too.
    """

    def __init__(
        self,
        app: Acron,
        platform: str,
        *,
        quota: int = 20,
        shortest: float = 60.0,
        tz: str | None = None,
    ) -> None:
        self.app = app
        self._platform = platform
        self._quota = quota
        self._shortest = timedelta(seconds=shortest)
        self._tz = tz or app.tz
        self._adding = asyncio.Lock()
        app.action(acron_reminder)

    async def remind(self, user: str, chat: str, when: str, text: str) -> str:
        """Add a reminder; the answer tells its next instants and their zone."""
        text = text.strip()
        if not text or len(text) > LONGEST:
            return f"A reminder has a text of at most {LONGEST} characters."
        now = self.app.clock.now()
        try:
            following = parse(when, tz=self._tz, now=now, job_id=user).upcoming(now, 10)
        except ScheduleError as error:
            return one_line(f"{error}. {HOW}", 500)
        gaps = (after - before for before, after in pairwise(following))
        if min(gaps, default=self._shortest) < self._shortest:
            return f"That is too often: every {self._shortest.total_seconds():g} s at most."
        async with self._adding:  # two at once would both be the last that the quota allows
            if len(await self.of(user, tidy=True)) >= self._quota:
                return f"You have {self._quota} reminders; end one first (`/schedules`)."
            try:
                job = await self._add(user, chat, when, text)
            except InvalidJob as error:
                return one_line(str(error), 500)
        return f"Reminder `{job.id}`: {one_line(text, 100)}\n{await self._when(job, 3)}"

    async def remind_line(self, user: str, chat: str, line: str) -> str:
        """``remind`` with schedule and text in one line: as many words as make a schedule."""
        when, text = self._cut(line)
        return await self.remind(user, chat, when, text) if when else HOW

    async def schedules(self, user: str) -> str:
        """The next reminders of ``user``, a line each."""
        jobs = await self.of(user)
        if not jobs:
            return f"You have no reminders. {HOW}"
        jobs.sort(key=lambda job: (job.next_fire_at is None, job.next_fire_at))
        lines = [f"`{job.id}` {await self._when(job, 1)}: {title(job)}" for job in jobs[:SHOWN]]
        more = [f"… and {len(jobs) - SHOWN} later ones"] if len(jobs) > SHOWN else []
        return "\n".join(lines + more)

    async def cancel(self, user: str, ref: str) -> str:
        """End a reminder of ``user``: its id, or so much of it as is no other's of theirs."""
        found = [job for job in await self.of(user) if ref and job.id.startswith(ref)]
        if len(found) != 1:
            return NO_SUCH
        await self.app.remove(found[0].id)
        return f"Ended: {title(found[0])}"

    async def schedules_line(self, user: str, line: str) -> str:
        """``schedules``, or with ``cancel ID`` its end."""
        verb, _, ref = line.strip().partition(" ")
        if not verb:
            return await self.schedules(user)
        if verb.lower() == "cancel":
            return await self.cancel(user, ref.strip())
        return "Say `/schedules`, or `/schedules cancel ID`."

    async def of(self, user: str, *, tidy: bool = False) -> list[Job]:
        """The reminders of ``user`` that are still to come. With ``tidy``, those that have long
        been over are removed."""
        jobs = [job async for job in self.app.jobs(tag=self._tag("user", user))]
        if tidy:
            before = self.app.clock.now() - KEPT
            for job in jobs:
                if job.completed and (job.cursor or before) <= before:
                    await self.app.remove(job.id)
        return [job for job in jobs if not job.completed]

    async def _add(self, user: str, chat: str, when: str, text: str) -> Job:
        target = f"{self._platform}:{chat}"
        return await self.app.add(
            when,
            acron_reminder,
            kwargs={"text": text},
            name="Reminder",  # the text is said below it
            tz=self._tz,
            deliver=(target,),
            tags=(self._tag("user", user), self._tag("chat", chat)),
            key=target,
            overlap="queue",
        )

    def _tag(self, kind: str, one: str) -> str:
        return f"{kind}:{self._platform}:{one}"

    def _cut(self, line: str) -> tuple[str, str]:
        """The longest beginning of ``line`` that is a schedule, and the rest; empty if none is."""
        words = line.split(maxsplit=WORDS)
        for count in range(min(len(words) - 1, WORDS), 0, -1):
            when = " ".join(words[:count]).rstrip(":,")
            if self._schedule(when) is not None:
                return when, line.split(maxsplit=count)[count]
        return "", line

    def _schedule(self, when: str) -> Schedule | None:
        try:
            return parse(when, tz=self._tz, now=self.app.clock.now(), job_id="H")
        except ScheduleError:
            return None

    async def _when(self, job: Job, count: int) -> str:
        instants = await self.app.upcoming(job.id, count)
        return ", ".join(map(self._told, instants)) or "never again"

    def _told(self, instant: datetime) -> str:
        return f"{instant.astimezone(ZoneInfo(self._tz)):%a %d %b %Y %H:%M:%S} {self._tz}"
