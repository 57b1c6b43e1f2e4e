"""The verbs on jobs: what programs, the command line and pages do with a store."""

from __future__ import annotations

import logging
import secrets
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from acron.bulk import Bulk
from acron.errors import InvalidJob, JobConflict, JobNotFound, NodeNotFound
from acron.functions import by_name
from acron.incidents import acknowledged, find, is_open
from acron.model import Decision, Run, RunState
from acron.reading import Reading
from acron.records import (
    ACTION_FIELDS,
    FIELDS,
    job_from_record,
    job_of,
    job_to_record,
    unknown_field,
)
from acron.runtime.record import settle
from acron.runtime.run import IRRELEVANT
from acron.specs import Call, Command, Custom, Http, Prompt
from acron.targets import ORIGIN
from acron.timetable import bind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from acron.abc import Action
    from acron.model import Incident, Job, Node
    from acron.specs import ActionSpec

log = logging.getLogger("acron")

#: Seconds between two looks at who lives, while a run is waited for; and for how long nobody may
#: be there to start it.
LOOK_INTERVAL, NOBODY = 2.0, 60.0

OnConflict = Literal["error", "replace", "keep"]


class Verbs(Reading, Bulk):
    """Jobs of one store. ``ref`` is a job's id, or its name in any letter case.

    Verbs that change something need the app to be open; those that read do not.
    """

    _actions: Mapping[str, Action]

    @abstractmethod
    def _name_of(self, function: Callable[..., Any]) -> str:
        """The name under which ``function`` is registered. Raises InvalidJob."""

    # --- definitions ---

    async def add(
        self,
        schedule: str,
        action: Callable[..., Any] | ActionSpec | str,
        *,
        id: str | None = None,  # noqa: A002 (the field's name)
        kwargs: Mapping[str, Any] | None = None,
        on_conflict: OnConflict = "error",
        **policies: Any,
    ) -> Job:
        """Store a job and return it as stored.

        ``action`` is a function registered by ``app.action`` (or its name), or a ``Command``,
        ``Http``, ``Prompt`` or ``Custom``.
        ``kwargs`` are its JSON arguments. ``on_conflict`` says what to do when the id is taken:
        raise JobConflict, ``replace`` it, or ``keep`` what is there. ``policies`` are the fields
        of ``acron.model.Policy``, and ``name tz deliver origin tags paused``.
        Raises ScheduleError, InvalidJob, JobConflict, StoreError.
        """
        row = {"id": id, "schedule": schedule, "action": action, "kwargs": kwargs, **policies}
        return (await self.add_many([row], on_conflict=on_conflict))[0]

    async def add_many(
        self, rows: Iterable[Mapping[str, Any]], *, on_conflict: OnConflict = "error"
    ) -> list[Job]:
        """Store many jobs in one transaction; each row has the parameters of ``add``."""
        jobs: list[Job] = []
        checked: ActionSpec | None = None
        for row in rows:
            job = self._job(row)
            if job.action is not checked:  # calls without arguments share one spec
                self.check(job)
                checked = job.action
            jobs.append(job)
        now = self.clock.now()
        return await self._put(jobs, on_conflict, now)

    async def _put(self, jobs: Sequence[Job], on_conflict: OnConflict, now: datetime) -> list[Job]:
        new = {job.id: job for job in jobs}
        if len(new) != len(jobs):
            twice = next(job.id for job in jobs if new[job.id] is not job)
            message = f"the id {twice!r} is given to two jobs"
            raise InvalidJob(message, job_id=twice, where="$.id")

        def change(
            job_id: str, old: Job | None, _: Sequence[Run], __: Callable[[], int]
        ) -> Decision:
            if old is not None and on_conflict == "error":
                message = f"there is a job {job_id!r} already; edit it, or give another id"
                raise JobConflict(message, job_id=job_id)
            if old is not None and on_conflict == "keep":
                return Decision(old)
            return bind(new[job_id], old, now)

        decisions = await self.store.write(list(new), change, now)
        return [decision.job for decision in decisions if decision.job is not None]

    def _new_id(self) -> str:
        return secrets.token_hex(6)

    def _job(self, row: Mapping[str, Any]) -> Job:
        given = {key: value for key, value in row.items() if value is not None}
        record = by_name(given, self._function)
        if not FIELDS.issuperset(record):
            raise unknown_field(next(key for key in record if key not in FIELDS))
        if "id" not in record:
            record["id"] = self._new_id()
        record.setdefault("tz", self.tz)
        record |= self._action_fields(record.pop("action", None), record.pop("kwargs", None))
        return job_of(record)

    def _function(self, _: str, function: Callable[..., Any]) -> str:
        return self._name_of(function)

    def _action_fields(self, action: object, kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
        """An action as add takes it, in the words of a record."""
        given: dict[str, Any] = {} if kwargs is None else {"kwargs": dict(kwargs)}
        if action is None:
            return given
        if isinstance(action, str):
            return {"call": action, **given}
        if callable(action):
            return {"call": self._name_of(action), **given}
        if isinstance(action, Call):
            return {"call": action.name, "kwargs": action.kwargs, **given}
        if isinstance(action, Command | Http | Prompt):
            fields = {name: getattr(action, name) for name in action.__struct_fields__}
            if isinstance(action, Http):
                fields["http"] = fields.pop("url")
            return {key: one for key, one in fields.items() if one not in (None, ())} | given
        if isinstance(action, Custom):
            return {"action": action.action, "data": action.data, **given}
        kind = type(action).__name__
        message = f"an action is a function, its name, a Command, Http or Prompt, not {kind}"
        raise InvalidJob(message, where="$.action")

    def check(self, job: Job) -> None:
        """Raise InvalidJob when its action could never run, or its origin is missing."""
        targets = (*(job.deliver or ()), *(job.policy.deliver_failure or ()))
        if ORIGIN in targets and job.origin is None:
            message = "the job has no origin: say which, as in origin='telegram:-100123'"
            raise InvalidJob(message, job_id=job.id, where="$.deliver")
        action = self._actions.get(job.action.kind)
        if action is not None:
            try:
                action.check(job.action)
            except InvalidJob as error:
                error.job_id = job.id
                raise

    async def edit(self, ref: str, *, revision: int | None = None, **changes: Any) -> Job:
        """Change fields of a job; None puts a field back to its default.

        A changed schedule starts anew from now; other edits leave its instants alone. With
        ``revision``, raises JobConflict when the job has changed since.
        """
        for key in changes:
            if key not in FIELDS or key == "id":
                raise unknown_field(key)
        job = await self.get(ref)

        def altered(old: Job) -> Job:
            if revision is not None and old.revision != revision:
                message = f"job {old.id!r} is at revision {old.revision}, not {revision}"
                raise JobConflict(message, job_id=old.id)
            record = job_to_record(old)
            fields = by_name({"kwargs": record.get("kwargs"), **changes}, self._function)
            if "kwargs" not in changes:
                del fields["kwargs"]
            if fields.get("paused", True) is None:
                record.pop("paused_until", None)
            if {"action", "call", "command", "http", "prompt"} & fields.keys():
                record = {key: value for key, value in record.items() if key not in ACTION_FIELDS}
                action = fields.pop("action", None)
                if not isinstance(action, str) or "data" not in fields:
                    fields |= self._action_fields(action, fields.pop("kwargs", None))
                else:
                    fields["action"] = action
            new = job_from_record(record | fields)
            self.check(new)
            return new

        return await self._alter(job.id, altered)

    async def pause(
        self, ref: str, reason: str = "", *, until: datetime | str | None = None
    ) -> Job:
        """Fire it no more until ``resume``, or until the instant ``until``: an aware datetime, or
        a moment or delay as in schedules. Instants due meanwhile are counted skips."""
        end = self._moment(until)
        job = await self.get(ref)
        return await self._alter(job.id, lambda old: replace(old, paused=reason, paused_until=end))

    async def resume(self, ref: str) -> Job:
        """Fire it again from its next instant on; what a pause has cost is not made up for."""
        job = await self.get(ref)
        return await self._alter(job.id, lambda old: replace(old, paused=None, paused_until=None))

    async def _alter(self, job_id: str, altered: Callable[[Job], Job]) -> Job:
        now = self.clock.now()

        def change(_: str, old: Job | None, __: Sequence[Run], ___: Callable[[], int]) -> Decision:
            if old is None:
                raise JobNotFound(job_id)
            return bind(altered(old), old, now)

        decision = (await self.store.write([job_id], change, now))[0]
        if decision.job is None:
            raise JobNotFound(job_id)
        return decision.job

    async def remove(self, ref: str) -> None:
        """Forget a job. A run that goes on ends as it would; what waits to start is cancelled."""
        job = await self.get(ref)
        now = self.clock.now()

        def change(_: str, __: Job | None, runs: Sequence[Run], ___: Callable[[], int]) -> Decision:
            waiting = tuple(
                replace(run, state=RunState.CANCELLED, finished_at=now, error="job removed")
                for run in runs
                if run.state is RunState.PENDING and run.job_id == job.id
            )
            return Decision(None, runs=waiting)

        await self.store.write([job.id], change, now)

    # --- incidents ---

    async def incidents(self, state: str | None = None) -> list[Incident]:
        """What went wrong with the jobs, the newest last time first: what is in that state, or
        ``open`` (``detected`` or ``alerted``); all that is remembered by default. Of at most
        10,000 jobs."""
        async with self._reading() as store:
            found = [one for job in await store.incidents(10_000) for one in job.incidents]
        if state is not None:
            found = [
                one for one in found if one.state == state or (state == "open" and is_open(one))
            ]
        return sorted(found, key=lambda one: one.last_at, reverse=True)

    async def acknowledge(self, incident_id: str) -> Incident:
        """Say that somebody knows: it alerts no more. Returns it as it is now; one that is over
        stays as it is. Raises JobNotFound."""
        job_id = incident_id.rpartition("/")[0]
        now = self.clock.now()

        def change(_: str, job: Job | None, *__: object) -> Decision:
            if job is None or find(job, incident_id) is None:
                raise JobNotFound(incident_id, kind="incident")
            return Decision(acknowledged(job, incident_id, now))

        (decision,) = await self.store.write([job_id], change, now)
        incident = None if decision.job is None else find(decision.job, incident_id)
        if incident is None:
            raise JobNotFound(incident_id, kind="incident")
        return incident

    # --- runs ---

    async def cancel(self, run_id: str) -> Run:
        """Stop one run, wherever it is. Returns it as it is now. Raises JobNotFound."""
        run = await self.store.request_cancel(run_id, self.clock.now())
        if run is None:
            raise JobNotFound(run_id, kind="run")
        return run

    async def wait(self, run_id: str) -> Run:
        """The run at its durable end, whichever process runs it.

        One that turns out to be irrelevant meanwhile leaves the ledger of runs, as its instant
        becomes a skip: it is returned as ``cancelled``, *no longer relevant*. One whose process
        dies ends as ``unknown``, though no other runs. Raises JobNotFound for what is not there,
        such as one that had become a skip before, and NodeNotFound when a run that is due starts
        nowhere for a minute, as no live process can run it.
        """
        run = await self.get_run(run_id)
        forsaken = Forsaken(self)
        while not run.state.ended:
            await self._wait_for(run_id)
            await forsaken.look(run)
            run = await self.later(run)
        return run

    async def later(self, run: Run) -> Run:
        """A run that was there, as it is now; see ``wait``. Raises JobNotFound."""
        try:
            return await self.get_run(run.id)
        except JobNotFound:
            async with self._reading() as store:
                skips = await store.skips(run.job_id, limit=1000)
            for skip in skips:
                if skip.reason is IRRELEVANT.skip and skip.scheduled_at == run.scheduled_at:
                    at, why = skip.recorded_at, IRRELEVANT.error
                    return replace(run, state=IRRELEVANT.state, finished_at=at, error=why)
            raise

    @abstractmethod
    async def _wait_for(self, run_id: str) -> None:
        """Until it is worth looking at the run again, for a second at most."""

    async def settle_dead(self) -> None:
        """End the runs of processes that have died, as any that can open the store may."""
        async with self._reading() as store:
            await store.recover(self.clock.now(), settle)


class Forsaken:
    """Sees, for somebody who waits for a run, whether there is still anybody to end it."""

    def __init__(self, app: Verbs) -> None:
        self._app = app
        self._looked_at = app.clock.monotonic()
        self._taken_at = self._looked_at  # somebody could run it then

    async def look(self, run: Run) -> None:
        """Every other second: settle it when its process is dead. Raises NodeNotFound when it is
        due, and nobody could run it for a minute."""
        now = self._app.clock.monotonic()
        if now - self._looked_at < LOOK_INTERVAL:
            return
        self._looked_at = now
        nodes = [one for one in await self._app.nodes() if one.alive]
        if run.state is RunState.RUNNING:
            self._taken_at = now
            if all(one.id != run.node for one in nodes):
                await self._app.settle_dead()
            return
        try:
            job = await self._app.get(run.job_id)
        except JobNotFound:
            return  # its pending runs end with it
        waits = run.due_at is not None and run.due_at > self._app.clock.now()
        if waits or any(takes(one, job) for one in nodes):
            self._taken_at = now
        elif now - self._taken_at >= NOBODY:
            why = f"{run.id} is due, and no live process can run {job.action.needs}"
            raise NodeNotFound(run.node or "any", why)


def takes(node: Node, job: Job) -> bool:
    """Whether that process would run the job."""
    return node.alive and not node.draining and job.action.needs in node.offers


def held_by(job: Job, run: Run) -> str:
    """Why a run cannot start: who is in the way, and since when."""
    since = f"since {run.started_at:%Y-%m-%dT%H:%M:%SZ}" if run.started_at else "about to start"
    if run.job_id == job.id:
        return f"job {job.id!r} is running: {run.id}, {since}"
    return f"the key {job.policy.key!r} of {job.id!r} is held by {run.job_id!r}: {run.id}, {since}"
