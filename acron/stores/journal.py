"""``jobs.journal``: what happened, one line a transaction.

A line is ``crc32 SP json LF``; once it is on the disk, the transaction has happened. A last line
that is cut or whose checksum fails never happened. The first line says what this is. A compacted
journal is an ordinary one, whose first lines bring about the state of the moment.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime  # noqa: TC003 (msgspec reads the annotations)
from itertools import islice
from typing import TYPE_CHECKING, TypeVar
from zlib import crc32

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from acron.errors import StoreCorrupt
from acron.model import PROGRESS, Decision, Delivery, Incident, Job, Run, Skip
from acron.stores.book import Book, Changes
from acron.stores.files import Stamp  # noqa: TC001 (msgspec reads the annotations)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from acron.stores.files import Files

SCHEMA = 1
#: Compact beyond this size, in bytes, and twice the size of the last compaction.
COMPACT_BEYOND = 4 * 1024 * 1024
_CHUNK = 1000
#: A line with more than that part of all jobs is taken in as a whole.
_MANY = 20

_T = TypeVar("_T")


class Header(Struct):
    """The first line. ``base`` is the size of the lines that a compaction wrote, in bytes."""

    acron: int
    kind: str = "journal"
    base: int = 0


class Progress(Struct, omit_defaults=True):
    """What changed of the lower half of a job."""

    id: str
    bound: str | UnsetType = UNSET
    cursor: datetime | UnsetType | None = UNSET
    next_fire_at: datetime | UnsetType | None = UNSET
    last_fire_at: datetime | UnsetType | None = UNSET
    fired: int | UnsetType = UNSET
    failures: int | UnsetType = UNSET
    incidents: tuple[Incident, ...] | UnsetType = UNSET
    completed: bool | UnsetType = UNSET
    error: str | UnsetType | None = UNSET
    created_at: datetime | UnsetType | None = UNSET
    revision: int | UnsetType = UNSET


class Mark(Struct):
    """What changed of an ended run: who delivers it, and how far that is."""

    id: str
    node: str | None
    deliveries: tuple[Delivery, ...]


class Seen(Struct):
    """The state of the definitions' file that the jobs agree with, and what is wrong in it."""

    stamp: Stamp | None
    problems: list[str] = []


class Line(Struct, omit_defaults=True):
    """One transaction."""

    token: int
    jobs: list[Job] = []
    gone: list[str] = []
    progress: list[Progress] = []
    runs: list[Run] = []
    marks: list[Mark] = []
    skips: list[Skip] = []
    dropped: list[str] = []
    prune: tuple[datetime, int] | None = None
    file: Seen | None = None


def line_of(changes: Changes, book: Book, seen: Seen | None = None) -> Line:
    """``changes`` to ``book``, as short as can be."""
    line = Line(changes.token, prune=changes.prune, file=seen)
    latest: dict[str, Job | None] = {}
    dropped = {run_id for decision in changes.decisions for run_id in decision.dropped}
    line.dropped.extend(run_id for run_id in sorted(dropped) if book.run(run_id) is not None)
    for job_id, decision in zip(changes.ids, changes.decisions, strict=True):
        latest[job_id] = decision.job
        for run in decision.runs:
            stored = book.runs.get(run.id)
            if run.id in dropped:
                continue
            if stored is not None and stored.state.ended:
                line.marks.append(Mark(run.id, run.node, run.deliveries))
            else:
                line.runs.append(run)
        line.skips.extend(decision.skips)
    for job_id, job in latest.items():
        old = book.jobs.get(job_id)
        if job is None:
            if old is not None:
                line.gone.append(job_id)
        elif old is None or declared_anew(old, job):
            line.jobs.append(job)
        elif old is not job:
            moved = {
                name: value
                for name in PROGRESS
                if (value := getattr(job, name)) is not getattr(old, name)
            }
            line.progress.append(Progress(job_id, **moved))
    return line


_DECLARED = tuple(name for name in Job.__struct_fields__ if name not in PROGRESS)


def declared_anew(old: Job, new: Job) -> bool:
    """Whether the upper half differs."""
    for name in _DECLARED:
        value, before = getattr(new, name), getattr(old, name)
        if value is not before and value != before:
            return True
    return False


