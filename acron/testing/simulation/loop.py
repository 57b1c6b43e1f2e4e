"""The event loop of a story: nothing in it is the machine's, so that a seed always tells the same.

What is ready runs in the order in which it became so; when nothing is ready, time becomes the first
timer's. There is no selector to ask and no thread to wait for: what is meant for a thread is done
on the loop, in its turn, and may *take* time. And a process can die: from then on nothing runs in
its context, no ``finally``, no callback, no timer.
"""
# ruff: noqa: SLF001 - acron's threads have no public door for who does their work

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from acron.testing.clock import VirtualClock
    from acron.threads import Threads

#: In which life of which process code runs.
LIFE: ContextVar[object] = ContextVar("simulated life", default=None)

# Timers whose instants are one and the same to a datetime, but for the rounding of floats.
_SAME_INSTANT = 5e-7


class _Handle:
    """What is to be run, as asyncio knows it; without a callback, it was cancelled."""

    __slots__ = ("args", "callback", "context")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> None:
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.context = copy_context() if context is None else context

    def cancel(self) -> None:
        self.callback, self.args = None, ()

    def cancelled(self) -> bool:
        return self.callback is None


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs by ``clock``, which it moves."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.clock = clock
        self._queue: Any = self._ready  # type: ignore[attr-defined]
        self._timers: list[tuple[float, int, _Handle]] = []
        self._waits: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._takes = 0.0
        self._dead: set[object] = set()
        self._blocked: dict[object, tuple[float, list[_Handle]]] = {}  # until when; what waits
        self._kept: list[_Handle] = []  # what the dead would have done
        # A loop holds its tasks weakly: one that nobody will wake would be collected, and its
        # ``finally`` would run, in the middle of other things.
        self._tasks: set[asyncio.Task[Any]] = set()
        # Asked at each step of each task: what is built in answers soonest.
        self.get_debug = bool  # type: ignore[method-assign]
        self.create_future = partial(asyncio.Future, loop=self)  # type: ignore[method-assign]

    # --- what asyncio asks of a loop

    def time(self) -> float:
        return self.clock.monotonic()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        handle = _Handle(callback, args, context)
        self._queue.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> _Handle:
        handle = _Handle(callback, args, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> _Handle:
        return self.call_at(self.clock.monotonic() + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        """All that is ready, or becomes so meanwhile: one instant."""
        queue, dead, blocked = self._queue, self._dead, self._blocked
        if not queue:
            self._pass_time()
        while queue and not self._stopping:  # type: ignore[attr-defined]
            handle = queue.popleft()
            if handle.callback is None:
                continue
            if dead or blocked:
                life = handle.context.get(LIFE)
                if life in dead:
                    self._kept.append(handle)
                    continue
                if life in blocked:
                    blocked[life][1].append(handle)
                    continue
            try:
                handle.context.run(handle.callback, *handle.args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 (as asyncio does)
                self.call_exception_handler({"message": f"{handle.callback}", "exception": error})

    # --- time

    async def advance(self, seconds: float) -> None:
        """Let that much time pass, and all that is due in it and at its end be done."""
        wait = self.create_future()
        until = self.clock.monotonic() + seconds
        heapq.heappush(self._waits, (until, next(self._numbers), wait))
        await wait

    def _pass_time(self) -> None:
        """Nothing is ready: on to what comes first."""
        timers, waits, clock = self._timers, self._waits, self.clock
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        first = timers[0][0] if timers else math.inf
        if waits and first - waits[0][0] > _SAME_INSTANT:
            when, _, wait = heapq.heappop(waits)
            clock.move_to(max(when, clock.monotonic()))
            if not wait.done():
                wait.set_result(None)
            return
        if not timers:
            raise RuntimeError("nothing is ready, and nothing ever will be")
        clock.move_to(max(first, clock.monotonic()))
        while timers and timers[0][0] <= first:
            self._queue.append(heapq.heappop(timers)[2])

    # --- what is meant for threads

    def acron_hold(self, _: str) -> _Held:
        """Time stands still anyway while something is done: the door that virtual loops have."""
        return _HELD

    def take(self, seconds: float) -> None:
        """Said by a function that is meant for a thread: so long it would be at work."""
        self._takes += seconds

    def run_in_executor(  # type: ignore[override]
        self, _: Any, function: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = self.create_future()
        self.call_soon(_perform, future, function, args)
        return future

    def taken(self) -> float:
        """What was said so, since this was asked last."""
        seconds, self._takes = self._takes, 0.0
        return seconds

    # --- what becomes of processes

    def block(self, life: object, seconds: float) -> None:
        """For so long nothing runs in that life: its process was stopped, or something in it does
        not let go of its loop. Whoever calls this from it goes on to its next await."""
        until, waiting = self._blocked.get(life, (0.0, []))
        self._blocked[life] = max(until, self.time() + seconds), waiting
        self.call_later(seconds, self._unblock, life, context=Context())

    def blocked_for(self, life: object) -> float:
        """Seconds until something of it runs again."""
        return max(0.0, self._blocked.get(life, (0.0, []))[0] - self.time())

    def _unblock(self, life: object) -> None:
        if self.blocked_for(life) <= 0:
            self._queue.extend(self._blocked.pop(life, (0.0, []))[1])

    def bury(self, life: object) -> None:
        """From now on nothing runs in that life. Whoever calls this from it has to wait for ever
        after."""
        self._dead.add(life)
        self._tasks |= asyncio.all_tasks(self)

    def left(self) -> list[asyncio.Task[Any]]:
        """The tasks that are still there; those of the dead are not."""
        return [task for task in asyncio.all_tasks(self) if task not in self._tasks]

    def exhume(self) -> None:
        """Let the dead go on, to be cancelled and so to end in order."""
        self._dead.clear()
        self._queue.extend(self._kept)
        for _, waiting in self._blocked.values():
            self._queue.extend(waiting)
        self._kept.clear()
        self._blocked.clear()
        self._tasks.clear()


def in_turn(threads: Threads, call: Any) -> None:
    """Stands in for ``Threads._start``: the call is done on the loop, and ends when it has taken
    its time."""
    loop = call.loop

    def perform() -> None:
        loop.taken()
        call.perform()
        loop.call_later(loop.taken(), end)

    def end() -> None:
        threads._ended(call)()

    loop.call_soon(perform)


def _perform(future: asyncio.Future[Any], function: Callable[..., Any], args: Any) -> None:
    try:
        value = function(*args)
    except BaseException as error:  # noqa: BLE001 (whoever waits is to judge)
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(value)


class _Held:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


_HELD = _Held()
