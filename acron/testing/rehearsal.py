"""A program's own jobs, run through days of virtual time: what would be sent, and when."""

from __future__ import annotations

import asyncio
import logging
import random
import tempfile
from collections import Counter
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from msgspec import Struct
from msgspec.structs import replace

from acron.abc import Action
from acron.adapters import OURS, close_adapters, load_adapters
from acron.events import Events, Finished, Skipped
from acron.model import Decision, RunState
from acron.providers import InProcessCronScheduler
from acron.records import job_from_record, job_to_record
from acron.specs import Command, Http, Prompt
from acron.stores.memory import MemoryStore
from acron.targets import parse_target, shown
from acron.testing.adapters import RecordingAdapter
from acron.testing.clock import aware
from acron.testing.harness import virtual_time
from acron.testing.loop import VirtualTimeError
from acron.testing.page import WIDTH
from acron.testing.story import DRAWN, timeline
from acron.text import one_line
from acron.timetable import bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence

    from acron.abc import Context, Message, Receipt
    from acron.app import Acron
    from acron.events import Event
    from acron.model import Job
    from acron.testing.harness import VirtualTime

_FAILURES = {RunState.FAILED, RunState.TIMED_OUT, RunState.UNKNOWN}
_OWN = ("local", "log")
#: Days. What is kept is still bounded, by ``retention_runs``.
_FOR_EVER = 36_500.0


class Sent(Struct, frozen=True, kw_only=True):
    """A message that would have gone out; ``at`` is aware UTC."""

    at: datetime
    target: str
    job_id: str
    run_id: str
    text: str


class Failure(Struct, frozen=True, kw_only=True):
    """A run that failed for good, its retries included; ``at`` is its end, aware UTC."""

    at: datetime
    job_id: str
    run_id: str
    state: RunState
    error: str


class JobCount(Struct, kw_only=True):
    """What came of one job: attempts that ended, runs that failed for good, occurrences that were
    skipped, messages. ``does`` is its function, or its kind of action; ``added`` says that it was
    added while the program ran."""

    id: str
    schedule: str
    does: str
    added: bool
    attempts: int = 0
    failed: int = 0
    skipped: int = 0
    sent: int = 0


class Rehearsal(Struct, kw_only=True):
    """What `rehearse` saw, in the order of time. ``parked`` are jobs that it could not run,
    ``missing`` the platforms in ``sent`` for which the program, as it is here, has no adapter;
    ``timeline`` is all of it, drawn."""

    start: datetime
    until: datetime
    jobs: list[JobCount]
    sent: list[Sent]
    failures: list[Failure]
    parked: list[str]
    missing: list[str]
    timeline: str


def rehearse(
    app: Acron, days: float, *, start: datetime | None = None, width: int = WIDTH
) -> Rehearsal:
    """Run ``app``, which is not open, for so many days of virtual time, from now or ``start``.
    ``width`` is that of the drawing, in columns.

    The jobs are a copy in memory of those in its store, and those that it declares; with
    ``start`` they begin anew then. Registered functions run, with all that they do; commands,
    requests and prompts do not: what they would do is their output. Every adapter only records.
    Raises VirtualTimeError on a running event loop, StoreError when the store cannot be read,
    ValueError for a naive ``start`` or for no days.
    """
    if asyncio._get_running_loop() is not None:  # noqa: SLF001 (None, where the public one raises)
        raise VirtualTimeError("rehearse runs a loop of its own: call it in a plain `def`")
    if days <= 0:
        raise ValueError(f"days must be more than 0, not {days}")
    if start is not None:
        aware(start)
    jobs, now, has = asyncio.run(_stored(app))
    if start is not None:
        jobs = [_anew(job, start) for job in jobs]
    with (
        virtual_time(start or now) as time,
        tempfile.TemporaryDirectory() as home,
        _stand_ins(app, time, jobs, Path(home)) as (store, sent),
    ):
        found = asyncio.run(_play(app, time, store, jobs, timedelta(days=days), sent, width))
        recorders: Any = app._adapters  # noqa: SLF001 (the app's other half)
        told = {name for name, one in recorders.items() if one.messages}
        found.missing = sorted(told - has)
        return found


def _anew(job: Job, start: datetime) -> Job:
    """The job as if it were added at ``start``."""
    new = job_from_record(job_to_record(job))
    return bind(new, None, start, past=True).job or new


async def _stored(app: Acron) -> tuple[list[Job], datetime, set[str]]:
    """Its jobs, its time, and the platforms that it could send to."""
    made = load_adapters(app.home, taken=app._adapters)  # noqa: SLF001 (the app's other half)
    await close_adapters(made)
    has = {*made, *app._adapters}  # noqa: SLF001
    return [job async for job in app.jobs()], app.clock.now(), has


async def _play(
    app: Acron,
    time: VirtualTime,
    store: MemoryStore,
    jobs: Sequence[Job],
    length: timedelta,
    sent: list[Sent],
    width: int,
) -> Rehearsal:
    start = time.now()
    known = {job.id: job for job in jobs}
    await store.open(start)
    await store.write(list(known), lambda job_id, *_: Decision(known[job_id]), start)
    await store.close()
    seen = _Seen()
    async with app:
        from_the_start = {job.id async for job in app.jobs()}
        listening = asyncio.create_task(seen.listen(app.events()))
        await time.advance(length)
        parked = list((await app.status()).parked)
        # Without its head: the store is ours.
        drawn = (await timeline(app, width=width)).partition("\n")[2]
        kept = len(await app.runs(limit=DRAWN))
        known |= {job.id: job async for job in app.jobs()}
    await listening
    if kept < sum(seen.attempts.values()):
        drawn = f"  the newest {kept:,} runs, as many as are kept:\n{drawn}"
    return Rehearsal(
        start=start,
        until=start + length,
        jobs=_counted(known, from_the_start, seen, sent),
        sent=sent,
        failures=seen.failures,
        parked=parked,
        missing=[],
        timeline=drawn,
    )


