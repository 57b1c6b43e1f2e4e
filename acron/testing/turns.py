"""The turns of a loop in virtual time, and what is put into them: as asyncio makes them, without
what it measures, waits for, and checks in debug mode. A month has very many."""
# ruff: noqa: SLF001 - the loop has no public door to what is ready, and to its timers

from __future__ import annotations

import heapq
import math
from asyncio import Future, Handle, TimerHandle, base_events
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from acron.clock import Clock
    from acron.testing.grave import Grave

# While there is something to run, what is outside of the loop is looked at once in so many turns.
_POLLED = 16
# Cancelled timers with which asyncio begins to look whether it had better let go of them.
_SWEPT = 100


class _Soon(Struct, eq=False):
    """What is to be run in the next turn: an asyncio.Handle without what debug mode keeps in it."""

    _loop: Any
    _callback: Callable[..., object]
    _args: tuple[Any, ...]
    _context: Context
    _cancelled: bool = False
    _source_traceback: None = None

    _run = Handle._run  # by its frame the watchdog knows whose work blocks the loop

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled


class Turns:
    """For one loop, whose time is that of ``clock``, and whose dead are in ``grave``. ``events``
    gives what its selector has; told that the loop is idle, it moves the time."""

    def __init__(
        self, loop: Any, clock: Clock, grave: Grave, events: Callable[[bool], list[Any]]
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._grave = grave
        self._events = events
        self._ready = loop._ready
        self._asyncio_run_once = loop._run_once
        self._asyncio_call_soon = loop.call_soon
        self._asyncio_call_at = loop.call_at

    def methods(self) -> dict[str, Callable[..., Any]]:
        """What the loop is to have in the place of asyncio's own, by name; nothing for one that
        has turns of its own."""
        ours: dict[str, Callable[..., Any]] = {
            "_run_once": self._run_once,
            "call_soon": self._call_soon,
            "call_at": self._call_at,
            "call_later": self._call_later,
            "create_future": partial(Future, loop=self._loop),
        }
        asyncios, its = base_events.BaseEventLoop, type(self._loop)
        plain = all(getattr(its, name) is getattr(asyncios, name) for name in ours)
        return ours if plain else {}

    def _run_once(self) -> None:
        """All turns that follow each other, for a while. What is rare is left to asyncio: debug
        mode, and very many cancelled timers."""
        loop, ready = self._loop, self._ready
        if loop._debug or loop._timer_cancelled_count > _SWEPT:
            self._asyncio_run_once()
            return
        if events := self._events(not (ready or loop._stopping)):
            loop._process_events(events)
        timers, turns = loop._scheduled, _POLLED
        while turns:
            turns -= 1
            now = loop.time()  # its own again, once virtual time has ended
            while timers and timers[0]._when <= now:
                timer = heapq.heappop(timers)
                timer._scheduled = False
                if timer._cancelled:
                    loop._timer_cancelled_count -= 1
                else:
                    ready.append(timer)
            if self._grave.dead:
                self._grave.look()
            left = len(ready)  # what these make ready has the next turn
            while left:
                left -= 1
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._run()
            if not ready or loop._stopping:
                return

    def _call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle | _Soon:
        loop = self._loop
        if loop._debug or loop._closed:
            handle: Handle = self._asyncio_call_soon(callback, *args, context=context)
            return handle
        soon = _Soon(loop, callback, args, copy_context() if context is None else context)
        self._ready.append(soon)
        return soon

    def _call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> TimerHandle:
        return self._put(self._clock.monotonic() + delay, callback, args, context)

    def _call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> TimerHandle:
        return self._put(when, callback, args, context)

    def _put(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
    ) -> TimerHandle:
        loop = self._loop
        if loop._debug or loop._closed:
            timer: Any = self._asyncio_call_at(when, callback, *args, context=context)
        else:
            timer = TimerHandle(when, callback, args, loop, context)
            heapq.heappush(loop._scheduled, timer)
            timer._scheduled = True
        put: TimerHandle = timer
        return put

    def next_timer(self) -> float:
        """When the first timer is due, infinity when there is none."""
        loop = self._loop
        timers = loop._scheduled
        while timers and timers[0]._cancelled:
            loop._timer_cancelled_count -= 1
            heapq.heappop(timers)._scheduled = False
        when: float = timers[0]._when if timers else math.inf
        return when
