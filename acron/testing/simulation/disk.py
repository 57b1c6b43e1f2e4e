"""The files that the processes of a simulation share: they fail before a transaction, after it,
and in the middle of a write, where the script says so."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any, TypeVar

from acron.stores.files import Files
from acron.stores.json_file import JsonFileStore
from acron.testing.simulation.ends import judged
from acron.testing.simulation.script import FATAL
from acron.testing.simulation.watch import Kept

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

    def lose_power(self) -> bool:
        """The folder as the machine finds it when it has power again. Nobody has it open. Whether
        it is another one than it was."""
        contents = {name: self._contents.get(node) for name, node in self._names.items()}
        there = {path.name: path.read_bytes() for path in self._folder.iterdir() if path.is_file()}
        on_disk = {name: kept[0] if kept else b"" for name, kept in contents.items()}
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
        return there != on_disk


class FaultyFiles(Files):
    """A disk that fails at the step that the script names: ``fail`` counts down to it."""

    def __init__(self, process: Process, platter: Platter) -> None:
        self._process = process
        self._platter = platter
        self._in = 0
        self._error = 0
        self._at = ""

    def fail(self, steps: int, error: int, at: str = "") -> None:
        """``error`` (an errno; 0: the process dies) at the n-th step from now, or the n-th that is
        called so."""
        self._in, self._error, self._at = steps, error, at

    def step(self, name: str) -> bool:
        """Whether this step fails."""
        if self._at not in {"", name}:
            return False
        self._in -= 1
        if self._in != 0:
            return False
        how, world = errno.errorcode.get(self._error, "kill"), self._process.world
        world.happened(f"disk {how} at {name}")
        world.seen[f"disk {how}"] += 1
        world.seen[f"disk {how} at {name}"] += 1
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
        self._doing, watch = "claim", self._process.world.watch
        watch.claims(self._process)
        watched = watch.decided(now, decide)
        return await super().claim(now, limit, can_run, watched, only=only)

    async def recover(self, now: datetime, settle: Settle) -> list[Decision]:
        self._doing = "recover"
        decisions = await super().recover(now, judged(self._process, settle))
        watch = self._process.world.watch
        watch.recovered(self._process, decisions)
        watch.is_recovered(self.book, self._nodes.dead, self._nodes.own)
        return decisions

    async def finish(self, ends: Sequence[End], settle: Settle) -> list[Decision | None]:
        self._doing = "finish"
        decisions = await super().finish(ends, judged(self._process, settle))
        self._process.world.watch.ended(self._process, decisions)
        return decisions

    async def _do(self, work: Callable[[], Any]) -> Any:
        self._check_open()
        name, self._doing = self._doing, "transaction"
        await self._process.at(name, self.book)
        self._busy += 1
        try:
            result = self._guarded(work)
        except Died:
            await self._process.die()
        finally:
            self._busy -= 1
        if name == "claim":
            self._process.world.watch.claimed(self._process, self.book, result)
        await self._process.after(name, result)
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
        world = self._process.world
        if world.locked:
            world.broke("I10", f"jobs.json was written, and {world.locked}")
        kept = None if changes.prune is None else Kept(self.book, *changes.prune)
        try:
            super()._commit(changes, seen, declares=declares)
        except BaseException:
            if kept is not None:  # whoever reads the file next may see that it is done
                self._process.world.watch.doubted.append(kept)
            raise
        if kept is not None:
            kept.compare(self._process.world, self.book)
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
