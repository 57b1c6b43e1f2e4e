"""Group commit: transactions that come in while one is under way are written by the next, as one.

A commit costs the same for one as for many, and each caller is told when his part is durable.
"""

from __future__ import annotations

from collections import deque
from contextvars import Context
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

W = TypeVar("W")

#: Parts of one transaction: others, and other processes, want to come in between.
MOST = 100


class Done(NamedTuple):
    """What became of one part."""

    result: Any = None
    error: BaseException | None = None


class Group(Generic[W]):
    """``commit``, called in the one thread of ``executor``, does several parts in one transaction;
    it raises nothing that is meant for one of them alone."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        executor: Executor,
        commit: Callable[[Sequence[W]], list[Done]],
    ) -> None:
        self._loop = loop
        self._executor = executor
        self._commit = commit
        self._lock = Lock()
        self._waiting: deque[tuple[W, asyncio.Future[Any]]] = deque()
        self._rounds = 0  # submitted and not begun; each takes ``MOST``

    async def do(self, part: W) -> Any:
        """``part``, durable; raises what became of it."""
        done: asyncio.Future[Any] = self._loop.create_future()
        with self._lock:
            self._waiting.append((part, done))
            short = len(self._waiting) > self._rounds * MOST
            self._rounds += short
        if short:
            # Not awaited: it is for all whose parts it does, and raises nothing.
            round_ = self._loop.run_in_executor(self._executor, self._round)
            round_.add_done_callback(_tell, context=Context())  # of none of them
        return await done

    def _round(self) -> list[tuple[asyncio.Future[Any], Done]]:
        with self._lock:
            self._rounds -= 1
            taken = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
        wanted = [one for one in taken if not one[1].cancelled()]
        if not wanted:
            return []
        try:
            done = self._commit([part for part, _ in wanted])
        except BaseException as error:  # noqa: BLE001 (their callers are to have it)
            done = [Done(error=error)] * len(wanted)
        return [(future, one) for (_, future), one in zip(wanted, done, strict=True)]


def _tell(round_: asyncio.Future[list[tuple[asyncio.Future[Any], Done]]]) -> None:
    if round_.cancelled():
        return
    for future, one in round_.result():
        if future.done():
            continue  # cancelled: it happened all the same
        if one.error is None:
            future.set_result(one.result)
        else:
            future.set_exception(one.error)
