"""What the processes of a simulation share: a database that leases nodes, or files.

Both are the truth about a world, and both fail where the script says so: before a transaction,
after it, in the middle of a file's write.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from acron.errors import StoreUnavailable
from acron.stores.files import Files
from acron.stores.json_file import JsonFileStore
from acron.stores.memory import MemoryStore
from acron.stores.news import News
from acron.testing.simulation.script import FATAL

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime
    from pathlib import Path

    from acron.abc import Decide, Settle
    from acron.model import Decision, End, Node
    from acron.stores.book import Book, Changes
    from acron.stores.journal import Seen
    from acron.testing.simulation.process import Process

T = TypeVar("T")

#: Seconds that a node lives without renewing its lease, and between two renewals.
LEASE = 60.0
RENEWAL = 20.0

_FENCED = frozenset({"claim", "finish", "recover", "mark", "beat"})


class Database(MemoryStore):
    """One for all processes, with leases by its own time (``monotonic``), which nobody else has."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self.leases: dict[str, float] = {}
        self.connections: list[Connection] = []
        self._monotonic = monotonic

    @property
    def book(self) -> Book:
        return self._book

    def lapsed(self, node: str) -> bool:
        return self.leases.get(node, float("-inf")) <= self._monotonic()

    def _dead(self, node: str) -> bool:
        return self.lapsed(node)

    async def open(self, now: datetime, node: Node | None = None) -> None:
        await super().open(now, node)
        self._news = _Everybody(self.connections)

    async def nodes(self) -> list[Node]:
        known = await super().nodes()
        return [replace(node, alive=not self.lapsed(node.id)) for node in known]

    def admit(self, node: Node) -> None:
        self._nodes[node.id] = replace(node, alive=True)
        self.leases[node.id] = self._monotonic() + LEASE

    def speaks(self, node: str | None) -> None:
        """Who asks next."""
        self._node = node


class _Everybody(News):
    """Whoever is connected hears the news."""

    def __init__(self, connections: list[Connection]) -> None:
        super().__init__()
        self._connections = connections

    def tell(self) -> None:
        for connection in self._connections:
            connection.news.tell()


class Connection(MemoryStore):
    """A process's way to the database."""

    def __init__(self, database: Database, process: Process) -> None:
        super().__init__()
        self.news = News()
        self._database = database
        self._process = process
        self._renewing: asyncio.Task[None] | None = None
        self.node: str | None = None

    @property
    def address(self) -> str:
        return "simulated://database"

    async def open(self, now: datetime, node: Node | None = None) -> None:
        await self._process.at("open")
        self.news = News()
        self._database.connections.append(self)
        if not self._database._opened:  # noqa: SLF001 (the first who comes)
            await self._database.open(now)
        if node is not None:
            self._database.admit(node)
            self.node = node.id
            renewing = self._renew(node.id)
            self._renewing = asyncio.create_task(renewing, context=Context())

    async def _renew(self, node: str) -> None:
        """The thread that renews the lease, also while the loop is blocked; a lapsed one too,
        whose runs others may have ended."""
        while True:
            await asyncio.sleep(RENEWAL)
            if not self._process.partitioned and not self._process.frozen:
                self._database.leases[node] = self._database._monotonic() + LEASE  # noqa: SLF001

    async def close(self) -> None:
        self.drop()
        if self.node is not None:
            self._database.leases[self.node] = float("-inf")
            self.node = None

    def drop(self) -> None:
        """Its process is gone; the lease runs on."""
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        if self in self._database.connections:
            self._database.connections.remove(self)

    async def call(self, name: str, *args: Any, **options: Any) -> Any:
        """One transaction, with what may go wrong around it."""
        process, database = self._process, self._database
        await process.at(name)
        if name in _FENCED and self.node is not None and database.lapsed(self.node):
            raise StoreUnavailable("the lease of this node has lapsed", address=self.address)
        if name == "claim":
            args = (*args[:3], process.world.watched(args[3]))
        database.speaks(self.node)
        result = await getattr(database, name)(*args, **options)
        if name == "write":
            process.world.eras.look(database.book)
        if name == "recover":
            process.world.watch_recovery(process, result)
        if name == "finish":
            process.world.ended(process, result)
        await process.after(name)
        return result

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (a bound, not a deadline)
        return await self.news.wait(timeout)


def _through(name: str) -> Any:
    async def method(self: Connection, *args: Any, **options: Any) -> Any:
        return await self.call(name, *args, **options)

    return method


def _fill() -> None:
    """Every transaction of the contract, whatever it is called, goes through ``call``."""
    for name, member in vars(MemoryStore).items():
        if asyncio.iscoroutinefunction(member) and name not in vars(Connection):
            setattr(Connection, name, _through(name))


_fill()


def _named(name: str) -> Any:
    async def method(self: FileStore, *args: Any, **options: Any) -> Any:
        self._doing = name  # `_do` begins before anybody else can
        return await getattr(JsonFileStore, name)(self, *args, **options)

    return method


