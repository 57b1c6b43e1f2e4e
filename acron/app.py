"""``Acron``: the composition root. Hands each part the others it needs, and opens and ends them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import secrets
import socket
from typing import TYPE_CHECKING, Any, Self, TypeVar

from msgspec.structs import replace

from acron.actions import close_actions, load_actions
from acron.actions.call import CallAction
from acron.actions.command import CommandAction
from acron.actions.http import HttpAction
from acron.actions.live import LiveFiles
from acron.actions.prompt import PromptAction
from acron.adapters import adapt, close_adapters, load_adapters
from acron.clock import SYSTEM, clock_of
from acron.config import check_settings, home_dir, load_settings, store_url
from acron.declared import declare, pause_orphans
from acron.errors import ConfigError, InvalidJob, WrongLoop
from acron.events import Event, Events
from acron.functions import by_name
from acron.manual import ManualWork
from acron.model import Job, Node, RunState, Settings
from acron.net import ANYWHERE, Guard
from acron.process import until_signal
from acron.providers import InProcessCronScheduler, resolve_cron_scheduler
from acron.records import job_from_record, unknown_field
from acron.runtime import Runtime
from acron.runtime.idle import fire_until_idle
from acron.runtime.standing import drain_node, newer_code
from acron.stores import open_store
from acron.threads import Threads
from acron.timetable import name_calendars
from acron.workers import only_worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from acron.abc import Adapter, CronScheduler, Store
    from acron.clock import Clock

log = logging.getLogger("acron")

F = TypeVar("F", bound="Callable[..., Any]")


class Acron(ManualWork):
    """A scheduler on this event loop.

    ``store``: ``"jobs.json"``, ``"memory://"`` or a Store; default: the settings'. ``app`` names
    the program whose declared jobs these are; where its live nodes tell different ``version``s
    (numbers compared from the left, ``1.4`` < ``1.10``), only those of the newest fire what it
    declares. ``adapters`` maps a platform's name to an Adapter, or to a client of that platform
    (a bot) that acron knows how to send with.
    ``settings`` default to ``acron.toml`` and the environment; arguments win over them.
    Raises ConfigError.
    """

    def __init__(
        self,
        store: str | Store | None = None,
        *,
        app: str = "acron",
        version: str = "",
        provider: CronScheduler | None = None,
        adapters: Mapping[str, object] | None = None,
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
        self.version = version
        self.settings = settings
        self.tz = settings.tz or "UTC"
        name_calendars(settings.calendars)
        self._clock = clock
        self.clock = clock or SYSTEM
        self._threads = Threads(settings.max_threads)
        self._call = CallAction(self._threads)
        self._live = LiveFiles()
        command = CommandAction(live=self._live)
        self._prompt = PromptAction(self._threads, command, self._newest_output)
        http = HttpAction(guard=Guard(ANYWHERE if settings.http_allow_private else ()))
        self._actions = load_actions([self._call, command, self._prompt, http])
        self._adapters = {name: adapt(name, one) for name, one in (adapters or {}).items()}
        self._provider = provider
        self._given = None if isinstance(store, str) else store
        self._loaded: dict[str, Adapter] = {}
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
            if self._store is not None:
                log.warning("job %s: the app is open; it begins when that opens next", job_id)
            return function

        return declare

    def _registered(self, job_id: str, field: str, function: Callable[..., Any]) -> str:
        """The name of a function that a declared job gives beside its own; registered by it."""
        plain = getattr(function, "__name__", "<lambda>") != "<lambda>"
        return self._call.register(function, None if plain else f"{job_id}.{field}")

    def action(self, function: F) -> F:
        """Register a function for dynamic jobs: stored by its name, with JSON arguments."""
        self._call.register(function)
        self._offer_more()
        return function

    def agent(self, function: F) -> F:
        """Register what runs ``Prompt`` jobs: ``async (prompt, ctx) -> str``. There is one.

        Raises InvalidJob for a second one, and for a function that takes no prompt.
        """
        self._prompt.register(function)
        self._offer_more()
        return function

    def provide(self, *objects: object) -> None:
        """Objects that functions get by annotation when they run; never stored.

        An object whose methods were declared (a Cog's) also binds them.
        """
        self._call.provide(*objects)
        self._prompt.provide(*objects)
        self._offer_more()

    def _offer_more(self) -> None:
        if self._runtime is not None and self._loop is not None:  # perhaps in another thread
            self._loop.call_soon_threadsafe(self._runtime.wake)  # a job waited for that, perhaps

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
    async def _awake(self) -> AsyncIterator[Runtime]:
        """Open; the built-in pulls the trigger, whoever will when we are gone."""
        await self._open(node=True)
        try:
            await self._begin(trigger=True, provider=InProcessCronScheduler())
            yield self._firing()
        finally:
            await self._close()

    @contextlib.asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """For ASGI apps: ``FastAPI(lifespan=app.lifespan)``. Several workers share a store, but
        not memory: raises ConfigError."""
        address = store_url(self.settings) if self._given is None else self._given.address
        in_memory = address.startswith("memory:")
        with only_worker(self.home) if in_memory else contextlib.nullcontext():
            async with self:
                yield

    async def run(self, *, until_idle: float | None = None) -> None:
        """Open, fire until SIGINT, SIGTERM or SIGHUP, drain. A second signal ends at once.

        With ``until_idle``, end also when nothing has run for so many seconds and nothing is due
        in as many; what comes next is then armed at the provider, which must start us again.
        Raises what the provider raises when it cannot be armed.
        """
        with until_signal(self._hurry) as stop:
            if until_idle is None:
                async with self:
                    await stop.wait()
            else:
                async with self._awake() as firing:
                    await fire_until_idle(firing, self.provider, stop, until_idle)

    def _hurry(self) -> None:
        if self._runtime is not None:
            self._runtime.hurry()

    async def drain(self, *, node: str | None = None) -> None:
        """Take no new runs; wait for the running ones, then interrupt them. Bounded.

        With ``node``, the id of a node anywhere: ask that one to take no more. It ends what it
        runs, and waits to be stopped. Returns once it has said so, or after some seconds; see
        ``nodes``. Raises NodeNotFound.
        """
        if node is None or (self.node is not None and node == self.node.id):
            await self._firing().drain(self.settings.drain_timeout)
        else:
            await drain_node(self.store, node)

    async def tick(self) -> int:
        """Fire all that is due now, once; how many runs were started."""
        return await self._firing().tick()

    def events(self) -> AsyncIterator[Event]:
        """What happens in this process from now on, until the app is closed."""
        if self._store is not None:
            _ = self.store  # of this loop only
        return self._events.subscribe()

    async def _wait_for(self, run_id: str) -> None:
        if self._runtime is None or run_id not in self._runtime.attempts:
            await asyncio.sleep(0.2)
        else:
            await self._runtime.attempts.wait(run_id, 1.0)

    async def settle_dead(self) -> None:
        await (super().settle_dead() if self._runtime is None else self._runtime.recover())

    @property
    def store(self) -> Store:
        if self._store is None:
            raise WrongLoop("the app is not open: use it inside `async with app:`")
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
            raise WrongLoop("this app is attached to its store without firing")
        return self._runtime

    # --- opening and closing ---

    @functools.cached_property
    def home(self) -> Path:
        return home_dir(self.settings)

    async def _open(self, *, node: bool) -> None:
        if self._store is not None:
            raise WrongLoop("this Acron is open already")
        self._loop = asyncio.get_running_loop()
        self.clock = self._clock or clock_of(self._loop)
        if self._given is None:
            self._given = open_store(store_url(self.settings), self.home)
        store = self._given
        now = self.clock.now()
        self._node = Node(
            id=f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}",
            pid=os.getpid(),
            host=socket.gethostname(),
            app=self.app,
            version=self.version,
            started_at=now,
            interval=self.settings.interval,
        )
        try:
            await store.open(now, self._node if node else None)
        except BaseException:
            await store.close()
            raise
        self._store = store
        self._root = store.directory or self.home
        self._live.place(self._root / "output" / "live", store.address)

    @functools.cached_property
    def provider(self) -> CronScheduler:
        """Who is to pull the trigger: the one given, else the one that the settings name."""
        return self._provider or resolve_cron_scheduler(self.settings)

    @property
    def webhook(self) -> Any:
        """The ASGI app that an outside scheduler calls: ``api.mount("/acron", app.webhook)``.

        Raises ConfigError when the provider has none.
        """
        found = getattr(self.provider, "webhook", None)
        if found is None:
            raise ConfigError(f"the provider {self.provider.name} has no webhook", where="provider")
        return found

    async def _begin(self, *, trigger: bool, provider: CronScheduler | None = None) -> None:
        await self._sync_declared(trigger=trigger)
        self._loaded = load_adapters(self._root, taken=self._adapters)
        self._threads.open()
        self._events.open()
        self._runtime = Runtime(
            store=self.store,
            actions=self._actions,
            adapters={**self._loaded, **self._adapters},
            provider=provider or (self.provider if trigger else InProcessCronScheduler()),
            fallback=InProcessCronScheduler(),
            clock=self.clock,
            events=self._events,
            threads=self._threads,
            settings=self.settings,
            node=self._node,
            declared=frozenset(f"call:{one['call']}" for one in self._declared.values()),
            root=self._root,
            call=self._call.call_by_name,
        )
        await self._runtime.start(trigger=trigger)
        going_on = await self.store.runs(state=RunState.RUNNING, limit=100_000)
        await self._live.sweep({run.id for run in going_on})

    async def _close(self) -> None:
        store = self._store
        try:
            if self._runtime is not None:
                await self._runtime.stop(self.settings.drain_timeout)
                self._events.close()
                await self._threads.close(1.0)
                await asyncio.gather(close_adapters(self._loaded), close_actions(self._actions))
        finally:
            self._runtime = None
            if store is not None:
                await store.close()
            self._store = None
            self._loop = None

    async def _sync_declared(self, *, trigger: bool) -> None:
        jobs = {record["id"]: self._declared_job(record) for record in self._declared.values()}
        now = self.clock.now()
        nodes = await self.store.nodes() if jobs else []
        if newer_code(self._node, nodes) is not None:
            return  # what it declares is newer, too; the runtime leaves these jobs to it
        await declare(self.store, self.app, jobs, now)
        if jobs and trigger:
            others = [node for node in nodes if node.alive and node.id != self._node.id]
            await pause_orphans(self.store, self.app, jobs, others, now)

    def _declared_job(self, record: dict[str, Any]) -> Job:
        job = job_from_record(record)
        self.check(job)
        return job
