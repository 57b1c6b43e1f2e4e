"""What `crash` has killed: processes that die without a word, inside one event loop.

What a process does is what runs in a context of its own. Its death is that nothing of that context
runs any more: no ``finally``, no callback, no timer. Its tasks stay where they were, and are
cancelled when the loop is given back, after everything that could notice.
"""
# ruff: noqa: SLF001 - the loop has no public door to what it is about to run

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextvars import Context

    Dead = Callable[[Context], bool]


class Grave:
    """The dead of one loop. ``look`` is called before the loop runs what is ready."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._dead: list[Dead] = []
        # What would have run: how to call it, and in which context.
        self._kept: list[tuple[Any, tuple[Any, ...], Context]] = []
        # A loop holds its tasks weakly: one that nobody will wake would be collected, and its
        # ``finally`` would run, in the middle of other things.
        self._tasks: set[asyncio.Task[Any]] = set()

    def __bool__(self) -> bool:
        return bool(self._dead)

    def bury(self, dead: Dead) -> None:
        """From now on nothing runs in a context that is ``dead``. Whoever calls this from one has
        to wait for ever after it."""
        self._dead.append(dead)
        self._tasks |= self._found()
        for timer in self._loop._scheduled:
            if self._is_dead(timer):
                timer.cancel()
        self.look()

    def look(self) -> None:
        """Let nothing of the dead run that is ready. In its place: the loop has counted it."""
        for handle in tuple(self._loop._ready):  # threads add to it
            if not handle.cancelled() and self._is_dead(handle):
                self._kept.append((handle._callback, handle._args, handle._context))
                handle.cancel()

    def _is_dead(self, handle: asyncio.Handle) -> bool:
        return any(dead(handle._context) for dead in self._dead)  # type: ignore[attr-defined]

    def _found(self) -> set[asyncio.Task[Any]]:
        """The tasks of the dead that wait for something, and the one that runs."""
        found = set()
        current = asyncio.current_task(self._loop)
        for task in asyncio.all_tasks(self._loop):
            its = [copy_context()] if task is current else contexts(task)
            if any(dead(context) for context in its for dead in self._dead):
                found.add(task)
        return found

    def exhume(self) -> set[asyncio.Task[Any]]:
        """Cancel what is left of them, so that it ends in order; the tasks to wait for."""
        tasks = {task for callback, *_ in self._kept if (task := _task_of(callback))}
        tasks |= self._tasks
        for task in tasks:
            task.cancel()
        self._dead.clear()
        self._tasks.clear()
        for callback, args, context in self._kept:
            self._loop.call_soon(callback, *args, context=context)
        self._kept.clear()
        return tasks


def contexts(task: asyncio.Task[Any]) -> Iterator[Context]:
    """The context of a task that waits for something: its wake-up bears it."""
    waiter: Any = getattr(task, "_fut_waiter", None)
    for callback, context in getattr(waiter, "_callbacks", None) or ():
        if _task_of(callback) is task:
            yield context


def _task_of(callback: object) -> asyncio.Task[Any] | None:
    owner = getattr(callback, "__self__", None)
    return owner if isinstance(owner, asyncio.Task) else None
