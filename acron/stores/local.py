"""What stores in files of one machine have in common: a worker thread, and how it is used."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from acron.abc import Store
from acron.errors import StoreError, StoreUnavailable
from acron.stores.files import unavailable
from acron.stores.news import News

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from datetime import datetime
    from pathlib import Path

    from acron.model import Node

T = TypeVar("T")

#: How often others' changes are looked for while somebody waits for them, in seconds.
POLL = 0.5
#: How long ``close`` waits for a transaction under way, in seconds.
_CLOSE_WAIT = 5.0


class LocalStore(Store):
    """A store at a path. Each transaction is one function, in one hop to the store's thread.

    A subclass says in ``_place`` which files belong to a path, and opens and closes them in
    ``_open`` and ``_let_go``, which run in that thread; ``_meaning`` turns the errors of its
    library into ours.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._executor: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = News()
        self._busy = 0  # transactions under way
        self._dropped = False
        self._place(path)

    @abstractmethod
    def _place(self, path: Path) -> None:
        """Name the files of a store at ``path``; touch none of them."""

    @abstractmethod
    def _open(self, now: datetime, node: Node | None) -> None: ...

    @abstractmethod
    def _let_go(self) -> None: ...

    def _meaning(self, error: Exception) -> StoreError | None:
        """``error``, raised in a transaction, as one of ours; None when it is no failure of
        the store."""
        return unavailable(error, self.address, self._path) if isinstance(error, OSError) else None

    @property
    def directory(self) -> Path:
        return self._path.parent

    async def open(self, now: datetime, node: Node | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = News()
        self._dropped = False
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="acron-store")
        try:
            await self._do(lambda: self._open_real(now, node))
        except BaseException:
            await self.close()
            raise

    def _open_real(self, now: datetime, node: Node | None) -> None:
        """A link stays a link, and all who come by it meet."""
        try:
            real = self._path.resolve()
        except RuntimeError as error:
            raise StoreUnavailable(f"cannot follow the link: {error}") from error
        if real != self._path:
            self._path = real
            self._place(real)
        self._open(now, node)

    async def close(self) -> None:
        executor, self._executor = self._executor, None
        if executor is None:
            return
        await end(executor, self._let_go)

    def drop(self) -> None:
        """What the system does when a process is killed: its files and locks are let go, and what
        waits for its turn never happens. A transaction under way becomes durable first; blocks
        for as long as that takes. Raises TimeoutError after 5 s."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        self._dropped = True
        end_now(executor, self._let_go)

    async def _do(self, work: Callable[[], T]) -> T:
        """The one way in: ``work`` in the store's thread, its failures as StoreError."""
        self._check_open()
        assert self._executor is not None  # noqa: S101 (checked in the line above)
        assert self._loop is not None  # noqa: S101
        self._busy += 1
        try:
            return await self._loop.run_in_executor(self._executor, self._guarded, work)
        finally:
            self._busy -= 1

    def _check_open(self) -> None:
        if self._executor is None:
            raise StoreUnavailable("the store is not open", address=self.address)

    def _guarded(self, work: Callable[[], T]) -> T:
        if self._dropped:
            raise StoreUnavailable("its process was killed", address=self.address)
        try:
            return work()
        except Exception as error:
            meaning = self._told_as(error)
            if meaning is error:
                raise
            raise meaning from error

    def _told_as(self, error: Exception) -> Exception:
        """What the caller is told of ``error``."""
        if isinstance(error, StopIteration):  # which no future can carry
            return RuntimeError("a function handed to the store raised StopIteration")
        meaning = error if isinstance(error, StoreError) else self._meaning(error)
        if meaning is None:
            return error
        meaning.address = meaning.address or self.address
        return meaning

    def _tell(self) -> None:
        """From the store's thread: whoever waits for news is to look."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._news.tell)


async def end(executor: Executor, last: Callable[[], object]) -> None:
    """Do ``last`` in its thread, and end that; bounded."""
    done = asyncio.get_running_loop().run_in_executor(executor, last)
    await asyncio.wait({done}, timeout=_CLOSE_WAIT)
    executor.shutdown(wait=False)


def end_now(executor: Executor, last: Callable[[], object]) -> None:
    """``end``, blocking. Raises TimeoutError."""
    done = executor.submit(last)
    executor.shutdown(wait=False)
    done.result(_CLOSE_WAIT)
