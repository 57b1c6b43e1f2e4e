"""Jobs in a file for people, ``jobs.json``, and what happened in a journal beside it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from acron.errors import StoreCorrupt, StoreError, StoreUnavailable
from acron.stores.book import Book, Changes
from acron.stores.dead import removal
from acron.stores.definitions_file import TRIES, DefinitionsFile, Moved
from acron.stores.files import Files, unavailable
from acron.stores.journal import COMPACT_BEYOND, Journal, Seen, line_of
from acron.stores.local import POLL, LocalStore
from acron.stores.lock import WAIT, FileLock
from acron.stores.nodes import NodeFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime
    from pathlib import Path

    from acron.abc import Change, Decide, Settle, Tell
    from acron.model import Decision, End, Job, Node, Run, RunState, Skip
    from acron.stores.files import Stamp

    Work = Callable[[Book], tuple[Changes | None, "T"]]

T = TypeVar("T")

#: Above so many jobs a database serves better.
MANY_JOBS = 500
#: What is said of more.
ADVICE = "SQLite would serve better"


class JsonFileStore(LocalStore):
    """``/x/jobs.json`` with ``jobs.journal``, ``jobs.lock`` and ``jobs.nodes/`` beside it.

    The journal is the truth; the file is rewritten when something is declared anew, never by a
    fire, and edits by hand are taken over in the next transaction that is handed ``now``. A
    transaction is one function in one thread, under a lock that all processes share.
    """

    #: How often others' changes are looked for while somebody waits for them, in seconds.
    poll = POLL

    def __init__(
        self,
        path: Path,
        *,
        files: Files | None = None,
        lock_wait: float = WAIT,
        compact_beyond: int = COMPACT_BEYOND,
    ) -> None:
        self._files = files or Files()
        self._lock_wait = lock_wait
        self._compact_beyond = compact_beyond
        self._told: tuple[Stamp | None, Stamp | None] | None = None  # what is no news any more
        self._trouble = ""  # what went wrong beside a transaction
        super().__init__(path)

    def _place(self, path: Path) -> None:
        stem = path.with_suffix("") if path.suffix == ".json" else path
        self._definitions = DefinitionsFile(path, self._files)
        self._lock = FileLock(stem.with_name(stem.name + ".lock"), self._lock_wait)
        journal = stem.with_name(stem.name + ".journal")
        self._journal = Journal(journal, self._files, self._compact_beyond)
        self._nodes = NodeFiles(stem.with_name(stem.name + ".nodes"), self._files)

    @property
    def address(self) -> str:
        return str(self._path)

    def _open(self, now: datetime, node: Node | None) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock.held():
            if self._files.stamp(self._journal.path) is None:
                self._journal.create()
            self._journal.catch_up()
            self._reconcile(now)
            if self._definitions.broken:
                raise StoreCorrupt(self._definitions.broken)
            self._look()
        if node is not None:
            self._nodes.open(node)

    def _let_go(self) -> None:
        self._nodes.close()
        self._journal.close()
        self._lock.close()

    def _meaning(self, error: Exception) -> StoreError | None:
        if isinstance(error, OSError):
            self._journal.forget()
        return super()._meaning(error)

    def _transact(self, now: datetime | None, work: Work[T], *, declares: bool = False) -> T:
        with self._lock.held():
            for _ in range(TRIES):
                self._catch_up()
                try:
                    if now is not None:
                        self._reconcile(now)
                    changes, result = work(self._journal.book)
                    if changes is not None and (changes.ids or changes.prune):
                        self._commit(changes, declares=declares)
                except Moved:
                    self._journal.book.sweep()
                except BaseException:
                    self._journal.book.sweep()  # a claim takes rows out of the agenda
                    raise
                else:
                    self._look()
                    return result
        raise StoreUnavailable(f"{self._path} is being edited all the time")

    def _catch_up(self) -> None:
        try:
            others = self._journal.catch_up()
        except FileNotFoundError:
            if not self._journal.size:
                raise
            self._journal.compact()  # deleted under us: what we know is all there is
            others = True
        if others and self._told != self._stamps():
            self._tell()

    def _ask(self, question: Callable[[Book], T]) -> T:
        """Answer from what is known; needs no lock, so that no stopped process stops it."""
        with suppress(FileNotFoundError):
            if self._journal.catch_up() and self._told != self._stamps():
                self._tell()
        return question(self._journal.book)

    def _commit(
        self, changes: Changes, seen: Seen | None = None, *, declares: bool = False
    ) -> None:
        """Make ``changes`` durable, then true."""
        book = self._journal.book
        line = line_of(changes, book, seen)
        undo: Callable[[], None] | None = None
        if seen is None and (line.jobs or line.gone):
            jobs = {job.id: job for job in line.jobs} | dict.fromkeys(line.gone)
            line.file, undo = self._definitions.declare(jobs, self._journal.seen, strict=declares)
        try:
            self._journal.append(line)
        except BaseException:
            if undo is not None:
                with suppress(OSError):
                    undo()
            raise
        if line.file is not None:
            self._journal.seen = line.file
        if book.apply(changes):
            self._tell()
        if self._journal.overgrown:
            self._compact()

    def _compact(self) -> None:
        try:
            self._journal.compact()
            self._trouble = ""
        except OSError as error:  # the journal as it is will do for a while
            self._trouble = f"cannot compact the journal: {error}"

    def _reconcile(self, now: datetime) -> None:
        """Take over what was edited by hand."""
        book = self._journal.book
        found = self._definitions.look(self._journal.seen, book.jobs, now)
        if found is None:
            return
        seen, decisions = found
        changes = Changes([], [], book.token, news=True)
        for job_id, decision in decisions.items():
            changes.ids.append(job_id)
            gone = removal(book.open.get(job_id, {}).values(), now)
            changes.decisions.append(decision or gone)
        self._commit(changes, seen)

    # news

    def _stamps(self) -> tuple[Stamp | None, Stamp | None]:
        return self._files.stamp(self._journal.path), self._files.stamp(self._path)

    def _look(self) -> None:
        # Not how the file is by now: it may have been edited since we read it.
        known = self._definitions.known(self._journal.seen)
        self._told = self._files.stamp(self._journal.path), known

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (a bound, not a deadline)
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while not self._others_wrote():
            if await self._news.wait(until - loop.time(), self.poll):
                return True
            if until <= loop.time():
                return self._others_wrote()
        return True

    def _others_wrote(self) -> bool:
        self._check_open()
        if self._busy:
            return False  # we are writing ourselves: whatever it is, it will be told
        try:
            stamps = self._stamps()
        except OSError as error:
            raise unavailable(error, self.address, self._path) from error
        if stamps == self._told:
            return False
        self._told = stamps
        return True

    async def problems(self) -> list[str]:
        seen = await self._do(lambda: self._ask(lambda _: self._journal.seen))
        broken = [self._definitions.broken] if self._definitions.broken else []
        trouble = [self._trouble] if self._trouble else []
        count = len(self._journal.book.jobs)
        if count > MANY_JOBS:
            trouble.append(
                f"{self._path} holds {count:,} jobs, and is written whole with each change of one: "
                f"{ADVICE} (acron export, then import into sqlite:///…)"
            )
        return broken + [f"{self._path}: {one}" for one in seen.problems] + trouble

    # the contract, handed to the book

    async def write(self, ids: Sequence[str], change: Change, now: datetime) -> list[Decision]:
        def work(book: Book) -> tuple[Changes, list[Decision]]:
            changes = book.write(ids, change)
            return changes, changes.decisions

        return await self._do(lambda: self._transact(now, work, declares=True))

    async def get(self, job_id: str) -> Job | None:
        return await self._do(lambda: self._ask(lambda book: book.jobs.get(job_id)))

    async def named(self, name: str) -> list[Job]:
        return await self._do(lambda: self._ask(lambda book: book.index.named(name)))

    async def page(
        self, after: str = "", limit: int = 1000, *, app: str | None = None, tag: str | None = None
    ) -> list[Job]:
        return await self._do(
            lambda: self._ask(lambda book: book.index.page(after, limit, app, tag))
        )

    async def remove_tagged(self, tag: str, now: datetime) -> int:
        def work(book: Book) -> tuple[Changes, int]:
            return book.remove_tagged(tag, now)

        return await self._do(lambda: self._transact(now, work, declares=True))

    async def incidents(self, limit: int = 100) -> list[Job]:
        return await self._do(lambda: self._ask(lambda book: book.index.incidents(limit)))

    async def next_due(self, after: datetime, can_run: Collection[str]) -> datetime | None:
        return await self._do(lambda: self._ask(lambda book: book.next_due(after, can_run)))

    async def overdue(self, before: datetime, limit: int = 100) -> list[Job]:
        return await self._do(lambda: self._ask(lambda book: book.overdue(before, limit)))

    async def claim(
        self,
        now: datetime,
        limit: int,
        can_run: Collection[str],
        decide: Decide,
        *,
        only: str | None = None,
    ) -> list[Decision]:
        def work(book: Book) -> tuple[Changes, list[Decision]]:
            changes = book.claim(now, limit, can_run, decide, only)
            return changes, changes.decisions

        return await self._do(lambda: self._transact(now, work))

    async def finish(self, ends: Sequence[End], settle: Settle) -> list[Decision | None]:
        return await self._do(lambda: self._transact(None, lambda book: book.finish(ends, settle)))

    async def recover(self, now: datetime, settle: Settle) -> list[Decision]:
        def work(book: Book) -> tuple[Changes, list[Decision]]:
            proven: dict[str, bool] = {}

            def dead(node: str) -> bool:
                if node not in proven:
                    proven[node] = self._nodes.dead(node)
                return proven[node]

            changes = book.recover(now, settle, dead, self._nodes.own)
            return changes, changes.decisions

        def recover() -> list[Decision]:
            decisions = self._transact(now, work)
            self._nodes.clean(self._journal.book.nodes_at_work())
            return decisions

        return await self._do(recover)

    async def mark(self, run: Run, change: Tell) -> Run | None:
        return await self._do(lambda: self._transact(None, lambda book: book.mark(run, change)))

    async def request_cancel(self, run_id: str, now: datetime) -> Run | None:
        return await self._do(
            lambda: self._transact(now, lambda book: book.request_cancel(run_id, now))
        )

    async def run(self, run_id: str) -> Run | None:
        return await self._do(lambda: self._ask(lambda book: book.run(run_id)))

    async def runs(
        self,
        job_id: str | None = None,
        *,
        state: RunState | None = None,
        node: str | None = None,
        limit: int = 100,
    ) -> list[Run]:
        return await self._do(
            lambda: self._ask(lambda book: book.list_runs(job_id, state, node, limit))
        )

    async def skips(self, job_id: str | None = None, *, limit: int = 100) -> list[Skip]:
        return await self._do(lambda: self._ask(lambda book: book.list_skips(job_id, limit)))

    async def deliveries(self, state: str | None = None, limit: int = 100) -> list[Run]:
        return await self._do(lambda: self._ask(lambda book: book.deliveries(state, limit)))

    async def prune(self, before: datetime, keep: int) -> int:
        return await self._do(lambda: self._transact(None, lambda book: book.prune(before, keep)))

    async def beat(self, node: Node) -> None:
        await self._do(lambda: self._nodes.write(node))

    def beat_blocked(self, node: Node, *, keep: bool) -> None:  # noqa: ARG002 (it holds a lock)
        self._nodes.write(node)

    async def nodes(self) -> list[Node]:
        return await self._do(self._nodes.all)