class Platter:
    """The worst disk there may be: when the power goes, whatever was not synced is gone, and so is
    a name whose directory was not. ``synced`` and ``named`` are told by `FaultyFiles`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changes = 0
        self._contents: dict[int, tuple[bytes, int]] = {}  # and time of change, by inode
        self._names: dict[str, int] = {}
        self.loaded: dict[int, bytes] = {}  # by time of change

    def changed(self, fd: int) -> None:
        """Give the file a time of change that no other has: the machine's own clock is real."""
        self._changes += 1
        os.utime(fd, ns=(self._changes, self._changes))

    def synced(self, fd: int, data: bytes) -> None:
        status = os.fstat(fd)
        self._contents[status.st_ino] = data, status.st_mtime_ns

    def named(self) -> None:
        """The directory is on the disk as it is."""
        with os.scandir(self._folder) as found:
            self._names = {one.name: one.inode() for one in found if one.is_file()}

    def lose_power(self) -> None:
        """The folder as the machine finds it when it has power again. Nobody has it open."""
        contents = {name: self._contents.get(node) for name, node in self._names.items()}
        for path in self._folder.iterdir():
            if path.is_file():
                path.unlink()
        self._contents.clear()
        for name, kept in contents.items():
            data, changed = kept or (b"", 0)
            path = self._folder / name
            path.write_bytes(data)
            os.utime(path, ns=(changed, changed))
            self._contents[path.stat().st_ino] = data, changed
        self.named()


class FaultyFiles(Files):
    """A disk that fails at the step that the script names: ``fail`` counts down to it."""

    def __init__(self, process: Process, platter: Platter) -> None:
        self._process = process
        self._platter = platter
        self._in = 0
        self._error = 0

    def fail(self, steps: int, error: int) -> None:
        """``error`` (an errno; 0: the process dies) at the n-th step from now."""
        self._in, self._error = steps, error

    def step(self, name: str) -> bool:
        """Whether this step fails."""
        self._in -= 1
        if self._in != 0:
            return False
        self._process.world.happened(f"disk {errno.errorcode.get(self._error, 'kill')} at {name}")
        return True

    def _fail(self) -> None:
        if not self._error:
            raise Died
        raise OSError(self._error, os.strerror(self._error))

    def load(self, path: Path) -> bytes:
        """Each change has a time of its own: what was read once need not be read again."""
        status = os.stat(path)  # noqa: PTH116 (as `Files.stamp` does)
        known = self._platter.loaded
        if (data := known.get(status.st_mtime_ns)) is None:
            data = known[status.st_mtime_ns] = super().load(path)
        return data

    def sync(self, fd: int) -> None:
        if self.step("sync"):
            self._fail()
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            self._platter.named()
        else:
            self._platter.synced(fd, self.read(fd))

    def write(self, fd: int, data: bytes, offset: int = 0) -> None:
        if self.step("write"):
            super().write(fd, data[: len(data) // 2], offset)
            self._process.world.tore()
            self._fail()
        super().write(fd, data, offset)
        self._platter.changed(fd)

    def cut(self, fd: int, size: int) -> None:
        if self.step("cut"):
            self._fail()
        super().cut(fd, size)
        self._platter.changed(fd)


def _failing(name: str) -> Any:
    def step(self: FaultyFiles, *args: Any) -> Any:
        if self.step(name):
            self._fail()
        return getattr(Files, name)(self, *args)

    return step


for _name in ("create", "link", "replace", "remove"):
    setattr(FaultyFiles, _name, _failing(_name))


class Died(BaseException):
    """The process is gone in the middle of a step of its disk."""


class FileStore(JsonFileStore):
    """jobs.json on a disk that may fail, its transactions done on the spot: the thread that they
    have otherwise adds nothing here but time."""

    poll = 40.0

    def __init__(self, path: Path, process: Process) -> None:
        self.files = FaultyFiles(process, process.world.platter)
        super().__init__(path, files=self.files, lock_wait=0.0, compact_beyond=20_000)
        self._process = process
        self._doing = "transaction"  # the name of the next

    async def open(self, now: datetime, node: Node | None = None) -> None:
        await self._process.at("open")
        await super().open(now, node)

    async def claim(
        self,
        now: datetime,
        limit: int,
        can_run: Collection[str],
        decide: Decide,
        *,
        only: str | None = None,
    ) -> list[Decision]:
        self._doing = "claim"
        watched = self._process.world.watched(decide)
        return await super().claim(now, limit, can_run, watched, only=only)

    async def recover(self, now: datetime, settle: Settle) -> list[Decision]:
        self._doing = "recover"
        decisions = await super().recover(now, settle)
        self._process.world.watch_recovery(self._process, decisions)
        return decisions

    async def finish(self, ends: Sequence[End], settle: Settle) -> list[Decision | None]:
        self._doing = "finish"
        decisions = await super().finish(ends, settle)
        self._process.world.ended(self._process, decisions)
        return decisions

    async def _do(self, work: Callable[[], Any]) -> Any:
        self._check_open()
        name, self._doing = self._doing, "transaction"
        await self._process.at(name)
        self._busy += 1
        try:
            result = self._guarded(work)
        except Died:
            await self._process.die()
        finally:
            self._busy -= 1
        await self._process.after(name)
        return result

    @property
    def book(self) -> Book:
        """What was true when the journal was last read."""
        return self._journal.book

    def _catch_up(self) -> None:
        super()._catch_up()
        self._process.world.eras.look(self.book)

    def _ask(self, question: Callable[[Book], T]) -> T:
        answer = super()._ask(question)
        self._process.world.eras.look(self.book)
        return answer

    def _commit(
        self, changes: Changes, seen: Seen | None = None, *, declares: bool = False
    ) -> None:
        super()._commit(changes, seen, declares=declares)
        self._process.world.eras.look(self.book)

    def _tell(self) -> None:
        self._news.tell()  # on the loop already

    async def close(self) -> None:
        self.drop()

    def drop(self) -> None:
        """What the system does with the descriptors and locks of a process that is gone."""
        self._let_go()
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None


for _name in FATAL:
    if _name not in vars(FileStore):
        setattr(FileStore, _name, _named(_name))
