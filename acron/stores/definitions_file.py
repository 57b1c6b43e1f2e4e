"""``jobs.json`` on the disk: written as a whole, read when it has changed, never lost."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from acron.errors import StoreCorrupt, StoreUnavailable
from acron.stores.definitions import Document, Unreadable, read
from acron.stores.journal import Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from acron.model import Decision, Job
    from acron.stores.files import Files, Stamp

#: How often to start over when people edit the file at the very moment we use it.
TRIES = 10


class Moved(Exception):
    """Somebody edited the file since it was read: start over."""


class DefinitionsFile:
    """The file at ``path``; used under the store's lock, which people's editors do not take.

    ``broken`` says why it cannot be read, and where its copies are; it is left alone then.
    """

    def __init__(self, path: Path, files: Files) -> None:
        self._path = path
        self._files = files
        self._broken_stamp: Stamp | None = None
        self.broken = ""

    def known(self, seen: Seen) -> Stamp | None:
        """The state in which the file was last read."""
        return self._broken_stamp if self.broken else seen.stamp

    def look(
        self, known: Seen, jobs: Mapping[str, Job], now: datetime
    ) -> tuple[Seen, dict[str, Decision | None]] | None:
        """What differs from ``jobs`` (None: a job is there no more), if the file has changed
        since ``known``. A file that cannot be read is put into ``broken``, and changes nothing.
        """
        for _ in range(TRIES):
            stamp = self._files.stamp(self._path)
            if stamp == known.stamp:
                self.broken = ""
                return None
            if self.broken and stamp == self._broken_stamp:
                return None
            data = b"" if stamp is None else self._files.load(self._path)
            if self._files.stamp(self._path) == stamp:
                break
        else:
            raise StoreUnavailable(f"{self._path} is being edited all the time")
        try:
            document = self._parse(stamp, data, jobs)
        except Unreadable as error:
            self._quarantine(stamp, data, str(error), jobs, now)
            return None
        self.broken = ""
        reading = read(document, jobs, now)
        return Seen(stamp, reading.problems), reading.decisions

    def _parse(self, stamp: Stamp | None, data: bytes, jobs: Mapping[str, Job]) -> Document:
        if stamp is not None:
            return Document.parse(data)
        if jobs:
            raise Unreadable("the file is gone")
        return Document([])

    def declare(
        self, jobs: dict[str, Job | None], known: Seen, *, strict: bool
    ) -> tuple[Seen | None, Callable[[], None] | None]:
        """Write ``jobs`` into the file: how far it agrees with them then, and how to undo it.

        A job that pauses itself must end its run whatever the file is like: not ``strict``.
        """
        before = self._files.stamp(self._path)
        if strict and before != known.stamp and not self.broken:
            raise Moved
        data = b""
        if before is None:
            if known.stamp is not None:
                return self._refuse("the file is gone", strict=strict)
            document = Document([])
        else:
            data = self._files.load(self._path)
            try:
                document = Document.parse(data)
            except Unreadable as error:
                return self._refuse(str(error), strict=strict)
        written, undo = self._write(document.updated(jobs).render(), before, data)
        if before != known.stamp or known.problems:
            return None, undo  # there is more to be read in it
        return Seen(written), undo

    def _write(
        self, text: bytes, before: Stamp | None, earlier: bytes
    ) -> tuple[Stamp | None, Callable[[], None]]:
        """Replace the definitions' file, unless it has moved on; how to take that back."""
        beside = self._path.with_name(self._path.name + ".new")
        last = self._path.with_name(self._path.name + ".last")
        self._files.prepare(beside, text)
        written = self._files.stamp(beside)  # as it will be: in its place it may be edited at once
        if before is not None:
            self._files.remove(last)
            try:
                self._files.link(self._path, last)
            except OSError:  # no such thing on this file system
                self._files.prepare(last, earlier)
        if self._files.stamp(self._path) != before:
            raise Moved

        def undo() -> None:
            if before is None:
                self._files.remove(self._path)
            else:
                self._files.replace(last, self._path)

        self._files.replace(beside, self._path)
        try:
            self._files.sync_directory(self._path.parent)
        except BaseException:
            with suppress(OSError):
                undo()
            raise
        return written, undo

    def _refuse(self, why: str, *, strict: bool) -> tuple[None, None]:
        if strict:
            raise StoreCorrupt(f"{self._path}: {why}; nothing was written")
        return None, None

    def _quarantine(
        self, stamp: Stamp | None, data: bytes, why: str, jobs: Mapping[str, Job], now: datetime
    ) -> None:
        """Keep the bad file as it is, a copy of it, and the last good definitions beside it."""
        notes = [f"{self._path}: {why}"]
        name = self._path.name
        if stamp is not None:
            copies = sorted(self._path.parent.glob(f"{name}.broken-*"))
            if not copies or self._files.load(copies[-1]) != data:
                copy = self._path.with_name(f"{name}.broken-{now:%Y%m%dT%H%M%SZ}")
                self._files.prepare(copy, data)
                copies.append(copy)
            notes.append(f"a copy is kept in {copies[-1].name}")
        if jobs:
            good = self._path.with_name(f"{name}.good")
            self._files.prepare(good, Document([]).updated(dict(jobs)).render())
            notes.append(f"the last good definitions are in {good.name}")
        self.broken, self._broken_stamp = "; ".join(notes), stamp
