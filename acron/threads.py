"""Daemon threads for people's blocking code.

``asyncio.to_thread`` and anyio keep the process from ending while a function is stuck, and go
on counting a thread whose caller has left. Here a caller that is cancelled leaves at once, its
call is counted and named, and nothing holds the process at exit.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from collections import deque
from contextlib import nullcontext, suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

T = TypeVar("T")


class Threads:
    """At most ``limit`` blocking calls at a time, on threads made on demand and used again.

    A call whose awaiter was cancelled is *abandoned*: the thread cannot be stopped, so it is
    left to itself, its result is dropped, and another may take its place. At most ``limit``
    threads are replaced so: there are never more than twice ``limit``; beyond that callers wait.

    Belongs to one event loop at a time. A thread without work ends after ``idle`` seconds.
    """

    def __init__(self, limit: int = 40, name: str = "acron", *, idle: float = 10.0) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        self.limit = limit
        self.name = name
        self._idle = idle
        self._free: deque[_Inbox] = deque()  # of threads that wait for work, last used last
        self._numbers = itertools.count(1)
        self._busy = 0
        self._abandoned: dict[_Call, str] = {}
        self._leaving = threading.Lock()  # a call is abandoned by the loop, or ended by its thread
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._quiet: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def busy(self) -> int:
        """How many calls run and are awaited."""
        return self._busy

    @property
    def abandoned(self) -> tuple[str, ...]:
        """The labels of calls that nobody awaits any more and that still run, oldest first."""
        if not self._abandoned:
            return ()
        with self._leaving:
            return tuple(self._abandoned.values())

    async def run(
        self, function: Callable[..., T], /, *args: Any, label: str = "", **kwargs: Any
    ) -> T:
        """Call ``function`` in a thread, in a copy of this context; its value, or what it raised.

        Raises whatever the function raises, as it is, ``SystemExit`` and ``KeyboardInterrupt``
        included; only ``StopIteration``, which no future can carry, comes as the cause of a
        ``RuntimeError``. Waits for its turn while ``limit`` calls run. When cancelled it returns
        at once; a function that runs is abandoned, under its ``label``.
        """
        loop = asyncio.get_running_loop()
        await self._turn(loop)
        call = _Call(loop, partial(function, *args, **kwargs))
        label = label or name_of(function)
        # A loop in virtual time (acron.testing) must not jump while the thread works.
        hold: Callable[[str], AbstractContextManager[object]] | None
        hold = getattr(loop, "acron_hold", None)
        try:
            with hold(label) if hold else nullcontext():
                self._start(call)
                value: T = await call.future
                return value
        finally:
            if call.future.cancelled():
                self._abandon(call, label)
            self._busy -= 1
            self._next()

    def open(self) -> None:
        """Take calls again after ``close``."""
        self._closed = False

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 (a bound, not a deadline)
        """Refuse new calls and those that wait for their turn; give what runs, abandoned calls
        included, ``timeout`` seconds to end. What runs on is left behind; see ``abandoned``."""
        self._closed = True
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(self._refusal())
        while self._free:
            self._free.pop().put(None)
        if self._busy or self.abandoned:
            self._quiet = asyncio.get_running_loop().create_future()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._quiet
            self._quiet = None

    # --- turns, on the loop

    def _has_room(self) -> bool:
        return self._busy < self.limit and self._busy + len(self._abandoned) < 2 * self.limit

    async def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._closed:
            raise self._refusal()
        if self._has_room() and not self._waiting:
            self._busy += 1
            return
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiting.append(waiter)
        try:
            await waiter  # whoever wakes us has counted us as busy
        except asyncio.CancelledError:
            if waiter.cancelled():
                with suppress(ValueError):  # passed over already
                    self._waiting.remove(waiter)
            else:
                self._busy -= 1
                self._next()
            raise

    def _next(self) -> None:
        while self._waiting and self._has_room():
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._busy += 1
                waiter.set_result(None)
        quiet = self._quiet
        if quiet and not quiet.done() and not self._busy and not self._abandoned:
            quiet.set_result(None)

    def _start(self, call: _Call) -> None:
        try:
            inbox = self._free.pop()
        except IndexError:
            inbox = SimpleQueue()
            name = f"{self.name}-{next(self._numbers)}"
            threading.Thread(target=self._work, args=(inbox,), name=name, daemon=True).start()
        inbox.put(call)

    def _abandon(self, call: _Call, label: str) -> None:
        with self._leaving:
            if not call.ended:
                self._abandoned[call] = label

    def _refusal(self) -> RuntimeError:
        return RuntimeError(f"the threads {self.name!r} are closed")

    # --- work, in a thread

    def _work(self, inbox: _Inbox) -> None:
        while True:
            try:
                call = inbox.get(timeout=self._idle)
            except Empty:
                try:
                    self._free.remove(inbox)
                except ValueError:
                    continue  # taken in this very moment: a call is coming
                return
            if call is None:
                return
            call.perform()
            answer = self._ended(call)
            if not self._closed:
                self._free.append(inbox)
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                call.loop.call_soon_threadsafe(answer)
            if self._closed:
                return
            del call, answer  # keeps nothing of it alive while idle

    def _ended(self, call: _Call) -> Callable[[], None]:
        """What the loop is to do about it."""
        with self._leaving:
            call.ended = True
            was_abandoned = self._abandoned.pop(call, None) is not None
        return self._next if was_abandoned else call.deliver


class _Call:
    """One call on its way: made on the loop, performed in a thread, delivered on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, function: Callable[[], Any]) -> None:
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.ended = False
        self._context = contextvars.copy_context()
        self._function = function
        self._value: Any = None
        self._error: BaseException | None = None

    def perform(self) -> None:
        try:
            self._value = self._context.run(self._function)
        except StopIteration as stop:
            self._error = RuntimeError(f"{name_of(self._function)} raised StopIteration")
            self._error.__cause__ = stop
        except BaseException as error:  # noqa: BLE001 (the awaiter's to judge)
            self._error = error

    def deliver(self) -> None:
        if not self.future.done():
            if self._error is None:
                self.future.set_result(self._value)
            else:
                self.future.set_exception(self._error)
        self._value = self._error = None  # an error's traceback would hold us, and we it


_Inbox = SimpleQueue[_Call | None]


def name_of(function: Callable[..., object]) -> str:
    """What people call this function, also when ``partial`` or ``asyncio.to_thread`` wrap it."""
    while isinstance(function, partial):
        in_context = isinstance(getattr(function.func, "__self__", None), contextvars.Context)
        function = function.args[0] if in_context else function.func
    return getattr(function, "__qualname__", None) or repr(function)
