"""What a run attaches to its output: copied when it ends, because its own may then be gone."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.runtime.oldfiles import Old, forget
from acron.text import one_line, safe_name

if TYPE_CHECKING:
    from datetime import datetime

    from acron.model import Outcome, Run
    from acron.threads import Threads

#: Bytes of one file, and files of one run; what is more is left out, and the output says so.
LARGEST = 25 * 1024 * 1024
MOST = 10
#: Seconds that copying may take.
PATIENCE = 30.0


class Files:
    """The files of runs: ``<root>/output/<job>/<run>.files/<name>``; nobody else reads them."""

    def __init__(self, root: Path, threads: Threads) -> None:
        self._root = root
        self._threads = threads
        self._forgot = ""  # the folder that the last step of forgetting came to

    def paths(self, run: Run) -> tuple[Path, ...]:
        """Where the files of an ended run are."""
        folder = self._folder(run)
        return tuple(folder / name for name in run.files)

    async def keep(self, run: Run, outcome: Outcome) -> Outcome:
        """Copy what ``outcome`` names; it then has their names, and says what was left out."""
        try:
            async with asyncio.timeout(PATIENCE):
                names, faults = await self._threads.run(
                    _copy, outcome.files, self._folder(run), label=f"{run.job_id} {run.id}: files"
                )
        except TimeoutError:
            names, faults = (), [f"its files could not be read within {PATIENCE:g} s"]
        output = outcome.output
        if faults:
            output = "\n".join([output or "", *(f"[not attached: {one}]" for one in faults)])
        return replace(outcome, files=names, output=output)

    async def forget(self, before: datetime, keep: int) -> bool:
        """Remove a bounded number of old output files; whether there may be more of them.

        Raises OSError, and TimeoutError when the disk hangs; the next call begins anew.
        """
        after, self._forgot = self._forgot, ""
        async with asyncio.timeout(PATIENCE):
            output, old = self._root / "output", Old(before, keep)
            goes_on, _ = await self._threads.run(forget, output, old, after, label="old files")
        self._forgot = goes_on or ""
        return goes_on is not None

    def _folder(self, run: Run) -> Path:
        return self._root / "output" / safe_name(run.job_id) / f"{safe_name(run.id)}.files"


def _copy(sources: tuple[str, ...], folder: Path) -> tuple[tuple[str, ...], list[str]]:
    names: list[str] = []
    faults = [f"{len(sources) - MOST} more than {MOST} files"] if len(sources) > MOST else []
    for source in sources[:MOST]:
        base = safe_name(Path(source).name)
        name = base if base not in names else f"{len(names) + 1}-{base}"
        try:
            _copy_one(Path(source), folder, name)
        except OSError as error:
            faults.append(one_line(f"{base}: {error.strerror or error}"))
        except ValueError as error:  # a NUL, or what is no Unicode
            faults.append(one_line(f"{base}: no name of a file: {error}"))
        else:
            names.append(name)
    return tuple(names), faults


def _copy_one(source: Path, folder: Path, name: str) -> None:
    # Not blocking, because a pipe would wait for its writer.
    with open(os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as given:  # noqa: PTH123
        info = os.fstat(given.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise OSError(f"{source.name} is no plain file")
        if info.st_size > LARGEST:
            raise OSError(f"{info.st_size:,} bytes, more than {LARGEST:,}")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(target, "wb") as kept:  # noqa: PTH123
            shutil.copyfileobj(given, kept)
