"""One event loop in virtual time.

asyncio's loop asks its selector what is ready, waiting until the first timer at most. Ours never
waits: when nothing is ready and nothing is *held*, time becomes exactly the first timer's. What
works outside the loop holds time while it is in flight: executors, acron's and anyio's threads,
subprocesses. A hold is bounded in real time, so that a stuck thread's own timeout can fire.
"""
# ruff: noqa: SLF001 - the loop has no public door to its timers and its selector

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
import selectors
import warnings
from asyncio import base_events
from contextlib import AbstractContextManager, ExitStack
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from unittest.mock import patch

from acron.clock import SystemClock
from acron.errors import AcronError
from acron.testing.grave import Grave
from acron.testing.looks import Looks
from acron.testing.turns import Turns
from acron.testing.waiting import codes, is_main, where
from acron.threads import name_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Thread
    from types import CodeType

    from acron.testing.clock import VirtualClock

log = logging.getLogger("acron.testing")
_real_seconds = SystemClock().monotonic

# Timers whose instants are one and the same to a datetime, but for the rounding of floats.
_SAME_INSTANT = 5e-7


class VirtualTimeError(AcronError, RuntimeError):
    """Virtual time cannot be had here."""


class WaitsForever(VirtualTimeError):
    """The test waits for something that never comes."""


class HoldDropped(RuntimeWarning):
    """Something held virtual time for too long, and time went on without it."""


@dataclass
class Limits:
    """``hold``: real seconds of idle waiting after which a hold is dropped. ``grace``: real
    seconds in which another thread may still call when nothing else is left. ``jumps``: how
    often time may jump in a row while nobody advances it."""

    hold: float = 5.0
    grace: float = 1.0
    jumps: int = 1_000_000


