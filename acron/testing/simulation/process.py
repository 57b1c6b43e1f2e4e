"""One simulated process: an app in a context of its own, with its own clock, that may die."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn
from zlib import crc32

from acron.errors import AcronError, StoreUnavailable
from acron.model import RunState, Settings
from acron.testing.simulation.loop import LIFE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextvars import Context
    from datetime import datetime
    from pathlib import Path

    from acron.app import Acron
    from acron.stores.book import Book
    from acron.testing.clock import VirtualClock
    from acron.testing.simulation.database import Connection
    from acron.testing.simulation.disk import FileStore
    from acron.testing.simulation.world import World

#: Seconds that a transaction takes, and that a lost answer is waited for.
_LATENCIES = (0.0, 0.0, 0.001, 0.01)
_LOST_FOR = (2.0, 30.0, 100.0)

#: Seconds that a node of a database lives without renewing its lease.
LEASE = 60.0

INTERVAL = 120.0
MAX_RUNNING = 10
DRAIN = 10.0
#: Until what runs is told to end: first the last heartbeat and a claim under way may take 5 s each.
DRAIN_BOUND = DRAIN + 10.0
#: What ``stop`` may take: the drain, the cleanup, the last writes.
STOP_BOUND = 60.0


class SkewedClock:
    """The world's time as this machine tells it."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.skew = 0.0
        self.drift = 0.0  # seconds that it gains in each second since it was made
        self._made = clock.monotonic()

    def now(self) -> datetime:
        wrong = self.skew
        if self.drift:
            wrong += self.drift * (self._clock.monotonic() - self._made)
        return self._clock.now() + timedelta(seconds=wrong) if wrong else self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()


class Life:
    """One life of a process: a new one after each death. ``triggers`` pull in it just now."""

    __slots__ = ("process", "triggers")

    def __init__(self, process: Process) -> None:
        self.process = process
        self.triggers = 0


def life() -> Life:
    """The life in which this runs."""
    found = LIFE.get()
    assert isinstance(found, Life)
    return found


def living() -> Process:
    """The process as whose code this runs."""
    return life().process


