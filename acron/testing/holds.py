"""What works outside the loop in other libraries, and must not be overtaken by virtual time.

Threads of an executor and subprocesses are the loop's own affair (see ``loop``). Here are those
that it does not know of, and those that wait for the loop themselves.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from concurrent.futures.thread import _worker as _executor_s
from typing import TYPE_CHECKING, Any

from anyio._backends._asyncio import AsyncIOBackend, WorkerThread

from acron.threads import Threads, name_of

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from types import TracebackType

    from anyio import CapacityLimiter

    from acron.testing.loop import Hold, VirtualLoop


def held_libraries() -> Iterator[tuple[Any, str, Any]]:
    """What to put in place of what: an owner, an attribute of it, and ours."""
    yield AsyncIOBackend, "run_sync_in_worker_thread", staticmethod(_held_anyio_thread())
    # A connection of aiosqlite is a thread of its own, and bots are full of them.
    if aiosqlite := sys.modules.get("aiosqlite"):
        for name in ("_connect", "_execute", "close"):
            if method := getattr(aiosqlite.Connection, name, None):
                yield aiosqlite.Connection, name, _held_method(method)


def lending(
    loops: Mapping[asyncio.AbstractEventLoop, VirtualLoop],
) -> Callable[..., concurrent.futures.Future[Any]]:
    """``asyncio.run_coroutine_threadsafe`` for threads that hold time while they wait for what
    the loop does: meanwhile one hold does not count, or the two would wait for each other."""
    original = asyncio.run_coroutine_threadsafe

    def run_coroutine_threadsafe(
        coro: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop
    ) -> concurrent.futures.Future[Any]:
        future = original(coro, loop)
        virtual = loops.get(loop)

        def lend() -> None:
            if virtual is not None and not future.done():
                virtual.lent.add(future)
                future.add_done_callback(virtual.lent.discard)

        if virtual is not None and _holds_time(threading.current_thread()):
            loop.call_soon_threadsafe(lend)  # which wakes a loop that waits for the thread
        return future

    return run_coroutine_threadsafe


def _holds_time(thread: threading.Thread) -> bool:
    """Whether it is one of those that hold time while they work: a raw one does not."""
    target = getattr(thread, "_target", None)
    of_acron = getattr(target, "__func__", None) is Threads._work  # noqa: SLF001
    return of_acron or target is _executor_s or isinstance(thread, WorkerThread)


def _hold() -> Callable[[str], Hold] | None:
    return getattr(asyncio.get_running_loop(), "acron_hold", None)


def _held_method(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def held(*args: Any, **kwargs: Any) -> Any:
        hold = _hold()
        if hold is None:
            return await method(*args, **kwargs)
        with hold(f"aiosqlite: {method.__name__.strip('_')}"):
            return await method(*args, **kwargs)

    return held


class _HeldLimiter:
    """A limiter that holds virtual time from the moment it gave its token."""

    def __init__(self, limiter: CapacityLimiter, hold: Callable[[], Hold]) -> None:
        self._limiter = limiter
        self._hold = hold

    async def __aenter__(self) -> None:
        await self._limiter.__aenter__()
        self._held = self._hold()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._held.release()
        await self._limiter.__aexit__(kind, error, traceback)


def _held_anyio_thread() -> Callable[..., Any]:
    original = AsyncIOBackend.run_sync_in_worker_thread

    async def run_sync_in_worker_thread(
        func: Callable[..., Any],
        args: tuple[Any, ...],
        abandon_on_cancel: bool = False,  # noqa: FBT001, FBT002 (anyio's signature)
        limiter: Any = None,
    ) -> Any:
        hold = _hold()
        if hold is not None:
            limiter = limiter or AsyncIOBackend.current_default_thread_limiter()
            limiter = _HeldLimiter(limiter, lambda: hold(f"anyio thread: {name_of(func)}"))
        return await original(func, args, abandon_on_cancel=abandon_on_cancel, limiter=limiter)

    return run_sync_in_worker_thread