def changes_of(line: Line, book: Book) -> Changes:
    """What ``line`` says about ``book``: the way back from ``line_of``."""
    latest: dict[str, Job | None] = {job.id: job for job in line.jobs}
    latest.update(dict.fromkeys(line.gone))
    for moved in line.progress:
        values = {name: value for name in PROGRESS if (value := getattr(moved, name)) is not UNSET}
        latest[moved.id] = replace(book.jobs[moved.id], **values)
    changes = Changes([], [], line.token, line.prune)

    def add(
        job_id: str,
        runs: tuple[Run, ...] = (),
        skips: tuple[Skip, ...] = (),
        dropped: tuple[str, ...] = (),
    ) -> None:
        job = latest[job_id] if job_id in latest else book.jobs.get(job_id)
        changes.ids.append(job_id)
        changes.decisions.append(Decision(job, runs, skips, dropped))

    for job_id in latest:
        add(job_id)
    for run in line.runs:
        add(run.job_id, (run,))
    for mark in line.marks:
        run = replace(book.runs[mark.id], node=mark.node, deliveries=mark.deliveries)
        add(run.job_id, (run,))
    for skip in line.skips:
        add(skip.job_id, skips=(skip,))
    for run_id in line.dropped:
        if (gone := book.run(run_id)) is not None:
            add(gone.job_id, dropped=(run_id,))
    return changes


def _only_jobs(line: Line) -> bool:
    """Whether the line says nothing but what some jobs are."""
    return bool(line.jobs) and not (
        line.gone
        or line.progress
        or line.runs
        or line.marks
        or line.skips
        or line.dropped
        or line.prune
    )


def snapshot(book: Book, seen: Seen) -> Iterator[Line]:
    """Lines that bring about the state of ``book``."""
    yield Line(book.token, file=seen)
    for jobs in _chunks(book.jobs.values()):
        yield Line(book.token, jobs=jobs)
    for runs in _chunks(book.runs.values()):
        yield Line(book.token, runs=runs)
    for runs in _chunks(book.pending.values()):
        yield Line(book.token, runs=runs)
    for skips in _chunks(book.skips):
        yield Line(book.token, skips=skips)


def _chunks(rows: Iterable[_T]) -> Iterator[list[_T]]:
    left = iter(rows)
    while chunk := list(islice(left, _CHUNK)):
        yield chunk


