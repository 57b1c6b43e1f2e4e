"""What a run says while it goes on, in a file that any process of the machine can follow.

It is there for ``output RUN --follow`` and goes with the run: what lasts is the run's output. Of
a long one it is all there is, and is handed on.
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
#: Bytes of a file; of what a run says beyond that only the tail is kept, in its output.
LARGEST = 8 * 1024 * 1024
#: Seconds that writing the rest of it may take.
PATIENCE = 30.0

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
        self._waiting: list[bytes] = []
        self._room = LARGEST
        self._writer: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()
        self._handed_on = self._failed = False

    def add(self, text: str) -> None:
        """Take it, and write it soon. Never fails, never waits."""
        if self._path is None or self._room <= 0 or not text:
            return
        data = text.encode(errors="backslashreplace")
        self._waiting.append(data[: self._room])
        self._room -= len(data)
        if self._room < 0:
            self._waiting.append(f"\n[… cut after {LARGEST:,} bytes]\n".encode())
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(self._path), name="acron-live")

    async def _write(self, path: Path) -> None:
        await self._gather()
        try:
            if self._waiting:
                await aiofiles.os.makedirs(path.parent, mode=0o700, exist_ok=True)
            while self._waiting and (self._handed_on or not self._closed.is_set()):
                data, self._waiting = b"".join(self._waiting), []
                async with aiofiles.open(path, "ab", opener=_private) as file:
                    await file.write(data)
                await self._gather()
        except OSError as error:  # a full disk: the run goes on, and its output is kept
            self._room, self._failed, self._waiting = 0, True, []
            log.warning("no live output in %s: %s", one_line(str(path)), error.strerror or error)

    async def _gather(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHERED):
                await self._closed.wait()

    async def whole(self) -> Path | None:
        """The run is over: the file with all that it said (see ``LARGEST``), which is the
        caller's from now on. None when it could not be written."""
        self._handed_on = True
        self._closed.set()
        try:
            async with asyncio.timeout(PATIENCE):
                if self._writer is not None:
                    await asyncio.wait({self._writer})
                if self._path is not None and self._waiting:
                    await self._write(self._path)
        except TimeoutError:
            self._failed = True
        finally:
            self._handed_on = self._path is not None and not self._waiting and not self._failed
        return self._path if self._handed_on else None

    async def close(self) -> None:
        """The run is over: the file goes, unless it was handed on."""
        if self._handed_on:
            return
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