class Hold(AbstractContextManager["Hold"]):
    """Virtual time stands still while one is held; used as a context, or released by hand."""

    __slots__ = ("_holds", "bound", "context", "label", "until")

    def __init__(self, label: str, now: float, bound: float, holds: dict[Hold, None]) -> None:
        self.label = label
        self.context = copy_context()  # whose it is
        self.bound = bound
        self.until = now + bound
        self._holds = holds
        holds[self] = None

    def release(self, _: object = None) -> None:
        self._holds.pop(self, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class VirtualLoop:
    """Makes ``loop`` virtual from now until `restore`.

    ``body`` is the code of the test function, so that what is wrong is raised where it waits.
    ``errors`` are the holds dropped where warnings are errors, for whoever restores the loop.
    Raises VirtualTimeError for a loop that is not asyncio's own selector loop.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: VirtualClock,
        limits: Limits,
        body: CodeType | None = None,
    ) -> None:
        refuse_foreign(loop)
        self._loop: Any = loop
        self._clock = clock
        self._limits = limits
        self._body = body
        self.errors: list[HoldDropped] = []
        self._jumps = 0
        self._thrown = 0
        self._waited = 0.0  # real seconds spent idle, because of holds
        self._holds: dict[Hold, None] = {}  # oldest first
        self.lent: dict[object, Thread] = {}  # who holds time, and waits for this loop with it
        self._processes: dict[asyncio.SubprocessTransport, Hold] = {}
        self._waits: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._looks = Looks(loop)
        self._patches = ExitStack()
        self.frozen = 0  # depth of `VirtualTime.freeze`: only `reach` moves time
        self.grave = Grave(loop)
        self._turns = Turns(loop, clock, self.grave, self._events)
        self.next_timer = self._turns.next_timer
        self._install()

    # --- putting it on, taking it off

    def _install(self) -> None:
        loop = self._loop
        self._poll = loop._selector.select
        self._files = loop._selector.get_map()
        self._signals = getattr(loop, "_signal_handlers", ())  # a loop for Windows has none
        self._run_in_executor = loop.run_in_executor
        self._shutdown_default_executor = loop.shutdown_default_executor
        self._make_subprocess_transport = loop._make_subprocess_transport
        self._shift_timers(self._clock.monotonic() - loop.time())
        for target, name, ours in (
            (loop._selector, "select", self._select),
            (loop, "time", self._clock.monotonic),
            (loop, "_clock_resolution", math.ulp(self._clock.monotonic())),
            (loop, "run_in_executor", self._held_executor),
            (loop, "shutdown_default_executor", self._held_shutdown),
            (loop, "_make_subprocess_transport", self._held_process),
        ):
            self._patches.enter_context(patch.object(target, name, ours))
        for name, turn in self._turns.methods().items():
            self._patches.enter_context(patch.object(loop, name, turn))
        # The doors for others: acron.threads, and apps that were given no clock.
        self._patches.enter_context(patch.object(loop, "acron_hold", self.hold, create=True))
        self._patches.enter_context(patch.object(loop, "acron_clock", self._clock, create=True))
        idly = self._looks.call_idly
        self._patches.enter_context(patch.object(loop, "acron_call_idly", idly, create=True))

    def restore(self) -> None:
        """Give the loop its own time back. Timers keep what was left of them."""
        self.grave.exhume()
        virtual = self._loop.time()
        self._patches.close()
        self._shift_timers(self._loop.time() - virtual)
        self._looks.stir()  # in its own time nothing is left out
        self._loop._ready.extend(self._looks.take(math.inf))

    def _shift_timers(self, seconds: float) -> None:
        for handle in self._loop._scheduled:
            handle._when += seconds

    # --- time

    def _select(self, timeout: float | None = None) -> list[Any]:
        """What asyncio's own turns ask for."""
        events = self._events(timeout is None or timeout > 0)
        if self.grave.dead:
            self.grave.look()
        # A timer is due when `when < time + resolution`: so, exactly those of this instant.
        self._loop._clock_resolution = math.ulp(self._clock.monotonic())
        return events

    def _events(self, idle: bool) -> list[Any]:  # noqa: FBT001 (a callback)
        """What came from outside; when nothing is ready, time moves."""
        events: list[Any] = []
        # With no file but the loop's own, what threads want is among what is ready already; what
        # signals want is not.
        if not idle or len(self._files) > 1 or self._signals:
            events = self._poll(0)
        if idle and not events:
            events = self._idle()
        if events:
            self._looks.stir()
        return events

    def _idle(self) -> list[Any]:
        """Nothing is ready: wait for what is held, else let time jump."""
        clock, waits = self._clock, self._waits
        first, now = self.next_timer(), clock.monotonic()
        if first <= now:
            return []
        # A thread waits for many things with one hold.
        if self._holds and len(self._holds) > len(set(self.lent.values())):
            events = self._wait_for_holds()
            if events is not None:
                return events
        while waits and waits[0][2].done():
            heapq.heappop(waits)
        look = self._looks.next()
        if look <= min(first, waits[0][0] if waits else self._clock.end) and self._moves:
            clock.move_to(max(look, now))
            self._loop._ready.extend(self._looks.take(clock.monotonic()))
        elif waits and first - waits[0][0] > _SAME_INSTANT:
            when, _, wait = heapq.heappop(waits)
            clock.move_to(max(when, now))
            self._looks.stir()  # the test goes on
            wait.set_result(None)
        elif first <= clock.end and self._moves:
            self._looks.stir()
            if not waits:
                self._count_jump()
            clock.move_to(first)
        else:
            return self._nothing_left()
        return []

    @property
    def _moves(self) -> bool:
        """Whether time may pass."""
        return bool(self._waits) or not self.frozen

    def _count_jump(self) -> None:
        self._jumps += 1
        if self._jumps > self._limits.jumps:
            self._jumps = 0
            self._throw(
                WaitsForever(
                    f"time has jumped {self._limits.jumps} times, to {self._clock.now()}, while "
                    "the test waits for something else than time: advance() or run_until() bound "
                    f"it. Waiting:{self._waiting()}"
                )
            )

    async def reach(self, when: float) -> None:
        """Let time run until ``when`` and everything due then is done."""
        self._looks.stir()  # by the test
        wait = self._loop.create_future()
        heapq.heappush(self._waits, (when, next(self._numbers), wait))
        try:
            await wait
        finally:
            self._jumps = 0

    # --- holds

    def bury(self, dead: Callable[[Context], bool]) -> None:
        """From now on nothing runs, and nothing is held, in a context that is ``dead``."""
        self.grave.bury(dead)
        for hold in [one for one in self._holds if dead(one.context)]:
            hold.release()

    def hold(self, label: str, seconds: float | None = None) -> Hold:
        """Time stands still from now until the hold is released; or dropped, after ``seconds``
        of real idle waiting (by default, of the limits)."""
        bound = self._limits.hold if seconds is None else seconds
        return Hold(label, self._waited, bound, self._holds)

    def _wait_for_holds(self) -> list[Any] | None:
        """What came while waiting for them; None when nothing is held any more."""
        for process in [p for p in self._processes if p.get_returncode() is not None]:
            self._processes.pop(process).release()
        while self._holds:
            oldest = next(iter(self._holds))
            left = oldest.until - self._waited
            if left <= 0:
                self._drop(oldest)
                continue
            began = _real_seconds()
            events: list[Any] = self._poll(left)
            self._waited += _real_seconds() - began
            if events:
                return events
        return None

    def _drop(self, hold: Hold) -> None:
        hold.release()
        text = (
            f"{hold.label} held virtual time for {hold.bound:g} s of real time; "
            "time goes on without it"
        )
        log.warning(text)
        try:
            warnings.warn(HoldDropped(text), stacklevel=2)
        except HoldDropped as error:  # warnings are errors here: the test's, not the loop's
            self.errors.append(error)

    def _held_executor(
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._run_in_executor(executor, func, *args)
        if not future.done():
            future.add_done_callback(self.hold(f"executor: {name_of(func)}").release)
        return future

    async def _held_shutdown(self, *args: Any, **kwargs: Any) -> None:
        # No timeout of a test's is waiting for this. The bound is asyncio's own.
        with self.hold("the default executor's shutdown", seconds=300.0):
            await self._shutdown_default_executor(*args, **kwargs)

    async def _held_process(
        self, protocol: asyncio.BaseProtocol, args: Any, *rest: Any, **kwargs: Any
    ) -> asyncio.SubprocessTransport:
        transport: asyncio.SubprocessTransport
        transport = await self._make_subprocess_transport(protocol, args, *rest, **kwargs)
        if transport.get_returncode() is None:
            line = args if isinstance(args, str) else " ".join(map(str, args))
            self._processes[transport] = self.hold(f"subprocess: {line:.60}")
        return transport

    # --- nothing left

    def _nothing_left(self) -> list[Any]:
        events: list[Any] = self._poll(self._limits.grace)
        if not events:
            why = "time is frozen" if self.frozen else "no timer is set"
            self._throw(
                WaitsForever(
                    f"nothing can happen any more: nothing is ready, {why}, nothing is held, and "
                    f"no other thread called within {self._limits.grace:g} s. "
                    f"Waiting:{self._waiting()}"
                )
            )
        return events

    def _throw(self, error: Exception) -> None:
        """Raise it in the test, at the await where it stands; out of the loop if there is none."""
        waiter = self._test_waits_for()
        self._thrown += 1
        if waiter is None or waiter.done() or self._thrown > 10:  # somebody swallows it
            raise error
        waiter.set_exception(error)

    def _test_waits_for(self) -> asyncio.Future[Any] | None:
        tasks = asyncio.all_tasks(self._loop)
        found: Any = next((task for task in tasks if self._body in codes(task)), None)
        found = found or next((task for task in tasks if is_main(task)), None)
        while isinstance(found, asyncio.Task):
            found = found._fut_waiter  # type: ignore[attr-defined]
        return found if isinstance(found, asyncio.Future) else None

    def _waiting(self) -> str:
        tasks = sorted(asyncio.all_tasks(self._loop), key=lambda task: task.get_name())
        lines = [f"\n  {task.get_name()}: {where(task)}" for task in tasks[:10]]
        more = f"\n  and {len(tasks) - 10} more" if len(tasks) > 10 else ""
        return "".join(lines) + more


def virtual_loop() -> VirtualLoop:
    """What makes the running loop virtual. Raises VirtualTimeError when it keeps real time."""
    hold = getattr(asyncio.get_running_loop(), "acron_hold", None)
    if hold is None:
        raise VirtualTimeError("this event loop keeps real time: use the fixture acron_time")
    found: VirtualLoop = hold.__self__
    return found


def refuse_foreign(loop: object) -> None:
    """Raise VirtualTimeError unless ``loop`` is one that can be made virtual."""
    if hasattr(loop, "acron_hold"):
        raise VirtualTimeError("this event loop is in virtual time already")
    selector = getattr(loop, "_selector", None)
    if isinstance(loop, base_events.BaseEventLoop) and isinstance(selector, selectors.BaseSelector):
        return
    kind = f"{type(loop).__module__}.{type(loop).__qualname__}"
    raise VirtualTimeError(
        f"{kind} keeps its time to itself: virtual time needs asyncio's own event loop"
        + (" (run this test without uvloop)" if "uvloop" in kind else "")
    )
