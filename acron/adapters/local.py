"""Tell the file system: ``output/<job>/<time>.md``."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import aiofiles
import aiofiles.os

from acron.abc import Adapter, Message, Receipt
from acron.errors import DeliveryError
from acron.text import many_lines, one_line, safe_name

if TYPE_CHECKING:
    from datetime import datetime

    from acron.model import Run


class LocalAdapter(Adapter):
    """Writes each message to a Markdown file of its own: ``<root>/output/<job>/<time>-<run>.md``.

    ``<job>`` is the job's id, made safe; ``<time>`` the run's start in UTC. Files are 0600,
    directories 0700. A file is whole or not there; sending again writes the same file again.
    It is a copy for people, not fsynced: what must last is in the run row. The receipt is the
    path below ``root``. Raises DeliveryError when it cannot be written.
    """

    repeatable = True
    verbatim = True

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def name(self) -> str:
        return "local"

    async def send(self, message: Message) -> Receipt:
        path = path_of(message.run)
        # Cancelled half-way, a thread of aiofiles may still open the file: let the writing end.
        writing = asyncio.create_task(self._write(path, _content(message)))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait({writing})
            raise
        except OSError as error:
            where = one_line(str(self.root / path))
            raise DeliveryError(f"cannot write {where}: {error.strerror or error}") from error
        return Receipt(id=path.as_posix())

    async def _write(self, path: Path, content: str) -> None:
        target = self.root / path
        await aiofiles.os.makedirs(self.root, mode=0o700, exist_ok=True)
        for directory in (target.parent.parent, target.parent):
            await aiofiles.os.makedirs(directory, mode=0o700, exist_ok=True)
        # Nobody else writes to this name: two sends of one run may go on at once.
        draft = target.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            async with aiofiles.open(draft, "x", encoding="utf-8", opener=_private) as file:
                await file.write(content)
            await aiofiles.os.replace(draft, target)
        except BaseException:
            with suppress(FileNotFoundError):
                await aiofiles.os.unlink(draft)
            raise


def path_of(run: Run) -> Path:
    """Where the output of ``run`` is written, below the root."""
    start = run.started_at or run.due_at
    return Path("output", safe_name(run.job_id), f"{start:%Y%m%dT%H%M%SZ}-{safe_name(run.id)}.md")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _content(message: Message) -> str:
    job, run = message.job, message.run
    facts = {
        "job": job.id,
        "run": f"{run.id}, attempt {run.attempt}",
        "scheduled": _shown(run.scheduled_at) or "by hand",
        "started": _shown(run.started_at),
        "finished": _shown(run.finished_at),
        "state": run.state.value,
    }
    head = "\n".join(f"- {key}: {one_line(value, 500)}" for key, value in facts.items() if value)
    return (
        f"# {one_line(job.name or job.id, 500)}\n\n{head}\n\n{many_lines(message.text).strip()}\n"
    )


def _shown(instant: datetime | None) -> str:
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S} UTC"
