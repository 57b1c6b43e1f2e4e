"""What a run says while it goes on, in a file that any process of the machine can follow.

It is there for ``output RUN --follow`` and goes with the run: what lasts is the run's output.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

import aiofiles
import aiofiles.os

from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

log = logging.getLogger("acron.actions")

#: Seconds that text is gathered before it is written: a quick run leaves no file at all.
GATHERED = 0.2
#: Bytes of a file; what a run says beyond that is in its output, cut, at its end.
LARGEST = 4 * 1024 * 1024

_RUN_ID = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)


class LiveFiles:
    """The files of one store's runs: ``<folder>/<store>-<run id>.live``, readable by the user.

    Without a ``folder``, or for an id that is no plain word, nothing is written.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._store = ""

    def place(self, folder: Path, address: str) -> None:
        """Keep them in ``folder``, apart from those of stores at another ``address``."""
        self.folder = folder
        self._store = blake2b(address.encode(errors="replace"), digest_size=6).hexdigest()

    def path(self, run_id: str) -> Path | None:
        if self.folder is None or not _RUN_ID.fullmatch(run_id):
            return None
        return self.folder / f"{self._store}-{run_id}.live"

    def of(self, run_id: str) -> LiveFile:
        """Where that run's words go."""
        return LiveFile(self.path(run_id))

    async def read(self, run_id: str, start: int) -> bytes | None:
        """What was written from byte ``start`` on; None when there is no file (any more)."""
        path = self.path(run_id)
        if path is None:
            return None
        try:
            async with aiofiles.open(path, "rb") as file:
                await file.seek(start)
                return await file.read()
        except OSError:
            return None

    async def sweep(self, going_on: Collection[str]) -> None:
        """Remove what a killed process has left: the files of runs that do not go on."""
        if self.folder is None:
            return
        with suppress(OSError):
            for name in await aiofiles.os.listdir(self.folder):
                store, _, rest = name.partition("-")
                if store == self._store and rest.removesuffix(".live") not in going_on:
                    await aiofiles.os.unlink(self.folder / name)


class LiveFile:
    """One run's file. It is there from its first words until ``close``."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._waiting: list[str] = []
        self._room = LARGEST
        self._writer: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    def add(self, text: str) -> None:
        """Take it, and write it soon. Never fails, never waits."""
        if self._path is None or self._room <= 0 or not text:
            return
        self._waiting.append(text)
        self._room -= len(text)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(self._path), name="acron-live")

    async def _write(self, path: Path) -> None:
        await self._gather()
        try:
            if not self._closed.is_set():
                await aiofiles.os.makedirs(path.parent, mode=0o700, exist_ok=True)
            while self._waiting and not self._closed.is_set():
                text, self._waiting = "".join(self._waiting), []
                async with aiofiles.open(path, "ab", opener=_private) as file:
                    await file.write(text.encode(errors="backslashreplace"))
                await self._gather()
        except OSError as error:  # a full disk: the run goes on, and its output is kept
            self._path = None
            log.warning("no live output in %s: %s", one_line(str(path)), error.strerror or error)

    async def _gather(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHERED):
                await self._closed.wait()

    async def close(self) -> None:
        """The run is over: the file goes."""
        self._closed.set()
        writer, path = self._writer, self._path
        if writer is None:
            return
        try:
            # It is at a file call, or sees at once that we are done.
            await asyncio.wait({writer}, timeout=2.0)
        finally:
            if path is not None:
                with suppress(OSError):
                    os.unlink(path)  # noqa: PTH108 (also when cancelled: no await)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