def _counted(
    jobs: Mapping[str, Job], from_the_start: Collection[str], seen: _Seen, sent: Iterable[Sent]
) -> list[JobCount]:
    messages = Counter(one.job_id for one in sent)
    failed = Counter(one.job_id for one in seen.failures)
    return [
        JobCount(
            id=job_id,
            schedule=job.schedule,
            does=job.action.needs.removeprefix("call:"),
            added=job_id not in from_the_start,
            attempts=seen.attempts[job_id],
            failed=failed[job_id],
            skipped=seen.skipped[job_id],
            sent=messages[job_id],
        )
        for job_id, job in sorted(jobs.items())
    ]


class _Seen:
    """What the app told while it ran."""

    def __init__(self) -> None:
        self.attempts: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.failures: list[Failure] = []

    async def listen(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            if isinstance(event, Skipped):
                self.skipped[event.job.id] += event.skip.count
            elif isinstance(event, Finished):
                self.attempts[event.job.id] += 1
                if event.retry is None and event.run.state in _FAILURES:
                    self.failures.append(_failure(event))


def _failure(event: Finished) -> Failure:
    run = event.run
    error = one_line(run.error or "no reason given")
    return Failure(at=event.at, job_id=run.job_id, run_id=run.id, state=run.state, error=error)


@contextmanager
def _stand_ins(
    app: Acron, time: VirtualTime, jobs: Iterable[Job], home: Path
) -> Iterator[tuple[MemoryStore, list[Sent]]]:
    """``app`` without all that reaches outside. In place: its functions know it by its name."""
    store = MemoryStore()
    sent: list[Sent] = []
    actions = app._actions.items()  # noqa: SLF001 (from here on: the app's other half)
    names = _platforms(app, jobs)
    numbers = random.Random(0)
    stand_ins: dict[str, Any] = {
        "_given": store,
        "_clock": time.clock,  # also where it was given one
        "clock": time.clock,
        "home": home,
        # Nobody else is there to be noticed, and no blocked loop to be found: look rarely.
        "settings": replace(
            app.settings, interval=86400.0, blocked_after=0.0, retention_days=_FOR_EVER
        ),
        "_provider": InProcessCronScheduler(),
        "_actions": {name: one if name == "call" else _NotDone(one) for name, one in actions},
        "_adapters": {name: _Recorder(name, time, sent) for name in names},
        "_events": Events(buffer=2**31),
        "_new_id": lambda: numbers.randbytes(6).hex(),  # the same story each time
    }
    with ExitStack() as stack:
        for name, stand_in in stand_ins.items():
            stack.enter_context(patch.object(app, name, stand_in))
        # Each end is told in what comes back: a failed test would show a line for each retry.
        ends = logging.getLogger("acron.runtime.ends")
        stack.enter_context(patch.object(ends, "disabled", new=True))
        yield store, sent


def _platforms(app: Acron, jobs: Iterable[Job]) -> set[str]:
    targets = [*app.settings.alerts]
    declared = [job_from_record(record) for record in app._declared.values()]  # noqa: SLF001
    for job in (*jobs, *declared):
        targets += [*(job.deliver or ()), *(job.policy.deliver_failure or ())]
    named = {parse_target(target).platform for target in targets}
    return {*named, *OURS, *_OWN, *app._adapters}  # noqa: SLF001


class _Recorder(RecordingAdapter):
    """Notes what would be sent, and when."""

    def __init__(self, name: str, time: VirtualTime, sent: list[Sent]) -> None:
        super().__init__(name)
        self._time = time
        self._sent = sent

    async def send(self, message: Message) -> Receipt:
        one = Sent(
            at=self._time.now(),
            target=shown(f"{self.name}:{message.to}" if message.to else self.name),
            job_id=message.job.id,
            run_id=message.run.id,
            text=message.text,
        )
        self._sent.append(one)
        return await super().send(message)


class _NotDone(Action):
    """In the place of an action that reaches outside the program: says what it would have done."""

    def __init__(self, real: Action) -> None:
        self._real = real

    @property
    def name(self) -> str:
        return self._real.name

    def offers(self) -> Collection[str]:
        return self._real.offers()

    def check(self, spec: Any) -> None:
        self._real.check(spec)

    async def run(self, spec: Any, ctx: Context) -> str:
        if isinstance(spec, Command):
            words = spec.command if isinstance(spec.command, str) else " ".join(spec.command)
            return f"(what the command says: {one_line(words, 200)})"
        if isinstance(spec, Http):
            return f"(what {spec.method} {one_line(spec.url, 200)} gives)"
        if isinstance(spec, Prompt):
            return f"(what the agent replies to: {one_line(spec.prompt, 200)})"
        ctx.log.info("not carried out in a rehearsal: %s", self.name)
        return f"(what {self.name} gives)"
