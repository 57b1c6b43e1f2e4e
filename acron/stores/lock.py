"""A lock between processes, on a file: released by the system when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from acron.errors import StoreLocked, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: How long to wait for a lock, in seconds.
WAIT = 10.0

_UNSUPPORTED = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.05
_LABEL = 120  # bytes for the holder's name, always written whole


def try_lock(fd: int, path: Path, *, shared: bool = False) -> bool:
    """Take the lock on ``fd`` if nobody holds it, not even in this process.

    Raises StoreUnavailable where the file system has no locks.
    """
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        message = (
            f"the file system of {path} has no locks ({error.strerror}); "
            "keep jobs on a local disk or in a database store"
        )
        raise StoreUnavailable(message) from error
    return True


def open_lock(path: Path) -> int:
    """Open the file to be locked, creating it."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


class FileLock:
    """Held by one thread at a time among all that use ``path``, in this process or another."""

    def __init__(self, path: Path, wait: float = WAIT) -> None:
        self._path = path
        self._wait = wait
        self._fd: int | None = None
        self._label = f"process {os.getpid()} on {socket.gethostname()}".encode()[:_LABEL]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Raises StoreLocked, naming the holder, when it is not free within the wait."""
        fd = self._acquire()
        try:
            yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _acquire(self) -> int:
        # The pauses are counted, not the clock: what reads time is elsewhere.
        waited, pause = 0.0, _FIRST_PAUSE
        while True:
            if self._fd is None:
                self._fd = open_lock(self._path)
            if try_lock(self._fd, self._path):
                if self._same_file(self._fd):
                    os.pwrite(self._fd, self._label.ljust(_LABEL) + b"\n", 0)
                    return self._fd
                self.close()  # somebody deleted the file: all must meet at the new one
                continue
            if waited >= self._wait:
                raise self._busy()
            time.sleep(pause)
            waited += pause
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _same_file(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self._path))  # noqa: PTH116
        except FileNotFoundError:
            return False

    def _busy(self) -> StoreLocked:
        holder = self._path.read_text(errors="replace").strip()
        shown = "".join(one for one in holder if one.isprintable()) or "another process"
        message = f"{shown} has held {self._path} for more than {self._wait:g} s"
        return StoreLocked(message, holder=shown)