class Process:
    """Starts, stops, dies and starts again; ``up`` while its app is open."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.clock = SkewedClock(world.loop.clock)
        self.app: Acron | None = None
        self.store: Connection | FileStore | None = None
        self.partitioned = False
        self.frozen = False
        self.slow = 0.0  # seconds that each transaction takes more
        self.die_in = 0  # transactions until it dies; 0: it does not
        self.die_at = ""  # what those are called; empty: any
        self.die_after = False  # the one it dies at has been committed
        self.lose_in = 0  # transactions until an answer is lost
        self.lose_of = ""  # what those are called; empty: any
        self._answered_at = 0.0  # by the clock of the world: when the last answer lost is given up
        self.found = ""  # what becomes of its provider when it is looked for
        self.blocked = 0.0  # seconds, in all, for which its loop was
        self._salt = crc32(f"{world.script.seed} {name}".encode())
        self.life: Life | None = None
        self._context: Context | None = None
        self._main: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self.stopping_at: float | None = None  # since when it drains, on the clock of the world

    @property
    def up(self) -> bool:
        return self._main is not None and not self._main.done()

    # --- its life

    async def start(self) -> None:
        """Come up; when the store does not let it, it is down again."""
        if self.up:
            return
        self.world.happened(f"{self.name} starts")
        self._come_to_life()
        self._stop, self.stopping_at = asyncio.Event(), None
        self.partitioned = self.frozen = False
        self._main = self._task(self._live())

    def _come_to_life(self) -> None:
        self.life = Life(self)
        self._context = copy_context()
        self._context.run(LIFE.set, self.life)

    async def _live(self) -> None:
        self.store = self.world.store_for(self)
        self.app = self.world.make_app(self, self.store)
        try:
            async with self.app:
                await self._stop.wait()
                self.stopping_at = self.world.loop.time()
                self.world.happened(f"{self.name} drains")
        except AcronError as error:
            self.world.happened(f"{self.name} ends: {type(error).__name__}")

    @property
    def is_well(self) -> bool:
        """Nothing holds it up, and nothing is to befall it."""
        ill = self.partitioned or self.frozen or self.slow or self.die_in or self.lose_in
        waits = self._answered_at > self.world.loop.time()
        return not (ill or waits or self.world.loop.blocked_for(self.life))

    async def stop(self) -> bool:
        """As on SIGTERM: drain, close. Bounded, or the world takes note. Whether it came to its
        end by itself."""
        main = self._main
        if not self.up or main is None:
            return False
        self.world.happened(f"{self.name} stops")
        self._stop.set()
        blocked = self.blocked - self.world.loop.blocked_for(self.life)
        _, late = await asyncio.wait({main}, timeout=STOP_BOUND + 40 * self.slow)
        if late and self.blocked > blocked:  # nobody stops what blocks the loop
            _, late = await asyncio.wait({main}, timeout=self.blocked - blocked)
        if late and self.stopping_at is None:  # an answer was lost that it needs to come up at all
            _, late = await asyncio.wait({main}, timeout=max(_LOST_FOR) + STOP_BOUND)
        if late and self._main is main:  # and was not killed meanwhile
            self.world.broke("I15", f"{self.name} did not stop within {STOP_BOUND:g} s")
            self.kill()
        self._be_well()
        return self._main is main

    def kill(self) -> None:
        """``kill -9``: nothing is awaited, nothing is flushed, nothing of it runs again."""
        if not self.up:
            return
        if (node := self.node) is not None:
            self.world.watch.deaths[node] = self.world.loop.time()
        ended, self.life = self.life, None
        self.world.happened(f"{self.name} is killed")
        self.world.loop.bury(ended)
        if self.store is not None:
            self.store.drop()
        self._main = None
        self._be_well()

    def _be_well(self) -> None:
        """What was to befall it has. What is said while it is down befalls its next life."""
        self.slow, self.die_in, self.lose_in = 0.0, 0, 0

    @property
    def node(self) -> str | None:
        """The id of its node, while it is one."""
        runtime = None if self.app is None else self.app._runtime  # noqa: SLF001 (asked very often)
        return None if runtime is None else runtime.node_id

    async def block(self, seconds: float) -> None:
        """Called from within: its loop is blocked for so long."""
        self.blocked += seconds
        self.world.loop.block(self.life, seconds)
        await asyncio.sleep(seconds)

    async def freeze(self, seconds: float) -> None:
        """As SIGSTOP does: nothing of it runs, and its lease is not renewed either."""
        if self.up:
            self.frozen = True
            self.blocked += seconds
            self.world.loop.block(self.life, seconds)
        await self.world.loop.advance(seconds)
        self.frozen = False

    async def die(self) -> NoReturn:
        """Called from within: it is killed here, and this never returns."""
        self.kill()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("the dead do not wake")

    def _task(self, work: Any) -> asyncio.Task[Any]:
        assert self._context is not None
        return asyncio.get_running_loop().create_task(work, context=self._context.copy())

    async def do(self, work: Callable[[Acron], Awaitable[Any]]) -> Any:
        """``work`` by its app, as code of its own; None if it dies meanwhile, or refuses."""
        if not self.up or self.app is None or self.app._store is None:  # noqa: SLF001
            return None
        app, began = self.app, self.life

        async def contained() -> Any:
            try:
                return await work(app)
            except (AcronError, ValueError) as error:
                return error

        task = self._task(contained())
        while not task.done() and self.life is began:
            await asyncio.wait({task}, timeout=5.0)
        return task.result() if task.done() else None

    async def command(self, work: Callable[[Acron], Awaitable[Any]]) -> Any:
        """``work`` as a command of the shell does it: open, without a trigger, and close."""
        self._come_to_life()
        self.store = self.world.store_for(self)
        app = self.world.make_app(self, self.store)

        async def run() -> Any:
            try:
                async with app.attached():
                    return await work(app)
            except (AcronError, ValueError) as error:
                return error

        return await self._task(run())

    # --- what happens to its transactions

    async def at(self, name: str, book: Book | None = None) -> None:
        """Before a transaction on ``book``."""
        await asyncio.sleep(_LATENCIES[self._chance() % 4] + self.slow)
        if self.slow:
            self.world.seen["slow store"] += 1
        if self.partitioned:
            self.world.seen["partition"] += 1
            await asyncio.sleep(2.0)
            raise StoreUnavailable("the network is gone", address="simulated")
        if self.die_in and not self.die_after:
            idle = name == "claim" and book is not None and not _owes(book, self.clock.now())
            await self._count_down(name, idle=idle)

    async def after(self, name: str, result: Any = None) -> None:
        """After its commit, which gave ``result``."""
        idle = _is_idle(name, result)
        if self.die_in and self.die_after:
            if self.die_in == 1 and name == "finish" and not idle and _has_message(result):
                self.world.seen["died before a message"] += 1
            await self._count_down(name, idle=idle)
        if self.lose_in and (self.lose_of == name and not idle if self.lose_of else True):
            self.lose_in -= 1
            if not self.lose_in:
                self.world.happened(f"{self.name} waits for the answer of {name}")
                self.world.seen["lost acknowledgement"] += 1
                self.world.seen[f"lost answer of {name}"] += 1
                seconds = _LOST_FOR[self._chance() % 3]
                self._answered_at = self.world.loop.time() + seconds
                await asyncio.sleep(seconds)

    def _chance(self) -> int:
        """A number that only the seed and the moment decide, so that a story that is told shorter
        is the same in what is left of it."""
        moment = int(self.clock.monotonic() * 1e6) + self._salt
        return (moment * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) >> 40

    async def _count_down(self, name: str, *, idle: bool) -> None:
        """``idle``: nothing depends on this transaction. Where it was named, one that matters is
        meant."""
        if self.die_at and (self.die_at != name or idle):
            return
        self.die_in -= 1
        if not self.die_in:
            when = "after" if self.die_after else "before"
            self.world.happened(f"{self.name} dies {when} {name}")
            self.world.seen[f"died {when} {name}"] += not idle
            await self.die()


class Bystander(Process):
    """Somebody whose transactions nothing happens to."""

    async def at(self, name: str, book: Book | None = None) -> None:
        pass

    async def after(self, name: str, result: Any = None) -> None:
        pass


def _owes(book: Book, now: datetime) -> bool:
    """Whether a claim would find something."""
    dues = [job.due_at for job in book.jobs.values()] + [
        run.due_at for run in book.pending.values()
    ]
    return any(due is not None and due <= now for due in dues)


def _is_idle(name: str, result: Any) -> bool:
    """Whether a transaction that gave ``result`` has changed nothing that matters."""
    if name == "claim":
        return not any(run.state is RunState.RUNNING for one in result for run in one.runs)
    return name in {"finish", "recover"} and not any(result)


def _has_message(result: Any) -> bool:
    return any(run.deliveries for one in result if one is not None for run in one.runs)


def settings(home: Path) -> Settings:
    """Short bounds, so that a story fits into an hour; and a home that nobody else has."""
    return Settings(
        home=str(home),
        interval=INTERVAL,
        drain_timeout=DRAIN,
        max_running=MAX_RUNNING,
        retention_days=100_000.0,
    )
