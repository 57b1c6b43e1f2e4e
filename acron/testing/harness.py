"""Virtual time for a test: whatever loop it runs on, under any test plugin."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from asyncio.base_events import BaseEventLoop
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from unittest.mock import patch

from acron.schedules import parse
from acron.testing.clock import START, VirtualClock, aware, clock_change
from acron.testing.grave import contexts
from acron.testing.holds import held_libraries, lending
from acron.testing.loop import (
    Hold,
    HoldDropped,
    Limits,
    VirtualLoop,
    VirtualTimeError,
    refuse_foreign,
)
from acron.testing.page import span
from acron.threads import name_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import CodeType


class VirtualTime:
    """Time, as a test moves it. Made by `virtual_time` and the fixture ``acron_time``.

    Time jumps to the next timer whenever nothing else can happen, also while the test simply
    awaits something: sleeps and timeouts take no time. `advance` bounds that. Time stands still
    while an executor, a thread of acron's or anyio's, or a subprocess is at work, and under
    `hold`. It does **not** stand still for sockets to other processes and for raw threads.
    """

    def __init__(self, clock: VirtualClock, limits: Limits, body: CodeType | None = None) -> None:
        self.clock = clock
        self.limits = limits
        self._body = body
        self._loops: dict[asyncio.AbstractEventLoop, VirtualLoop] = {}
        self._early: list[asyncio.Task[Any]] = []  # of apps that were open before time was virtual

    def now(self) -> datetime:
        """The virtual wall clock, aware, in UTC."""
        return self.clock.now()

    def set(self, instant: datetime) -> None:
        """Set the wall clock, best before anything has looked at it; no timer moves."""
        self.clock.set(instant)

    def jump_clock(self, seconds: float | timedelta) -> None:
        """Put the wall clock forward (or back, below 0), as an operator or NTP does. Monotonic
        time, and so every timer, does not notice."""
        self.clock.jump(_seconds(seconds))

    async def advance(
        self,
        delta: float | timedelta = 0.0,
        /,
        *,
        days: float = 0.0,
        hours: float = 0.0,
        minutes: float = 0.0,
        seconds: float = 0.0,
    ) -> None:
        """Let that much time pass (``delta`` in seconds), and all that is due in it and at its
        end be done. ValueError if below 0, or past the year 9999."""
        more = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        total = _seconds(delta) + more.total_seconds()
        if total < 0:
            raise ValueError(f"time does not run back: {total} s")
        when = self.clock.monotonic() + total
        if not when <= self.clock.end:  # nor is "not a number" a time
            raise ValueError(f"{total} s from {self.now()}: that is past the end of the calendar")
        await self._here().reach(when)

    async def advance_to(self, instant: datetime | str, tz: str = "UTC") -> None:
        """Let time pass until the wall clock says ``instant``: an aware datetime, or a text whose
        next instant is meant (``"tomorrow at 9am"``, ``"weekdays at 9:30"``), in the zone ``tz``.

        Raises ValueError if it is past, ScheduleError for a text that is no schedule.
        """
        if isinstance(instant, str):
            named = parse(instant, tz=tz, now=self.now()).next_after(self.now())
            if named is None:
                raise ValueError(f"{instant!r} is past, or never comes")
            instant = named
        left = aware(instant) - self.now()
        if left < timedelta(0):
            raise ValueError(f"{instant} is past: it is {self.now()}")
        await self.advance(left)

    @contextmanager
    def freeze(self) -> Iterator[None]:
        """Inside, time passes only by `advance` and its like: what waits for it waits."""
        loop = self._here()
        loop.frozen += 1
        try:
            yield
        finally:
            loop.frozen -= 1

    def block_loop(self, seconds: float | timedelta) -> None:
        """Let time pass while nothing can run: as a job does that blocks the loop."""
        self.clock.move_to(self.clock.monotonic() + _seconds(seconds))

    def dst(self, zone: str, year: int, season: Literal["spring", "autumn"]) -> datetime:
        """Set the wall clock to a day before clocks change in ``zone``; the instant of the change.
        Like `set` best before an app is opened: jobs do not fire again what they have fired.

        Raises ValueError where they do not.
        """
        change = clock_change(zone, year, season)
        self.set(change - timedelta(days=1))
        return change

    async def settle(self) -> None:
        """Let everything be done that can be, without time passing."""
        await self.advance()

    async def run_until(
        self,
        predicate: Callable[[], object | Awaitable[object]],
        limit: float | timedelta = timedelta(days=1),
    ) -> Any:
        """Let time pass, timer by timer, until ``predicate()`` is true; what it gave.

        Raises TimeoutError when it is not so after ``limit`` (seconds). The predicate may be a
        coroutine function.
        """
        __tracebackhide__ = True
        if not callable(predicate):
            if inspect.iscoroutine(predicate):
                predicate.close()
            raise TypeError(
                f"run_until needs a function, which it can ask again: lambda: …, not {predicate!r}"
            )
        loop, deadline = self._here(), self.clock.monotonic() + _seconds(limit)
        while True:
            await self.settle()
            value = predicate()
            if inspect.isawaitable(value):
                value = await value
            if value:
                return value
            if self.clock.monotonic() >= deadline:
                told = f"{name_of(predicate)} is not true after {span(_seconds(limit))}"
                raise TimeoutError(f"{told}, at {self.now():%Y-%m-%d %H:%M:%S} UTC: {value!r:.100}")
            await loop.reach(min(loop.next_timer(), deadline))

    def hold(self, label: str) -> Hold:
        """``with acron_time.hold("redis"):`` time stands still inside, for I/O that is real."""
        return self._here().hold(label)

    def _here(self) -> VirtualLoop:
        running = asyncio._get_running_loop()  # noqa: SLF001 (None, where the public one raises)
        if running is None:
            raise VirtualTimeError(
                "no asyncio event loop runs here: write the test as `async def` "
                "(under trio there is none)"
            )
        if running not in self._loops:
            refuse_foreign(running)
            raise VirtualTimeError("this event loop is of another thread, and keeps real time")
        if any(task.get_loop() is running and not task.done() for task in self._early):
            raise VirtualTimeError(
                "an app was opened on this loop before its time was virtual, and keeps the time "
                "that was then: let the fixture that opens it ask for acron_time, too"
            )
        return self._loops[running]

    # --- putting it on every loop of this thread

    def _take(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop not in self._loops:
            self._early += _of_apps(loop)
            self._loops[loop] = VirtualLoop(loop, self.clock, self.limits, self._body)

    def _give_back(self) -> None:
        for loop, virtual in self._loops.items():
            if not loop.is_closed():
                virtual.restore()

    def _errors(self) -> list[HoldDropped]:
        return [error for virtual in self._loops.values() for error in virtual.errors]

    @contextmanager
    def _everywhere(self) -> Iterator[None]:
        thread = threading.get_ident()
        run_forever, runner = BaseEventLoop.run_forever, asyncio.Runner
        run, get_loop = runner.run, runner.get_loop

        def virtual_run_forever(loop: BaseEventLoop) -> None:
            if threading.get_ident() == thread:
                self._take(loop)
                self._loops[loop].grave.exhume()  # whoever runs it now is not who buried them
            run_forever(loop)

        # uvloop has a run_forever of its own: runners are where it is seen, and refused.
        def checked_loop(runner: asyncio.Runner) -> asyncio.AbstractEventLoop:
            loop = get_loop(runner)
            if threading.get_ident() == thread and loop not in self._loops:
                refuse_foreign(loop)
            return loop

        def checked_run(runner: asyncio.Runner, coro: Any, **kwargs: Any) -> Any:
            try:
                checked_loop(runner)
            except VirtualTimeError:
                coro.close()
                raise
            return run(runner, coro, **kwargs)

        with ExitStack() as stack:
            stack.callback(self._give_back)
            for target, name, ours in (
                (BaseEventLoop, "run_forever", virtual_run_forever),
                (runner, "get_loop", checked_loop),
                (runner, "run", checked_run),
                (asyncio, "run_coroutine_threadsafe", lending(self._loops)),
                *held_libraries(),
            ):
                stack.enter_context(patch.object(target, name, ours))
            running = asyncio._get_running_loop()  # noqa: SLF001 (None, where the public one raises)
            if running is not None:
                self._take(running)
            yield


@contextmanager
def virtual_time(
    start: datetime | str = START,
    *,
    hold: float = 5.0,
    grace: float = 1.0,
    jumps: int = 1_000_000,
    body: CodeType | None = None,
) -> Iterator[VirtualTime]:
    """Every asyncio loop that runs in this thread inside the context is in virtual time.

    ``start`` is the wall clock's first instant (a datetime, or ISO text); ``hold``, ``grace``
    and ``jumps`` are the bounds told by `acron.testing.loop.Limits`. Afterwards the loops keep
    real time again. Raises VirtualTimeError for loops that are not asyncio's own (uvloop), and
    at the end a HoldDropped that warnings-as-errors made an error.

        with virtual_time() as acron_time:
            asyncio.run(main(acron_time))
    """
    if isinstance(start, str):
        start = datetime.fromisoformat(start)
    time = VirtualTime(VirtualClock(start), Limits(hold, grace, jumps), body)
    with time._everywhere():  # noqa: SLF001 (its other half)
        yield time
    for error in time._errors():  # noqa: SLF001
        raise error


def _of_apps(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[Any]]:
    """The tasks of the apps that are open there."""
    runtime = sys.modules.get("acron.runtime.tasks")
    if runtime is None:  # nobody has opened one
        return []
    node = runtime.current_node
    tasks = asyncio.all_tasks(loop)
    return [task for task in tasks if any(one.get(node) is not None for one in contexts(task))]


def _seconds(delta: float | timedelta) -> float:
    if isinstance(delta, timedelta):
        return delta.total_seconds()
    if isinstance(delta, int | float):
        return delta
    raise TypeError(f"seconds or a timedelta are needed, not {delta!r}")
