"""The rules of time zones change: a country gives up its summer time, and weeks later the system's
files say so. What is to come is then computed anew."""

from __future__ import annotations

import asyncio
import logging
import zoneinfo
from pathlib import Path
from typing import TYPE_CHECKING

import tzdata  # type: ignore[import-untyped]

from acron.errors import ScheduleError
from acron.model import Decision
from acron.runtime.files import PATIENCE
from acron.timetable import forget_zones, replanned

if TYPE_CHECKING:
    from acron.model import Job
    from acron.runtime import Runtime

log = logging.getLogger("acron.runtime")

#: Jobs that are looked at together.
_PAGE = 100


def edition() -> str:
    """Which rules a zone that is looked up now has: ``2026a``, the edition of IANA's database; of
    the system's files, where there are some, else of the package ``tzdata``. Reads a line."""
    for folder in map(Path, zoneinfo.TZPATH):
        for name in ("tzdata.zi", "+VERSION"):
            try:
                with (folder / name).open(encoding="ascii", errors="replace") as file:
                    return file.readline(80).removeprefix("# version").strip()
            except OSError:
                continue  # not every system says it; what it has shows by its age
        try:
            return f"of {int((folder / 'Etc' / 'UTC').stat().st_mtime)}"
        except OSError:
            continue  # no zones here
    return str(tzdata.IANA_VERSION)


class Rules:
    """``known`` is the edition of the rules by which all that is to come was computed; the node
    tells it, so that what a process could not finish is done by the next one."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._read = ""  # by which this process reckons
        self.known = ""
        self._work: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Compute anew what a process that reckoned by another edition has left. Nothing waits
        for it: there may be a million jobs."""
        try:
            self._read = self.known = await self._edition()
        except TimeoutError as error:  # no reason not to start: ``look`` asks again
            self._rt.pulse.trouble("rules of time zones", error)
        nodes = await self._rt.store.nodes()
        others = {one.zones for one in nodes if one.id != self._rt.node_id} - {self.known}
        if others:
            self.known = min(others)
            self._begin()

    async def look(self) -> None:
        """Whether the system has other rules by now; if so, take them over. Raises TimeoutError
        when the disk hangs."""
        found = await self._edition()
        if found != self._read:
            self._read = found
            forget_zones()
        if self.known != self._read:
            self._begin()

    async def _edition(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return await self._rt.disk.run(edition, label="rules of time zones")

    def _begin(self) -> None:
        if self._work is None or self._work.done():
            self._work = self._rt.tasks.do(self._replan(), "new rules of time zones")

    async def _replan(self) -> None:
        store, before, rules, after, moved = self._rt.store, self.known, self._read, "", 0

        def change(_: str, job: Job | None, *__: object) -> Decision:
            return Decision(job and _replanned(job))

        while jobs := await store.page(after, _PAGE):
            after = jobs[-1].id
            stale = [job.id for job in jobs if _replanned(job) is not job]
            if stale:
                await store.write(stale, change, self._rt.clock.now())
                moved += len(stale)
            await asyncio.sleep(0)
        self.known = rules
        await self._rt.pulse.beat(force=True)
        if moved:
            log.warning(
                "time zones have other rules (%s, before %s): %d jobs fire at other instants",
                rules,
                before or "unknown",
                moved,
            )
            self._rt.wake()


def _replanned(job: Job) -> Job:
    try:
        return replanned(job)
    except ScheduleError:
        return job  # it is told when it is due
