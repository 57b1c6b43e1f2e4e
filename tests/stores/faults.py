"""A disk that fails, or a machine that dies, at its n-th step."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from acron.stores.files import Files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STEPS = ("create", "write", "sync", "cut", "link", "replace", "remove")


class Crash(BaseException):
    """The process is gone: nothing of it runs any more."""


class FaultyFiles(Files):
    """Raises ``error()`` at step ``at`` (from 1); ``crashed`` files do nothing ever after.

    A write that fails has written half.
    """

    def __init__(self, at: int = 0, error: Callable[[], BaseException] | None = None) -> None:
        self.at = at
        self.error = error or (lambda: OSError(errno.EIO, os.strerror(errno.EIO)))
        self.steps = 0
        self.names: list[str] = []
        self.crashed = False

    def _fails(self, name: str) -> bool:
        if self.crashed:
            raise Crash
        self.steps += 1
        self.names.append(name)
        return self.steps == self.at

    def _fail(self) -> None:
        error = self.error()
        self.crashed = isinstance(error, Crash)
        raise error

    def write(self, fd: int, data: bytes, offset: int = 0) -> None:
        if self._fails("write"):
            super().write(fd, data[: len(data) // 2], offset)
            self._fail()
        super().write(fd, data, offset)


def _step(name: str) -> Any:
    def step(self: FaultyFiles, *args: Any) -> Any:
        if self._fails(name):
            self._fail()
        return getattr(Files, name)(self, *args)

    return step


for _name in STEPS:
    if _name != "write":
        setattr(FaultyFiles, _name, _step(_name))


class PowerLoss(FaultyFiles):
    """A machine that loses power at step ``at``, with the worst disk there may be: whatever was not
    synced is gone, and so is a name whose directory was not. Everything lies in ``folder``."""

    def __init__(self, folder: Path, at: int = 0) -> None:
        super().__init__(at, Crash)
        self._folder = folder
        self._inodes = folder.with_name(f"{folder.name}.inodes")  # a name for each, to hold it
        self._inodes.mkdir()
        self._synced: dict[int, tuple[bytes, int]] = {}  # content and time of change, by inode
        self._names: dict[str, int] = {}

    def create(self, path: Path) -> int:
        fd: int = super().create(path)
        with suppress(FileExistsError):
            os.link(path, self._inodes / str(os.fstat(fd).st_ino))
        return fd

    def sync(self, fd: int) -> None:
        super().sync(fd)
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            with os.scandir(fd) as found:
                self._names = {one.name: one.inode() for one in found}
        else:
            self._synced[status.st_ino] = self.read(fd), status.st_mtime_ns

    def come_back(self) -> None:
        """The folder as the machine finds it when it has power again."""
        for path in self._folder.iterdir():
            path.unlink()
        for name, inode in self._names.items():
            kept = self._inodes / str(inode)
            if kept.exists():  # a lock is no file of ours, and nothing is in it
                data, changed = self._synced.get(inode, (b"", 0))
                kept.write_bytes(data)
                os.utime(kept, ns=(changed, changed))
                os.link(kept, self._folder / name)
