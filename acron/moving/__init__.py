"""Into a store and out of it: the archive of another store, and jobs of other schedulers.

``archive`` is the format, ``restore`` puts one into a store. ``crontab``, ``apscheduler`` and
``seed`` turn strange jobs into records, and ``plant`` stores those. What cannot be brought along
is told, never dropped in silence.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, NamedTuple

from msgspec import Struct, field


class LeftOut(NamedTuple):
    """``what`` was found at ``where`` and is not, or not wholly, brought along, and ``why``."""

    where: str
    what: str
    why: str


class Draft(NamedTuple):
    """A job's record (see ``acron.records``), and the place it was read from."""

    where: str
    record: dict[str, Any]


class Found(NamedTuple):
    """What was read from another scheduler."""

    drafts: list[Draft]
    left_out: list[LeftOut]


class Report(Struct):
    """What an import has done so far, in jobs and in rows of the ledger."""

    added: int = 0
    replaced: int = 0
    kept: int = 0  # the store's own job stays, the other is not imported
    unchanged: int = 0  # there already
    runs: int = 0
    skips: int = 0
    left_out: list[LeftOut] = field(default_factory=list)

    def __str__(self) -> str:
        told = [f"{counted(self.added, 'job')} added"]
        told += [
            f"{count} {what}"
            for what, count in {
                "replaced": self.replaced,
                "kept": self.kept,
                "there already": self.unchanged,
            }.items()
            if count
        ]
        rows = {"run": self.runs, "skip": self.skips, "thing": len(self.left_out)}
        told += [counted(count, what) for what, count in rows.items() if count]
        return ", ".join(told) + (" left out" if self.left_out else "")


def counted(count: int, what: str) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def made_id(name: str, *parts: str) -> str:
    """An id from a name for people and all that makes the job what it is: the same each time."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    digest = blake2b("\0".join(parts).encode(errors="surrogatepass"), digest_size=3).hexdigest()
    return f"{slug or 'job'}-{digest}"