class Journal:
    """The file, replayed into ``book``. Used by one thread at a time.

    ``seen`` is what the journal knows of the definitions' file.
    """

    def __init__(self, path: Path, files: Files, compact_beyond: int = COMPACT_BEYOND) -> None:
        self.path = path
        self._files = files
        self._compact_beyond = compact_beyond
        self._fd: int | None = None
        self._inode = 0
        self._named = False  # the directory is known to hold the file under its name
        self._lines = 0
        self._base = 0
        self._retry_beyond = 0
        self._decode = msgspec.json.Decoder(Line).decode
        self._encode = msgspec.json.Encoder().encode
        self.size = 0  # of what is replayed; what lies behind it is torn
        self.book = Book()
        self.seen = Seen(None)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def forget(self) -> None:
        """Read everything again next time: what is in memory may not be what is on the disk."""
        self.close()

    def create(self) -> None:
        """Begin a journal where there is none."""
        self._files.save(self.path, self._packed(Header(SCHEMA)))

    def catch_up(self) -> bool:
        """Replay what others have written; whether they have. Needs no lock.

        Raises StoreCorrupt, FileNotFoundError.
        """
        stamp = self._files.stamp(self.path)
        if stamp is None:
            raise FileNotFoundError(2, "No such file", str(self.path))
        _, size, inode = stamp
        if self._fd is None or inode != self._inode or size < self.size:
            self._reload()
            return True
        if size == self.size:
            return False
        before = self.size
        self._replay(self._files.read(self._fd, self.size))
        return self.size > before

    def append(self, line: Line) -> None:
        """Have ``line`` on the disk: the commit. Under the lock, and caught up.

        Raises OSError, and then it has not happened: ``forget`` before going on.
        """
        fd = self._fd
        assert fd is not None, "caught up"  # noqa: S101
        data = self._packed(line)
        if os.fstat(fd).st_size > self.size:
            self._files.cut(fd, self.size)  # a torn line of somebody who died
        if not self._named:
            # Whoever replaced the file may have died, or failed, before its name was durable:
            # with the power, all that is written here would go.
            self._files.sync_directory(self.path.parent)
            self._named = True
        try:
            self._files.write(fd, data, self.size)
            self._files.sync(fd)
        except OSError:
            # Left there, the line would come true later. What cannot even be cut is judged by
            # whoever reads next.
            with suppress(OSError):
                self._files.cut(fd, self.size)
            raise
        self.size += len(data)
        self._lines += 1

    @property
    def overgrown(self) -> bool:
        return self.size > max(self._compact_beyond, 2 * self._base, self._retry_beyond)

    def compact(self) -> None:
        """Replace the file by a short one of the same meaning. Under the lock, and caught up."""
        self._retry_beyond = self.size + self.size // 4  # if it fails
        lines = [self._packed(line) for line in snapshot(self.book, self.seen)]
        base = sum(map(len, lines))
        self._files.save(self.path, b"".join([self._packed(Header(SCHEMA, base=base)), *lines]))
        self._retry_beyond = 0
        self._attach(self._files.open(self.path))
        self._named = True
        self._base = base
        self._lines = 1 + len(lines)
        self.size = os.fstat(self._fd or 0).st_size

    def _attach(self, fd: int) -> None:
        self.close()
        inode = os.fstat(fd).st_ino
        # The same file again needs no second look: there may be no descriptor to spare for one.
        self._named = self._named and inode == self._inode
        self._fd, self._inode = fd, inode

    def _reload(self) -> None:
        self._attach(self._files.open(self.path))
        fresh = Book()
        fresh.token = self.book.token  # what was given out is not given again
        self.book, self.seen = fresh, Seen(None)
        self.size = self._lines = 0
        data = self._files.read(self._fd or 0)
        end = data.find(b"\n")
        try:
            self._read_header(data[: max(end, 0)])
            self.size, self._lines = end + 1, 1
            self._replay(data, end + 1)
        except BaseException:
            self.close()
            raise

    def _read_header(self, head: bytes) -> None:
        text = _unpacked(head)
        if text is None:
            raise self._corrupt(1, "it does not begin as a journal of acron does")
        try:
            header = msgspec.json.decode(text, type=Header)
        except msgspec.DecodeError as error:
            raise self._corrupt(1, str(error)) from error
        if header.kind != "journal" or header.acron > SCHEMA:
            why = f"it was written by a newer acron (schema {header.acron}, known is {SCHEMA})"
            raise self._corrupt(1, why)
        self._base = header.base

    def _replay(self, data: bytes, start: int = 0) -> None:
        view = memoryview(data)  # most of a large journal is a few long lines
        while (end := data.find(b"\n", start)) >= 0:
            number = self._lines + 1
            text = _unpacked(view[start:end])
            if text is None:
                if end + 1 == len(data):
                    return  # the last line: it never happened
                raise self._corrupt(number, "the checksum fails")
            try:
                line = self._decode(text)
                if _only_jobs(line) and len(line.jobs) >= len(self.book.jobs) // _MANY:
                    self.book.take_in(line.jobs, line.token)
                else:
                    self.book.apply(changes_of(line, self.book))
            except (ValueError, KeyError, msgspec.DecodeError) as error:
                raise self._corrupt(number, f"it does not fit: {error}") from error
            if line.file is not None:
                self.seen = line.file
            self._lines = number
            self.size += end + 1 - start
            start = end + 1

    def _corrupt(self, line: int, why: str) -> StoreCorrupt:
        return StoreCorrupt(f"{self.path}, line {line}: {why}")

    def _packed(self, line: Line | Header) -> bytes:
        text = self._encode(line)
        return b"%08x %b\n" % (crc32(text), text)


def _unpacked(line: bytes | memoryview) -> bytes | memoryview | None:
    """The JSON of a line; None when its checksum fails."""
    text = line[9:]
    return text if line[:9] == b"%08x " % crc32(text) else None
