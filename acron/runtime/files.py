"""What a run attaches to its output: copied when it ends, because its own may then be gone.

So is an output that is too long for the run's row.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import aiofiles
import aiofiles.os
from msgspec.structs import replace

from acron.contain import text_of
from acron.model import OUTPUT_LIMIT
from acron.runtime.oldfiles import Old, forget
from acron.text import cut, many_lines, one_line, redact, safe_name, where_left_out, whole_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from acron.model import Outcome, Run
    from acron.threads import Threads

#: Bytes of one file, and files of one run; what is more is left out, and the output says so.
LARGEST = 25 * 1024 * 1024
MOST = 10
#: Seconds that copying may take.
PATIENCE = 30.0
#: The file of an output that is too long for the row, and how many characters it takes of one.
WHOLE = "output.txt"
LARGEST_OUTPUT = 8 * 1024 * 1024

#: Seconds between two looks for old files.
_REST, _LONGEST_REST = 3600.0, 86_400.0

#: What is redacted at once, in a thread and on the loop: nobody else is held up for longer.
_BLOCK = 64 * 1024
_QUICK = 4 * 1024


def _is_long(outcome: Outcome) -> bool:
    output = outcome.output
    if outcome.whole is not None:
        return True
    if output is None or len(output) * 4 <= OUTPUT_LIMIT:
        return False
    return len(output.encode(errors="backslashreplace")) > OUTPUT_LIMIT


class Files:
    """The files of runs: ``<root>/output/<job>/<time>-<run>.files/<name>``, where ``<time>`` is the
    run's start; nobody else reads them."""

    def __init__(self, root: Path, threads: Threads) -> None:
        self._root = root
        self._threads = threads
        self._forgot = ""  # the folder that the last step of forgetting came to
        self._rest = _REST / 2

    async def paths(self, run: Run) -> tuple[Path, ...]:
        """The files of an ended run that are here: it may have run on another machine."""
        paths = [folder_of(self._root, run) / name for name in run.files]
        return tuple([path for path in paths if await aiofiles.os.path.isfile(path)])

    async def keep(self, run: Run, outcome: Outcome) -> Outcome:
        """Copy what ``outcome`` names, and an output that is too long for the row; it then has
        their names, says what was left out, and holds no secret that acron can know."""
        output = outcome.output or ""
        if not outcome.files and outcome.whole is None and len(output) <= _QUICK:
            return replace(outcome, output=redact(output))
        try:
            async with asyncio.timeout(PATIENCE):
                folder, label = folder_of(self._root, run), f"{run.job_id} {run.id}: files"
                return await self._threads.run(_keep, outcome, folder, label=label)
        except Exception as error:  # noqa: BLE001 (the run has ended, whatever is wrong here)
            late = isinstance(error, TimeoutError)
            why = f"not kept within {PATIENCE:g} s" if late else one_line(text_of(error), 40)
            faults = [f"its files: {why}"] if outcome.files else []
            return _told(outcome, (), faults, why if _is_long(outcome) else "")

    async def forget(self, before: datetime, keep: int) -> float:
        """Remove a bounded number of old output files; seconds until there may be more of them:
        an hour after some have gone, then ever longer, up to a day.

        Raises OSError, and TimeoutError when the disk hangs; the next call begins anew.
        """
        after, self._forgot = self._forgot, ""
        async with asyncio.timeout(PATIENCE):
            output, old = self._root / "output", Old(before, keep)
            goes_on, gone = await self._threads.run(forget, output, old, after, label="old files")
        self._forgot = goes_on or ""
        self._rest = _REST if gone else min(2 * self._rest, _LONGEST_REST)
        return self._rest if goes_on is None else 0.0


def folder_of(root: Path, run: Run) -> Path:
    """Where the files of an ended run are, on the machine that it ran on."""
    start = run.started_at or run.due_at
    name = f"{start:%Y%m%dT%H%M%SZ}-{safe_name(run.id)}.files"
    return root / "output" / safe_name(run.job_id) / name


