"""Jobs in an SQLite database: many of them, for many processes of one machine."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from acron.errors import StoreCorrupt, StoreError
from acron.model import DELIVERY_STATES
from acron.stores import sqlite_prune, sqlite_work
from acron.stores.files import Files
from acron.stores.group import Done, Group
from acron.stores.lanes import rank
from acron.stores.local import POLL, LocalStore, end, end_now
from acron.stores.lock import WAIT
from acron.stores.nodes import NodeFiles
from acron.stores.sqlite_file import DatabaseFile
from acron.stores.sqlite_rows import OPEN, OVERDUE, Reader, micros
from acron.stores.sqlite_write import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime
    from pathlib import Path

    from acron.abc import Change, Decide, Settle, Tell
    from acron.model import Decision, End, Job, Node, Run, RunState, Skip

T = TypeVar("T")

#: The files that a commit, or a checkpoint, writes.
_ENDS = ("", "-wal")
#: What is wrong with one statement, and not with the database.
_ITS_OWN = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.ProgrammingError)


class SqliteStore(LocalStore):
    """``/x/jobs.db`` with SQLite's ``-wal`` and ``-shm`` files, and ``jobs.db.nodes/`` beside it.

    A transaction is one function in one thread, and ends with one fsync of the write-ahead log
    (``synchronous = FULL``); another thread reads meanwhile. Waits ``lock_wait`` seconds at most
    for other processes.
    """

    _written: ClassVar[object] = None  # another one with each commit of this process

    def __init__(self, path: Path, *, lock_wait: float = WAIT) -> None:
        self._lock_wait = lock_wait
        self._files = Files()
        self._seen: tuple[object, ...] = ()
        self._told = 0  # the database's count of news when we last looked
        self._minted = 0  # the newest token given out here, even if its transaction failed
        self._bad: dict[str, str] = {}  # records that cannot be read
        self._group: Group[Callable[[Transaction], Any]] | None = None
        self._readers: ThreadPoolExecutor | None = None
        super().__init__(path)

    def _place(self, path: Path) -> None:
        self._file = DatabaseFile(path, self._lock_wait, self._users)
        self._view = DatabaseFile(path, self._lock_wait, self._users)
        self._nodes = NodeFiles(path.with_name(path.name + ".nodes"), self._files)

    @property
    def address(self) -> str:
        return f"sqlite:///{self._path}"

    async def open(self, now: datetime, node: Node | None = None) -> None:
        await super().open(now, node)
        assert self._executor is not None  # noqa: S101 (it is open)
        self._group = Group(asyncio.get_running_loop(), self._executor, self._commit)
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="acron-store-reads")

    async def close(self) -> None:
        readers, self._readers = self._readers, None
        await super().close()  # nothing is asked from now on
        if readers is not None:
            await end(readers, self._view.close)

    def drop(self) -> None:
        readers, self._readers = self._readers, None
        try:
            super().drop()
        finally:
            if readers is not None:
                end_now(readers, self._view.close)

    def _open(self, now: datetime, node: Node | None) -> None:  # noqa: ARG002
        self._file.create()
        self._told = self._news_count()
        if node is not None:
            self._nodes.open(node)

    def _let_go(self) -> None:
        self._nodes.close()
        self._file.close()

    def _meaning(self, error: Exception) -> StoreError | None:
        if isinstance(error, sqlite3.Error):
            return self._file.meaning(error)
        return super()._meaning(error)

    def _part(
        self, db: sqlite3.Connection, work: Callable[[Transaction], T]
    ) -> tuple[T, int | None]:
        """Of a transaction; also the database's count of news, when there are some."""
        transaction = Transaction(db, self._bad, self._minted)
        try:
            result = work(transaction)
        finally:
            self._minted = transaction.token
        return result, transaction.flush()

    def _commit(self, works: Sequence[Callable[[Transaction], Any]]) -> list[Done]:
        """Several parts in one transaction: what one of them raises undoes that one only."""
        if len(works) == 1:
            return [Done(self._guarded(lambda: self._commit_one(works[0])))]
        return self._guarded(lambda: self._commit_parts(works))

    def _commit_one(self, work: Callable[[Transaction], Any]) -> Any:
        if isinstance(work, sqlite_work.Claim) and work.needless(self._reader()):
            return []  # and nobody is kept from writing
        with self._file.writing() as db:
            result, told = self._part(db, work)
        SqliteStore._written = object()
        if told is not None:
            self._told = told
            self._tell()
        return result

    def _commit_parts(self, works: Sequence[Callable[[Transaction], Any]]) -> list[Done]:
        done: list[Done] = []
        news: int | None = None
        with self._file.writing() as db:
            for work in works:
                db.execute("SAVEPOINT part")
                try:
                    result, told = self._part(db, work)
                    done.append(Done(result))
                    news = told or news
                except Exception as error:
                    if isinstance(error, sqlite3.Error) and not isinstance(error, _ITS_OWN):
                        raise  # the database's
                    db.execute("ROLLBACK TO part")
                    done.append(Done(error=error))
                db.execute("RELEASE part")
        SqliteStore._written = object()
        if news is not None:
            self._told = news
            self._tell()
        return [
            Done(error=self._told_as(one.error)) if isinstance(one.error, Exception) else one
            for one in done
        ]

    async def _change(self, work: Callable[[Transaction], T]) -> T:
        self._check_open()
        assert self._group is not None  # noqa: S101 (checked in the line above)
        self._busy += 1
        try:
            result: T = await self._group.do(work)
            return result
        finally:
            self._busy -= 1

    async def _ask(self, question: Callable[[Reader], T]) -> T:
        """In a thread of its own: an answer waits for no commit."""

        def ask() -> T:
            try:
                return question(Reader(self._view.connection(), self._bad))
            except sqlite3.Error as error:
                raise self._view.meaning(error) from error

        self._check_open()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._guarded, ask)

    def _reader(self) -> Reader:
        return Reader(self._file.connection(), self._bad)

    # news

    def _news_count(self) -> int:
        count: int = self._file.connection().execute("SELECT news FROM meta").fetchone()[0]
        return count

    def _look(self) -> None:
        """Tell of other processes' news."""
        count = self._news_count()
        if count != self._told:
            self._told = count
            self._tell()

    def _was_written(self) -> bool:
        """Whether anybody may have written since this was asked last: virtual time asks so often
        that the way to the store's thread would be what a test takes. Stamps alone are too coarse
        for two commits of one process."""
        stamps = [self._files.stamp(self._path.with_name(self._path.name + end)) for end in _ENDS]
        seen, self._seen = self._seen, (SqliteStore._written, *stamps)
        return seen != self._seen

    async def _look_again(self) -> bool:
        """Whether there was news meanwhile."""
        count = self._news.count
        try:
            await self._do(self._look)
        except BaseException:
            self._seen = ()  # what is there was not read
            raise
        if count == self._news.count:
            return False
        await self._news.wait(0)  # others who waited may have been told already
        return True

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (a bound, not a deadline)
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        virtual = hasattr(loop, "acron_call_idly")
        if virtual and self._was_written() and await self._look_again():
            return True  # while nobody waited
        while not await self._news.wait(until - loop.time(), POLL):
            if (not virtual or self._was_written()) and await self._look_again():
                return True
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
        self, after: str = "", limit: int = 1000, *, app: str | None = None, tag: str | None = None
    ) -> list[Job]:
        where, asked = "WHERE", []
        if tag is not None:
            where = "JOIN job_tags ON job_id = id WHERE tag = ? AND job_id > ? AND"
            asked += [tag, after]
        if app is not None:
            where += " app = ? AND"
            asked.append(app)
        values = (*asked, after, max(limit, 0))
        return await self._ask(
            lambda reader: reader.jobs(f"{where} id > ? ORDER BY id LIMIT ?", values)
        )

    async def remove_tagged(self, tag: str, now: datetime) -> int:
        return await self._change(lambda tx: sqlite_work.remove_tagged(tx, tag, now))

    async def incidents(self, limit: int = 100) -> list[Job]:
        where, values = "WHERE incidents > 0 ORDER BY id LIMIT ?", (max(limit, 0),)
        return await self._ask(lambda reader: reader.jobs(where, values))

    async def on_start(self) -> list[Job]:
        # Word for word the condition of the index, so that it is used.
        where = """WHERE instr(data, '"bound":"@reboot') > 0"""
        return await self._ask(lambda reader: reader.jobs(where, ()))

    # firing

    async def next_due(self, after: datetime, can_run: Collection[str]) -> datetime | None:
        return await self._ask(lambda reader: reader.next_due(after, can_run))

    async def overdue(self, before: datetime, limit: int = 100) -> list[Job]:
        values = (micros(before), max(limit, 0))
        found = await self._ask(lambda reader: reader.jobs(OVERDUE, values))
        return sorted(found, key=lambda job: (job.due_at or before, rank(job), job.id))

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
        return await self._change(sqlite_work.Claim(now, limit, can_run, decide, only))

    async def finish(self, ends: Sequence[End], settle: Settle) -> list[Decision | None]:
        return await self._change(lambda tx: sqlite_work.finish(tx, ends, settle)) if ends else []

    async def recover(self, now: datetime, settle: Settle) -> list[Decision]:
        nodes = self._nodes
        decisions = await self._change(
            lambda tx: sqlite_work.recover(tx, now, settle, nodes.dead, nodes.own)
        )
        await self._do(lambda: nodes.clean(sqlite_work.nodes_at_work(self._reader())))
        return decisions

    async def mark(self, run: Run, change: Tell) -> Run | None:
        return await self._change(lambda tx: sqlite_work.mark(tx, run, change))

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

    async def deliveries(self, state: str | None = None, limit: int = 100) -> list[Run]:
        if state not in {None, *DELIVERY_STATES}:
            return []
        where = "INDEXED BY runs_told WHERE told IS NOT NULL"
        if state is not None:  # in the words of its index
            where = f"INDEXED BY runs_told_{state} WHERE instr(told, ' {state} ') > 0"
        end, asked = "ORDER BY token DESC, id DESC LIMIT ?", (max(limit, 0),)
        return await self._ask(lambda reader: reader.runs(where, asked, end))

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

    def beat_blocked(self, node: Node, *, keep: bool) -> None:  # noqa: ARG002 (it holds a lock)
        self._nodes.write(node)

    async def nodes(self) -> list[Node]:
        return await self._do(self._nodes.all)

    def _users(self) -> str:
        """Who else is at work here, for a message."""
        others = [node for node in self._nodes.all() if node.alive and node.id != self._nodes.own]
        return ", ".join(f"process {node.pid} on {node.host} ({node.app})" for node in others)
