"""Forget old output files: the copies for people and what runs have attached.

Retention means them as it means the ledger's rows: by age, and by number a job. They may be very
many, so that one step removes a bounded number of them and says where to go on.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Files, and folders of jobs, that one step removes or looks at, at most.
REMOVED = 2000
FOLDERS = 2000

_OUTPUT = re.compile(r"(\d{8}T\d{6}Z)-.+\.md", re.ASCII | re.DOTALL)
_DRAFT = re.compile(r"\.[0-9a-f]{16}\.tmp", re.ASCII)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Old(NamedTuple):
    """What is to go: all from before an instant, and all but the newest ``keep`` of a job."""

    before: datetime
    keep: int


def forget(output: Path, old: Old, after: str = "") -> tuple[str | None, int]:
    """Remove old files of the jobs whose folders come after ``after``: what ``<output>/<job>/``
    has in the names that acron gives, and nothing else. Links are not followed.

    Returns the folder to go on after, None at the end, and how many files went. Blocks.
    """
    try:
        root = os.open(output, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None, 0
    try:
        with os.scandir(root) as entries:
            names = sorted(one.name for one in entries if one.name > after)
        gone = 0
        for number, name in enumerate(names, 1):
            with _opened(root, name) as folder:
                if folder is not None:
                    gone += _forget_in(folder, old, REMOVED - gone)
                    _forget_empty(root, name, folder, old)
            if gone >= REMOVED:
                return after, gone  # of this folder there may be more
            if number >= FOLDERS:
                return name, gone
            after = name
    finally:
        os.close(root)
    return None, gone


@contextmanager
def _opened(root: int, name: str) -> Iterator[int | None]:
    """A folder, through no link; None when it is none, or none of ours."""
    try:
        folder = os.open(name, _FOLDER, dir_fd=root)
    except OSError:
        yield None
        return
    try:
        yield folder
    finally:
        os.close(folder)


def _forget_in(folder: int, old: Old, most: int) -> int:
    """Up to ``most`` files of one job; of each kind the newest ``keep`` may stay."""
    outputs: list[tuple[datetime, str]] = []
    attached: list[tuple[datetime, str]] = []
    drafts: list[tuple[datetime, str]] = []
    with os.scandir(folder) as entries:
        for one in entries:
            with suppress(FileNotFoundError):
                if one.is_dir(follow_symlinks=False):
                    if one.name.endswith(".files"):
                        attached.append((_changed(one), one.name))
                elif named := _OUTPUT.fullmatch(one.name):
                    outputs.append((_told(named[1]) or _changed(one), one.name))
                elif _DRAFT.fullmatch(one.name):
                    drafts.append((_changed(one), one.name))
    gone = 0
    for found, remove in ((outputs, _unlink), (attached, _remove_folder), (drafts, _unlink)):
        for name in _too_old(found, old):
            if gone >= most:
                return gone
            with suppress(OSError):  # another process may be at it, too
                gone += remove(folder, name)
    return gone


def _too_old(found: list[tuple[datetime, str]], old: Old) -> list[str]:
    """The oldest first."""
    found.sort()
    excess = max(len(found) - old.keep, 0)
    return [name for number, (at, name) in enumerate(found) if number < excess or at < old.before]


def _unlink(folder: int, name: str) -> int:
    os.unlink(name, dir_fd=folder)
    return 1


def _remove_folder(parent: int, name: str) -> int:
    """A folder that runs attach files in has files, and no folders."""
    with _opened(parent, name) as folder:
        if folder is None:
            return 0
        with os.scandir(folder) as entries:
            inside = [one.name for one in entries]
        gone = sum(_unlink(folder, one) for one in inside)
    os.rmdir(name, dir_fd=parent)
    return max(gone, 1)


def _forget_empty(root: int, name: str, folder: int, old: Old) -> None:
    """A removed job leaves a folder that nobody has written to for long."""
    if datetime.fromtimestamp(os.fstat(folder).st_mtime, UTC) < old.before:
        with suppress(OSError):  # it is not empty
            os.rmdir(name, dir_fd=root)


def _changed(entry: os.DirEntry[str]) -> datetime:
    return datetime.fromtimestamp(entry.stat(follow_symlinks=False).st_mtime, UTC)


def _told(text: str) -> datetime | None:
    """The run's start, in the file's name."""
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
