"""The tasks of one runtime: every one of them is ours to await, and none may end the loop."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from acron.contain import meant_for_us

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")

#: The node on whose behalf code runs: runs and all else that a runtime starts, with the tasks,
#: timers and threads that these start.
current_node: ContextVar[str | None] = ContextVar("current_node", default=None)


class Tasks:
    """Makes tasks in a context of their own: what a caller has in his (a web request's, a
    sibling's) is not for the runs. ``trouble`` is told what nobody waits for."""

    def __init__(self, node_id: str, trouble: Callable[[str, BaseException | None], None]) -> None:
        self._context = copy_context()
        self._context.run(current_node.set, node_id)
        self._trouble = trouble
        self._going: set[asyncio.Task[Any]] = set()

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        """Those that ``own`` and ``do`` have made and that still go on."""
        return iter(list(self._going))

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """A task that its caller keeps and awaits."""
        loop = asyncio.get_running_loop()
        return loop.create_task(work, name=name, context=self._context.copy())

    def own(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """A task for work that contains what it raises."""
        task = self.start(work, name)
        self._going.add(task)
        task.add_done_callback(self._going.discard)
        return task

    def do(self, work: Coroutine[Any, Any, object], what: str) -> asyncio.Task[None]:
        """Work whose end nobody here waits for; what it raises is reported."""
        task = self.own(self._reported(work, what), f"acron: {what}")
        task.add_done_callback(lambda _: work.close())  # cancelled before it began, nobody has it
        return task

    async def whole(self, work: Callable[[], Coroutine[Any, Any, T]], name: str) -> T:
        """What ``work`` gives, or raises. It goes on to its end though the caller gives up."""

        async def contained() -> tuple[T] | BaseException:
            try:  # made in here: a task that is cancelled before it begins awaits nothing
                return (await work(),)
            except BaseException as error:  # noqa: BLE001 (raised below, in the caller's task)
                return error

        done = await asyncio.shield(self.own(contained(), name))
        if isinstance(done, BaseException):
            raise done
        return done[0]

    async def _reported(self, work: Coroutine[Any, Any, object], what: str) -> None:
        try:
            await work
        except BaseException as error:
            if meant_for_us(error):
                raise
            self._trouble(what, error)

    def cancel(self) -> list[asyncio.Task[Any]]:
        """Cancel what goes on; returns it."""
        for task in self._going:
            task.cancel()
        return list(self._going)
