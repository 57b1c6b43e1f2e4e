"""A disk that fails, or a machine that dies, at its n-th step."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from acron.stores.files import Files

if TYPE_CHECKING:
    from collections.abc import Callable

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
