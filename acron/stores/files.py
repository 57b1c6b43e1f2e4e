"""The file system, as far as a store of files needs it, and what its failures mean."""

from __future__ import annotations

import errno
import getpass
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from acron.errors import StoreUnavailable

if TYPE_CHECKING:
    from pathlib import Path

#: Modification time in ns, size, inode: differs when a file was changed.
Stamp = tuple[int, int, int]
#: Errors that depend on who we are; 0 is SQLite's, which does not tell.
_OURS = {0, errno.EACCES, errno.EPERM, errno.EROFS}


class Files:
    """Each step a disk can fail at, as a method; simulations put their faults here."""

    def stamp(self, path: Path) -> Stamp | None:
        """None when there is no such file."""
        try:
            found = os.stat(path)  # noqa: PTH116 (half the cost of Path.stat, once a tick)
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def create(self, path: Path) -> int:
        """Open an empty file that only its owner may read."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def read(self, fd: int, offset: int = 0) -> bytes:
        """From ``offset`` to the end."""
        parts = []
        while part := os.pread(fd, 1 << 24, offset):
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def write(self, fd: int, data: bytes, offset: int = 0) -> None:
        view = memoryview(data)
        while view:
            done = os.pwrite(fd, view, offset)
            view, offset = view[done:], offset + done

    def sync(self, fd: int) -> None:
        os.fsync(fd)

    def cut(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def link(self, old: Path, new: Path) -> None:
        os.link(old, new)

    def replace(self, old: Path, new: Path) -> None:
        os.replace(old, new)  # noqa: PTH105 (Path.replace says the same)

    def remove(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 (Path.unlink says the same)

    def sync_directory(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.sync(fd)
        finally:
            os.close(fd)

    # made of these

    def load(self, path: Path) -> bytes:
        fd = self.open(path)
        try:
            return self.read(fd)
        finally:
            os.close(fd)

    def prepare(self, path: Path, data: bytes) -> None:
        """Write a file of its own and have it on the disk, but for its name."""
        fd = self.create(path)
        try:
            self.write(fd, data)
            self.sync(fd)
        finally:
            os.close(fd)

    def save(self, path: Path, data: bytes) -> None:
        """Replace the file as a whole: whoever reads finds the old or the new."""
        beside = path.with_name(path.name + ".new")
        self.prepare(beside, data)
        self.replace(beside, path)
        self.sync_directory(path.parent)


def unavailable(error: OSError, address: str, path: Path | None = None) -> StoreUnavailable:
    """What an OSError means for a store, with the path, and who we are where that may matter."""
    where = str(error.filename or path or address)
    who = f" as user {_user()}" if error.errno in _OURS else ""
    what = "it" if where == address else where
    reason = error.strerror or str(error)
    return StoreUnavailable(f"cannot use {what}{who}: {reason}", address=address)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        return str(os.getuid())