async def whole_output(root: Path, run: Run) -> str:
    """All that an ended run has said, where this machine has it; else what its row has."""
    if WHOLE in run.files:
        with suppress(OSError):
            async with aiofiles.open(folder_of(root, run) / WHOLE, encoding="utf-8") as file:
                return await file.read()
    return run.output or ""


def _keep(outcome: Outcome, folder: Path) -> Outcome:
    names: list[str] = []
    note = ""
    if _is_long(outcome):
        try:
            _write_whole(outcome, folder)
            names.append(WHOLE)
            note = f"all of it: {WHOLE}"
        except OSError as error:
            note = one_line(error.strerror or type(error).__name__, 40)
        if outcome.whole is not None:
            with suppress(OSError):
                Path(outcome.whole).unlink()
    faults = _copy(outcome.files, folder, names)
    return _told(outcome, tuple(names), faults, note)


def _told(outcome: Outcome, names: tuple[str, ...], faults: list[str], note: str) -> Outcome:
    output = outcome.output
    more = "".join(f"\n[not attached: {one}]" for one in faults)
    if output is not None and note:  # cut once, so that what was left out is told once
        output = where_left_out(cut(output, OUTPUT_LIMIT - len(more.encode())), note)
    if output is not None:
        output = redact(output)
    if more:
        output = (output or "") + more
    return replace(outcome, files=names, output=output, whole=None)


def _write_whole(outcome: Outcome, folder: Path) -> None:
    """What a person reads, and may be sent: redacted, and whole or not there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = folder / WHOLE
    with _source(outcome) as source:
        try:
            with os.fdopen(_private(target), "w", encoding="utf-8") as kept:
                for block in _blocks(source):
                    kept.write(many_lines(block))
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _source(outcome: Outcome) -> TextIO:
    if outcome.whole is not None:
        return open(outcome.whole, encoding="utf-8", errors="replace", newline="")  # noqa: PTH123
    text = outcome.output or ""
    over = f"\n[… cut after {LARGEST_OUTPUT:,} characters]\n" if len(text) > LARGEST_OUTPUT else ""
    return StringIO(text[:LARGEST_OUTPUT] + over, newline="")


def _blocks(source: TextIO) -> Iterator[str]:
    """Whole lines, and no private key in two, so that no secret is cut and shown."""
    block = ""
    while data := source.read(_BLOCK):
        block += data
        end = whole_lines(block)
        if not end and len(block) < 4 * _BLOCK:
            continue
        yield block[: end or len(block)]
        block = block[end or len(block) :]
    yield block


def _private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)


def _copy(sources: tuple[str, ...], folder: Path, names: list[str]) -> list[str]:
    """Copy them, and add their ``names``; what could not be."""
    faults = [f"{len(sources) - MOST} more than {MOST} files"] if len(sources) > MOST else []
    for source in sources[:MOST]:
        base = safe_name(Path(source).name)
        name = _free(base, {WHOLE, *names})
        try:
            _copy_one(Path(source), folder, name)
        except OSError as error:
            faults.append(one_line(f"{base}: {error.strerror or error}"))
        except ValueError as error:  # a NUL, or what is no Unicode
            faults.append(one_line(f"{base}: no name of a file: {error}"))
        else:
            names.append(name)
    return faults


def _free(base: str, taken: set[str]) -> str:
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{number}-{base}"
    return name


def _copy_one(source: Path, folder: Path, name: str) -> None:
    # Not blocking, because a pipe would wait for its writer.
    with open(os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as given:  # noqa: PTH123
        info = os.fstat(given.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise OSError(f"{source.name} is no plain file")
        if info.st_size > LARGEST:
            raise OSError(f"{info.st_size:,} bytes, more than {LARGEST:,}")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(_private(folder / name), "wb") as kept:
            shutil.copyfileobj(given, kept)
