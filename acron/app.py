"""``Acron``: the composition root. Hands each part the others it needs, and opens and ends them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import secrets
import signal
import socket
from typing import TYPE_CHECKING, Any, Self, TypeVar

from msgspec.structs import replace

from acron.actions import load_actions
from acron.actions.call import CallAction
from acron.adapters import load_adapters
from acron.clock import SystemClock
from acron.config import check_settings, home_dir, load_settings, store_url
from acron.declared import declare, pause_orphans
from acron.errors import InvalidJob, WrongLoop
from acron.events import Event, Events
from acron.functions import by_name
from acron.model import Job, Node, Run, Settings
from acron.providers import InProcessCronScheduler, resolve_cron_scheduler
from acron.records import job_from_record, unknown_field
from acron.runtime import Runtime
from acron.runtime.run import contain_children
from acron.stores import open_store
from acron.threads import Threads
from acron.timetable import name_calendars
from acron.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from acron.abc import Adapter, CronScheduler, Store
    from acron.clock import Clock

log = logging.getLogger("acron")

F = TypeVar("F", bound="Callable[..., Any]")


class Acron(Verbs):
    """A scheduler on this event loop.

    ``store``: ``"jobs.json"``, ``"memory://"`` or a Store; default: the settings'. ``app`` names
    the program whose declared jobs these are. ``adapters`` maps a platform's name to an Adapter.
    ``settings`` default to ``acron.toml`` and the environment; arguments win over them.
    Raises ConfigError.
    """

    def __init__(
        self,
        store: str | Store | None = None,
        *,
        app: str = "acron",
        provider: CronScheduler | None = None,
        adapters: Mapping[str, Adapter] | None = None,
        clock: Clock | None = None,
        tz: str | None = None,
        max_running: int | None = None,
        drain_timeout: float | None = None,
        settings: Settings | None = None,
    ) -> None:
        given = {"tz": tz, "max_running": max_running, "drain_timeout": drain_timeout}
        if isinstance(store, str):
            given["store"] = store
        overrides: dict[str, Any] = {key: one for key, one in given.items() if one is not None}
        if settings is None:
            settings = load_settings(**overrides)
        else:
            settings = check_settings(replace(settings, **overrides))
        self.app = app
        self.settings = settings
        self.tz = settings.tz or "UTC"
        name_calendars(settings.calendars)
        self.clock = clock or SystemClock()
        self._threads = Threads(settings.max_threads)
        self._senders = Threads(settings.max_threads, "acron-deliver")
        self._call = CallAction(self._threads)
        self._actions = {"call": self._call, **load_actions()}
        self._adapters = dict(adapters or {})
        self._provider = provider
        self._given = None if isinstance(store, str) else store
        self._declared: dict[str, dict[str, Any]] = {}
        self._events = Events()
        self._store: Store | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runtime: Runtime | None = None
        self._opening = asyncio.Lock()
        self._readers = 0  # that opened the store for themselves

    # --- declaring ---

    def job(self, schedule: str, *, id: str | None = None, **policies: Any) -> Callable[[F], F]:  # noqa: A002
        """Declare a job: the function is registered, and stored as a job when the app opens.

        The id is the function's name unless given. On opening, the code's definition wins and
        the job's progress stays. Raises InvalidJob at once for a field that does not exist.
        """

        def declare(function: F) -> F:
            name = self._call.register(function, id)
            job_id = id or name
            record = {"id": job_id, "schedule": schedule, "call": name, "tz": self.tz}
            record |= by_name(policies, lambda field, one: self._registered(job_id, field, one))
            record |= {"app": self.app}
            record = {key: value for key, value in record.items() if value is not None}
            declared = job_from_record(record)
            if declared.extra:
                raise unknown_field(next(iter(declared.extra)))
            if job_id in self._declared:
                message = f"the job {job_id!r} is declared twice"
                raise InvalidJob(message, job_id=job_id, where="$.id")
            self._declared[job_id] = record
            return function

        return declare

    def _registered(self, job_id: str, field: str, function: Callable[..., Any]) -> str:
        """The name of a function that a declared job gives beside its own; registered by it."""
        plain = getattr(function, "__name__", "<lambda>") != "<lambda>"
        return self._call.register(function, None if plain else f"{job_id}.{field}")

    def action(self, function: F) -> F:
        """Register a function for dynamic jobs: stored by its name, with JSON arguments."""
        self._call.register(function)
        return function

    def provide(self, *objects: object) -> None:
        """Objects that functions get by annotation when they run; never stored.

        An object whose methods were declared (a Cog's) also binds them.
        """
        self._call.provide(*objects)
        if self._runtime is not None:
            self._runtime.wake()  # a job that waited for its method may be owed

    def _name_of(self, function: Callable[..., Any]) -> str:
        return self._call.name_of(function)

    # --- life ---

    async def __aenter__(self) -> Self:
        """Open the store and begin to fire, on this loop."""
        await self._open(node=True)
        try:
            await self._begin(trigger=True)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drain, and let go of everything; bounded."""
        await self._close()

    @contextlib.asynccontextmanager
    async def attached(self, *, firing: bool = False) -> AsyncIterator[Self]:
        """The verbs without the trigger: nothing fires by itself. With ``firing``, this process
        is a node, and ``tick`` and ``run_now`` run jobs here."""
        await self._open(node=firing)
        try:
            if firing:
                await self._begin(trigger=False)
            yield self
        finally:
            await self._close()

    @contextlib.asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """For ASGI apps: ``FastAPI(lifespan=app.lifespan)``."""
        async with self:
            yield

    async def run(self) -> None:
        """Open, fire until SIGINT, SIGTERM or SIGHUP, drain. A second signal ends at once."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()

        def on_signal(number: int) -> None:
            if stop.is_set() and self._runtime is not None:
                log.warning("%s again: ending at once", signal.Signals(number).name)
                self._runtime.hurry()
            else:
                log.info("%s: draining", signal.Signals(number).name)
                stop.set()

        signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup has it ignored
            signals.append(signal.SIGHUP)
        for number in signals:
            loop.add_signal_handler(number, on_signal, number)
        contain_children(loop)  # the loop is ours: a job's child tasks shall not end it either
        try:
            async with self:
                await stop.wait()
        finally:
            loop.set_task_factory(None)
            for number in signals:
                loop.remove_signal_handler(number)

    async def drain(self) -> None:
        """Take no new runs; wait for the running ones, then interrupt them. Bounded."""
        await self._firing().drain(self.settings.drain_timeout)

    async def tick(self) -> int:
        """Fire all that is due now, once; how many runs were started."""
        return await self._firing().tick()

    def events(self) -> AsyncIterator[Event]:
        """What happens in this process from now on, until the app is closed."""
        if self._store is not None:
            _ = self.store  # of this loop only
        return self._events.subscribe()

    async def run_now(self, ref: str, *, wait: bool = False) -> Run:
        """Run a job once, now, beside its schedule; also while it is paused.

        Returns the pending run once it is durable; with ``wait``, at its end. Raises
        JobConflict while the job is running, unless its ``overlap`` allows it.
        """
        run = await self._enqueue(ref)
        if not wait:
            return run
        return await self.wait(run.id)

    async def run_here(self, ref: str) -> Run:
        """``run_now`` in this process, without a trigger (see ``attached``): its end.

        Raises InvalidJob when no action of this process can run the job.
        """
        firing = self._firing()
        job = await self.get(ref)
        if job.action.needs not in firing.can_run:
            message = f"job {job.id!r} needs {job.action.needs!r}, which this process does not have"
            raise InvalidJob(message, job_id=job.id, where="$.call")
        run = await self._enqueue(job.id)
        while (run := await self.get_run(run.id)).state == "pending":
            if not await firing.tick_one(run.job_id):
                await self._wait_for(run.id)
        return await self.wait(run.id)

    async def _wait_for(self, run_id: str) -> None:
        if self._runtime is None or run_id not in self._runtime.attempts:
            await asyncio.sleep(0.2)
        else:
            await self._runtime.attempts.wait(run_id, 1.0)

    @property
    def store(self) -> Store:
        if self._store is None:
            message = "the app is not open: use it inside `async with app:`"
            raise WrongLoop(message)
        if asyncio.get_running_loop() is not self._loop:
            message = (
                "this Acron was opened on another event loop; use it there "
                "(asyncio.run_coroutine_threadsafe), or open one of your own"
            )
            raise WrongLoop(message)
        return self._store

    @property
    def node(self) -> Node | None:
        """What this process says of itself as a node; None when it fires nothing."""
        return None if self._runtime is None else self._runtime.node

    @contextlib.asynccontextmanager
    async def _reading(self) -> AsyncIterator[Store]:
        if self._store is None or self._readers:
            self._readers += 1
            try:
                async with self._opening:
                    if self._store is None:
                        await self._open(node=False)
                yield self.store
            finally:
                self._readers -= 1
                if not self._readers:
                    await self._close()
        else:
            yield self.store

    def _firing(self) -> Runtime:
        _ = self.store
        if self._runtime is None:
            message = "this app is attached to its store without firing"
            raise WrongLoop(message)
        return self._runtime

    # --- opening and closing ---

    @functools.cached_property
    def home(self) -> Path:
        return home_dir(self.settings)

    async def _open(self, *, node: bool) -> None:
        if self._store is not None:
            message = "this Acron is open already"
            raise WrongLoop(message)
        self._loop = asyncio.get_running_loop()
        if self._given is None:
            self._given = open_store(store_url(self.settings), self.home)
        store = self._given
        now = self.clock.now()
        self._node = Node(
            id=f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}",
            pid=os.getpid(),
            host=socket.gethostname(),
            app=self.app,
            started_at=now,
            interval=self.settings.interval,
        )
        try:
            await store.open(now, self._node if node else None)
        except BaseException:
            await store.close()
            raise
        self._store = store

    async def _begin(self, *, trigger: bool) -> None:
        await self._sync_declared(trigger=trigger)
        root = self.store.directory or self.home
        adapters = {**load_adapters(root), **self._adapters}
        self._threads.open()
        self._senders.open()
        self._events.open()
        self._runtime = Runtime(
            store=self.store,
            actions=self._actions,
            adapters=adapters,
            provider=self._provider or resolve_cron_scheduler(self.settings),
            fallback=InProcessCronScheduler(),
            clock=self.clock,
            events=self._events,
            threads=self._threads,
            senders=self._senders,
            settings=self.settings,
            node=self._node,
            call=self._call.call_by_name,
        )
        await self._runtime.start(trigger=trigger)

    async def _close(self) -> None:
        store = self._store
        try:
            if self._runtime is not None:
                await self._runtime.stop(self.settings.drain_timeout)
                self._events.close()
                await asyncio.gather(self._threads.close(1.0), self._senders.close(1.0))
        finally:
            self._runtime = None
            if store is not None:
                await store.close()
            self._store = None
            self._loop = None

    async def _sync_declared(self, *, trigger: bool) -> None:
        jobs = {record["id"]: self._declared_job(record) for record in self._declared.values()}
        now = self.clock.now()
        await declare(self.store, self.app, jobs, now)
        if jobs and trigger:
            nodes = await self.store.nodes()
            others = [node for node in nodes if node.alive and node.id != self._node.id]
            await pause_orphans(self.store, self.app, jobs, others, now)

    def _declared_job(self, record: dict[str, Any]) -> Job:
        job = job_from_record(record)
        self.check(job)
        return job
