"""One tool with which a language-model agent manages its own schedules.

``schema()`` is what the model is shown; ``call()`` does what it asks and answers in words, also
when it refuses. Who asks is the host's to say (``origin``: a chat, a user); an origin sees and
changes only the jobs that it made.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from msgspec import Struct

from acron.contain import text_of
from acron.errors import AcronError, ConfigError, InvalidJob, ScheduleError, StoreError
from acron.integrations.request import (
    Refused,
    Request,
    read,
    refuse_job,
    schema,
    texts,
    visible,
)
from acron.runtime.run import current_attempt
from acron.schedules import parse
from acron.schedules.combine import Bounded, Except, Union
from acron.schedules.zones import zone
from acron.specs import Call, Prompt
from acron.text import one_line
from acron.timetable import timetable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from acron.app import Acron
    from acron.model import Job
    from acron.schedules import Schedule

__all__ = ["MAY_SCHEDULE", "Desk", "Limits", "Refused", "call", "schema"]

log = logging.getLogger("acron.tool")

#: The tag of a job whose runs may use this tool for more than ``list``.
MAY_SCHEDULE = "may-schedule"
#: Instants that the shortest interval is looked for among.
_LOOKED_AT = 64
_PROMPT_LIMIT = 10_000
_NAMED = 50

#: One lock an app: two calls at once must not both find room for one more job.
_creating: WeakKeyDictionary[Acron, asyncio.Lock] = WeakKeyDictionary()


class Limits(Struct, frozen=True):
    """What one origin may have: ``jobs`` that are not completed, and the shortest time between
    two fires of a job, ``every``, in seconds."""

    jobs: int = 20
    every: float = 300.0


async def call(
    app: Acron, arguments: Mapping[str, Any] | str, *, origin: str, **options: Any
) -> str:
    """Do what the model asks (``arguments``: the object that ``schema`` describes, or its JSON
    text) for ``origin``, and say what came of it. The ``options`` are the other fields of `Desk`.

    What cannot be done is answered in words, beginning with ``Error:``; nothing is raised but
    cancellation, and ConfigError for an ``origin`` that is none. ``app`` must be open.
    """
    try:
        return await Desk(app, origin, **options).do(arguments)
    except Refused as refused:
        return f"Error: {refused}"


@dataclass(frozen=True)
class Desk:
    """Where one origin's calls are dealt with.

    ``origin`` is a place where people are told, such as ``telegram:-100123``, so that the target
    ``origin`` means it; any other text will do where nothing is delivered there.
    ``functions`` are names of registered functions that may be called in the place of a prompt.
    ``deliver`` is where the output of new jobs goes, ``tz`` their zone unless the model says
    another (default: the app's). With ``may_schedule``, runs of the jobs created may themselves
    use the tool. ``within`` is the id of the job on whose behalf the call is made, where that is
    another process's run; a run of this process is known.
    """

    app: Acron
    origin: str
    limits: Limits = field(default_factory=Limits)
    functions: Collection[str] = ()
    deliver: str | Sequence[str] | None = None
    tz: str | None = None
    may_schedule: bool = False
    within: str | None = None

    def __post_init__(self) -> None:
        text = self.origin
        if not text.strip() or not text.isprintable() or "," in text or len(text) > 200:
            message = f"must be printable text of at most 200 characters, no comma, not {text!r}"
            raise ConfigError(message, where="origin")

    @property
    def tag(self) -> str:
        return f"origin:{self.origin}"

    async def do(self, arguments: Mapping[str, Any] | str) -> str:
        """``call``, but what cannot be done raises Refused."""
        try:
            request = read(arguments)
            await self._permit(request)
            return str(await getattr(self, f"_{request.action}")(request))
        except Refused:
            raise
        except StoreError as error:
            log.warning("the tool's store: %s", one_line(str(error)))
            message = "the jobs cannot be reached now, and nothing was changed; try again later"
            raise Refused(message) from error
        except AcronError as error:
            where = error.where.removeprefix("$.") if isinstance(error, InvalidJob) else ""
            where = "schedule" if isinstance(error, ScheduleError) else where
            text = one_line(str(error), 500)
            raise Refused(f"{where}: {text}" if where else text) from error
        except Exception as error:
            log.exception("the tool failed")
            message = (
                f"the scheduler itself failed ({one_line(text_of(error), 200)}); tell the user"
            )
            raise Refused(message) from error

    async def _permit(self, request: Request) -> None:
        """A run may look. That it makes, changes or ends jobs must have been allowed to its job
        by people: a prompt that somebody slipped in must not be able to stay for ever."""
        attempt = current_attempt.get()
        job = attempt.job if attempt is not None else None
        if self.within is not None:
            job = await self.app.store.get(self.within)
        elif job is None:
            return
        if request.action == "list" or (job is not None and MAY_SCHEDULE in job.tags):
            return
        message = (
            f"a scheduled run may only list jobs, not {request.action} them, unless its job was "
            "created with that permission; say in your answer what you would change, and people "
            "can ask for it"
        )
        raise Refused(message)

    # --- the actions ---

    async def _create(self, request: Request) -> str:
        if request.schedule is None:
            raise Refused("create needs a schedule, such as 'tomorrow at 9am' or 'every 2h'")
        refuse_job(request)
        job_id = secrets.token_hex(4)
        tz = _zone(request.tz) or self.tz or self.app.tz
        action = self._action(request)
        if action is None:
            raise Refused(f"create needs {self._what}: what is to be done then")
        row = {
            "id": job_id,
            "name": visible(request.name, "name"),
            "schedule": self._schedule(request.schedule, tz, job_id),
            "tz": tz,
            "repeat": request.repeat,
            "deliver": self.deliver,
            "origin": self.origin,
            "tags": [self.tag, *([MAY_SCHEDULE] if self.may_schedule else [])],
            **action,
        }
        async with _creating.setdefault(self.app, asyncio.Lock()):
            await self._room()
            (job,) = await self.app.add_many([row])
        return await self._confirm("Created", job)

    async def _update(self, request: Request) -> str:
        job = await self._own(request)
        tz = _zone(request.tz) or job.tz
        given: dict[str, Any] = {
            "name": visible(request.name, "name"),
            "tz": request.tz and tz,
            "repeat": request.repeat,
            **(self._action(request) or {}),
        }
        if request.schedule is not None:
            given["schedule"] = self._schedule(request.schedule, tz, job.id)
        given = {key: one for key, one in given.items() if one is not None}
        if not given:
            message = f"update needs what to change: schedule, {self._what}, name, tz or repeat"
            raise Refused(message)
        async with _creating.setdefault(self.app, asyncio.Lock()):
            if job.completed:  # a new schedule makes it count again
                await self._room()
            job = await self.app.edit(job.id, revision=job.revision, **given)
        return await self._confirm("Updated", job)

    async def _pause(self, request: Request) -> str:
        job = await self._own(request)
        reason = one_line(request.reason or "", 200)
        try:
            job = await self.app.pause(job.id, reason, until=request.until)
        except ScheduleError as error:
            raise Refused(f"until: {one_line(str(error), 500)}") from error
        return await self._confirm("Paused", job)

    async def _resume(self, request: Request) -> str:
        job = await self._own(request)
        return await self._confirm("Resumed", await self.app.resume(job.id))

    async def _run(self, request: Request) -> str:
        job = await self._own(request)
        run = await self.app.run_now(job.id)
        return f"Job {_title(job)} runs once now, beside its schedule (run {run.id})."

    async def _remove(self, request: Request) -> str:
        job = await self._own(request)
        await self.app.remove(job.id)
        return f"Removed job {_title(job)}. It will not fire again."

    async def _list(self, request: Request) -> str:
        refuse_job(request)
        jobs = await self._jobs()
        open_ones = [job for job in jobs if not job.completed]
        if not open_ones:
            return f"You have no jobs; you may have {self.limits.jobs}."
        head = f"{len(open_ones)} of at most {self.limits.jobs} jobs:"
        lines = [_line(job) for job in open_ones[:_NAMED]]
        if len(open_ones) > _NAMED:
            lines.append(f"… and {len(open_ones) - _NAMED} more")
        return "\n".join([head, *lines])

    # --- what they are made of ---

    @property
    def _what(self) -> str:
        return "a prompt or a function" if self.functions else "a prompt"

    async def _jobs(self) -> list[Job]:
        return [job async for job in self.app.jobs(tag=self.tag)]

    async def _own(self, request: Request) -> Job:
        """The job that is meant, among the origin's own: of others it learns nothing."""
        if request.job is None:
            raise Refused(f"{request.action} needs job: the id or the name of one of your jobs")
        jobs = await self._jobs()
        wanted = request.job.strip()
        found = [job for job in jobs if job.id == wanted]
        found = found or [job for job in jobs if job.name.casefold() == wanted.casefold()]
        if len(found) == 1:
            return found[0]
        shown = one_line(repr(wanted), 100)
        if found:
            ids = ", ".join(job.id for job in found)
            raise Refused(f"{shown} names {len(found)} of your jobs; use an id: {ids}")
        known = ", ".join(_title(job) for job in jobs[:_NAMED]) or "none"
        raise Refused(f"you have no job {shown}; your jobs: {known}")

    async def _room(self) -> None:
        count = sum(not job.completed for job in await self._jobs())
        if count >= self.limits.jobs:
            message = f"you have {count} jobs, and {self.limits.jobs} are allowed; remove one first"
            raise Refused(message)

    def _action(self, request: Request) -> dict[str, Any] | None:
        """What it does, in the words of a job's record."""
        if request.function is None:
            if request.arguments is not None:
                raise Refused("arguments go with function")
            prompt = visible(request.prompt, "prompt")
            if prompt is not None and len(prompt) > _PROMPT_LIMIT:
                message = f"the prompt has {len(prompt)} characters; at most {_PROMPT_LIMIT} are"
                raise Refused(f"{message} allowed")
            return None if prompt is None else {"prompt": prompt}
        if request.prompt is not None:
            raise Refused("a job has a prompt or a function, not both")
        if request.function not in self.functions:
            known = ", ".join(sorted(self.functions)) or "none; use a prompt"
            shown = one_line(repr(request.function), 100)
            raise Refused(f"{shown} is not a function that you may schedule; allowed: {known}")
        for text in texts(request.arguments or {}):
            visible(text, "arguments")
        return {"call": request.function, "kwargs": request.arguments or {}}

    def _schedule(self, text: str, tz: str, job_id: str) -> str:
        """The text, if it does not fire more often than allowed."""
        visible(text, "schedule")
        now = self.app.clock.now()
        found = parse(text, tz=tz, now=now, job_id=job_id)
        for part in _parts(found):
            gaps = [(b - a).total_seconds() for a, b in pairwise(part.upcoming(now, _LOOKED_AT))]
            if gaps and min(gaps) < self.limits.every:
                message = (
                    f"{one_line(text, 100)!r} fires every {_span(min(gaps))} at times, and the "
                    f"shortest interval allowed is {_span(self.limits.every)}; use a longer one, "
                    f"such as 'every {_span(self.limits.every)}'"
                )
                raise Refused(message)
        return text

    async def _confirm(self, done: str, job: Job) -> str:
        lines = [f"{done} job {_title(job)}: {timetable(job).describe()}."]
        instants = await self.app.upcoming(job.id, 3)
        if instants:
            then = "" if len(instants) == 3 else "; then no more"
            shown = ", ".join(_local(one, job.tz) for one in instants)
            lines.append(f"Next ({job.tz}): {shown}{then}.")
        elif job.state == "paused":
            lines.append(f"It is paused and does not fire until it is resumed (zone {job.tz}).")
        else:
            lines.append(f"It does not fire any more (zone {job.tz}).")
        lives = [node for node in await self.app.store.nodes() if node.alive and node.provider]
        if not lives:
            lines.append("Note: nothing is running that would fire it; tell the user.")
        elif not any(job.action.needs in node.offers for node in lives):
            needs = "an agent" if isinstance(job.action, Prompt) else job.action.needs
            lines.append(f"Note: what is running has not {needs}, so it waits; tell the user.")
        return "\n".join(lines)


def _zone(name: str | None) -> str | None:
    try:
        return None if name is None else zone(name).name
    except LookupError:
        message = f"tz: unknown zone {one_line(repr(name), 60)}; use an IANA name: Europe/Paris"
        raise Refused(message) from None


def _parts(schedule: Schedule) -> Iterator[Schedule]:
    """The schedule, and what it is made of: a member may be dense only in a far year."""
    yield schedule
    if isinstance(schedule, Union):
        for member in schedule.members:
            yield from _parts(member)
    elif isinstance(schedule, Bounded | Except):
        yield from _parts(schedule.inner)


def _title(job: Job) -> str:
    return job.id if job.name == job.id else f"{job.id} ({one_line(job.name, 60)!r})"


def _line(job: Job) -> str:
    action = job.action
    if isinstance(action, Prompt):
        what = one_line(action.prompt, 80)
    else:
        what = f"calls {action.name}" if isinstance(action, Call) else action.kind
    when = f"next {_local(job.due_at, job.tz)}" if job.due_at else job.state
    if job.due_at and job.state == "paused":
        when = f"paused until {_local(job.due_at, job.tz)}"
    return f"- {_title(job)}: {one_line(job.schedule, 80)} ({job.tz}), {when}: {what}"


def _local(instant: datetime, tz: str) -> str:
    """``Mon 2026-11-23 09:00 +01:00``, with seconds when there are some."""
    at = instant.astimezone(zone(tz).info).replace(microsecond=0)
    time = at.strftime("%H:%M:%S" if at.second else "%H:%M")
    return f"{at:%a %Y-%m-%d} {time} {at.isoformat()[-6:]}"


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
