"""Jobs in an SQLite database: many of them, for many processes of one machine."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from acron.abc import Store
from acron.errors import StoreCorrupt, StoreError, StoreUnavailable
from acron.stores import sqlite_prune, sqlite_work
from acron.stores.files import Files, unavailable
from acron.stores.lock import WAIT
from acron.stores.news import News
from acron.stores.nodes import NodeFiles
from acron.stores.sqlite_file import DatabaseFile
from acron.stores.sqlite_rows import OPEN, Reader, micros
from acron.stores.sqlite_write import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime
    from pathlib import Path

    from acron.abc import Change, Decide, Settle
    from acron.model import Decision, End, Job, Node, Run, RunState, Skip

T = TypeVar("T")

#: How often others' changes are looked for while somebody waits for them, in seconds.
POLL = 0.5
#: How long ``close`` waits for a transaction under way, in seconds.
_CLOSE_WAIT = 5.0


class SqliteStore(Store):
    """``/x/jobs.db`` with SQLite's ``-wal`` and ``-shm`` files, and ``jobs.db.nodes/`` beside it.

    A transaction is one function in one thread, and ends with one fsync of the write-ahead log
    (``synchronous = FULL``). Waits ``lock_wait`` seconds at most for other processes.
    """

    def __init__(self, path: Path, *, lock_wait: float = WAIT) -> None:
        self._path = path
        self._lock_wait = lock_wait
        self._executor: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = News()
        self._told = 0  # the database's count of news when we last looked
        self._minted = 0  # the newest token given out here, even if its transaction failed
        self._bad: dict[str, str] = {}  # records that cannot be read
        self._place(path)

    def _place(self, path: Path) -> None:
        self._path = path
        self._file = DatabaseFile(path, self._lock_wait, self._users)
        self._nodes = NodeFiles(path.with_name(path.name + ".nodes"), Files())

    @property
    def address(self) -> str:
        return f"sqlite:///{self._path}"

    @property
    def directory(self) -> Path:
        return self._path.parent

    # open and close

    async def open(self, now: datetime, node: Node | None = None) -> None:  # noqa: ARG002
        self._loop = asyncio.get_running_loop()
        self._news = News()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="acron-store")
        try:
            await self._do(lambda: self._open(node))
        except BaseException:
            await self.close()
            raise

    def _open(self, node: Node | None) -> None:
        try:
            real = self._path.resolve()  # a link stays a link, and all who come by it meet
        except RuntimeError as error:
            raise StoreUnavailable(f"cannot follow the link: {error}") from error
        if real != self._path:
            self._place(real)
        self._file.create()
        self._told = self._news_count()
        if node is not None:
            self._nodes.open(node)

    async def close(self) -> None:
        executor, self._executor = self._executor, None
        if executor is None:
            return
        last = asyncio.get_running_loop().run_in_executor(executor, self._let_go)
        await asyncio.wait({last}, timeout=_CLOSE_WAIT)
        executor.shutdown(wait=False)

    def _let_go(self) -> None:
        self._nodes.close()
        self._file.close()

    # the one way in

    async def _do(self, work: Callable[[], T]) -> T:
        if self._executor is None or self._loop is None:
            raise StoreUnavailable("the store is not open", address=self.address)
        return await self._loop.run_in_executor(self._executor, self._guarded, work)

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except sqlite3.Error as error:
            meaning = self._file.meaning(error)
            meaning.address = self.address
            raise meaning from error
        except OSError as error:
            raise unavailable(error, self.address, self._path) from error
        except StoreError as error:
            error.address = error.address or self.address
            raise
        except StopIteration as error:  # which no future can carry
            raise RuntimeError("a function handed to the store raised StopIteration") from error

    def _transact(self, work: Callable[[Transaction], T]) -> T:
        with self._file.writing() as db:
            transaction = Transaction(db, self._bad, self._minted)
            try:
                result = work(transaction)
            finally:
                self._minted = transaction.token
            told = transaction.flush()
        if told is not None:
            self._told = told
            self._tell()
        return result

    async def _change(self, work: Callable[[Transaction], T]) -> T:
        return await self._do(lambda: self._transact(work))

    async def _ask(self, question: Callable[[Reader], T]) -> T:
        return await self._do(lambda: question(self._reader()))

    def _reader(self) -> Reader:
        return Reader(self._file.connection(), self._bad)

    # news

    def _tell(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._news.tell)

    def _news_count(self) -> int:
        count: int = self._file.connection().execute("SELECT news FROM meta").fetchone()[0]
        return count

    def _look(self) -> None:
        """Tell of other processes' news."""
        count = self._news_count()
        if count != self._told:
            self._told = count
            self._tell()

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (a bound, not a deadline)
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while not await self._news.wait(min(POLL, until - loop.time())):
            await self._do(self._look)
            if until <= loop.time():
                return await self._news.wait(0)
        return True

    async def problems(self) -> list[str]:
        bad = await self._ask(lambda reader: reader.still_bad())
        trouble = [self._file.trouble] if self._file.trouble else []
        return trouble + [f"{self._path}: record {one!r}: {why}" for one, why in bad.items()]

    # definitions

    async def write(self, ids: Sequence[str], change: Change, now: datetime) -> list[Decision]:  # noqa: ARG002
        return await self._change(lambda tx: sqlite_work.write(tx, ids, change))

    async def get(self, job_id: str) -> Job | None:
        found = await self._ask(lambda reader: reader.jobs("WHERE id = ?", (job_id,)))
        if not found and job_id in self._bad:
            raise StoreCorrupt(f"job {job_id!r}: {self._bad[job_id]}", address=self.address)
        return found[0] if found else None

    async def named(self, name: str) -> list[Job]:
        where = "WHERE name = ? ORDER BY id"
        return await self._ask(lambda reader: reader.jobs(where, (name.casefold(),)))

    async def page(
        self, after: str = "", limit: int = 1000, *, app: str | None = None
    ) -> list[Job]:
        """See ``Store.page``; with ``app``, of the jobs that this program declares."""
        where, asked = ("", ()) if app is None else ("app = ? AND", (app,))
        values = (*asked, after, max(limit, 0))
        return await self._ask(
            lambda reader: reader.jobs(f"WHERE {where} id > ? ORDER BY id LIMIT ?", values)
        )

    async def on_start(self) -> list[Job]:
        # Word for word the condition of the index, so that it is used.
        where = """WHERE instr(data, '"bound":"@reboot') > 0"""
        return await self._ask(lambda reader: reader.jobs(where, ()))

    # firing

    async def next_due(self, after: datetime, can_run: Collection[str]) -> datetime | None:
        return await self._ask(lambda reader: reader.next_due(after, can_run))

    async def claim(
        self,
        now: datetime,
        limit: int,
        can_run: Collection[str],
        decide: Decide,
        *,
        only: str | None = None,
    ) -> list[Decision]:
        if limit <= 0:
            return []

        def claim() -> list[Decision]:
            needed = self._reader().needed(now, can_run)
            if not needed:
                return []  # no need to keep others from writing
            return self._transact(
                lambda tx: sqlite_work.claim(
                    tx.due(now, can_run, limit, needed)
                    if only is None
                    else tx.due_of(only, now, can_run),
                    tx,
                    limit,
                    decide,
                )
            )

        return await self._do(claim)

    async def finish(self, ends: Sequence[End], settle: Settle) -> list[Decision | None]:
        return await self._change(lambda tx: sqlite_work.finish(tx, ends, settle)) if ends else []

    async def recover(self, now: datetime, settle: Settle) -> list[Decision]:
        nodes = self._nodes
        decisions = await self._change(
            lambda tx: sqlite_work.recover(tx, now, settle, nodes.dead, nodes.own)
        )
        await self._ask(lambda reader: nodes.clean(set(sqlite_work.nodes_at_work(reader))))
        return decisions

    async def mark(self, run: Run) -> None:
        await self._change(lambda tx: sqlite_work.mark(tx, run))

    async def request_cancel(self, run_id: str, now: datetime) -> Run | None:
        return await self._change(lambda tx: sqlite_work.request_cancel(tx, run_id, now))

    # the ledger

    async def run(self, run_id: str) -> Run | None:
        found = await self._ask(lambda reader: reader.runs("WHERE id = ?", (run_id,)))
        return found[0] if found else None

    async def runs(
        self,
        job_id: str | None = None,
        *,
        state: RunState | None = None,
        node: str | None = None,
        limit: int = 100,
    ) -> list[Run]:
        asked = {"job_id": job_id, "state": state, "node": node}
        given = {column: value for column, value in asked.items() if value is not None}
        where = OPEN if state is not None and not state.ended else "WHERE TRUE"
        where += "".join(f" AND {column} = ?" for column in given)
        values = (*given.values(), max(limit, 0))
        return await self._ask(
            lambda reader: reader.runs(where, values, "ORDER BY token DESC, id DESC LIMIT ?")
        )

    async def skips(self, job_id: str | None = None, *, limit: int = 100) -> list[Skip]:
        where = "TRUE" if job_id is None else "job_id = ?"
        values = (max(limit, 0),) if job_id is None else (job_id, max(limit, 0))
        return await self._ask(
            lambda reader: reader.skips(f"WHERE {where} ORDER BY number DESC LIMIT ?", values)
        )

    async def prune(self, before: datetime, keep: int) -> int:
        """In many transactions, so that claims come in between."""
        gone = 0
        for table in (sqlite_prune.RUNS, sqlite_prune.SKIPS):
            gone += await self._delete(table.delete_old, micros(before))
            after: str | None = ""
            while after is not None:
                jobs, after = await self._step(table.crowded, after, keep)
                for job_id in jobs:
                    gone += await self._delete(table.delete_excess, job_id, keep)
        return gone

    async def _delete(self, delete: Callable[..., int], *asked: Any) -> int:
        gone = count = await self._step(delete, *asked)
        while count == sqlite_prune.ROWS:
            count = await self._step(delete, *asked)
            gone += count
        return gone

    async def _step(self, step: Callable[..., T], *asked: Any) -> T:
        def transact() -> T:
            with self._file.writing() as db:
                return step(db, *asked)

        return await self._do(transact)

    # nodes

    async def beat(self, node: Node) -> None:
        await self._do(lambda: self._nodes.write(node))

    async def nodes(self) -> list[Node]:
        return await self._do(self._nodes.all)

    def _users(self) -> str:
        """Who else is at work here, for a message."""
        others = [node for node in self._nodes.all() if node.alive and node.id != self._nodes.own]
        return ", ".join(f"process {node.pid} on {node.host} ({node.app})" for node in others)
