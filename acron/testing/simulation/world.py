"""The world of a story: processes, what they share, and everything that came of it."""

from __future__ import annotations

import re
import threading
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from acron.app import Acron
from acron.stores.book import Book
from acron.testing.simulation.chat import Chat
from acron.testing.simulation.database import Connection, Database
from acron.testing.simulation.disk import FileStore, Platter
from acron.testing.simulation.eras import Eras
from acron.testing.simulation.people import FUNCTIONS, People, Trigger
from acron.testing.simulation.process import Bystander, Process, settings
from acron.testing.simulation.watch import Watch

if TYPE_CHECKING:
    from datetime import datetime

    from acron.abc import Store
    from acron.model import Run
    from acron.testing.simulation.loop import SimulatedLoop
    from acron.testing.simulation.script import Script


class Violation(NamedTuple):
    """An invariant that did not hold, and how it showed."""

    invariant: str
    how: str

    @property
    def reason(self) -> str:
        """The same wherever and whenever it befell: two stories may fail for one reason."""
        return f"{self.invariant}: {_PARTICULAR.sub('…', self.how)}"


#: Ids, instants and numbers.
_PARTICULAR = re.compile(r"\S*\d\S*")


class World:
    """One play of one script. ``trace`` is what happened, ``violations`` what should not have;
    ``seen`` counts the faults that struck and the states that were reached."""

    def __init__(self, script: Script, loop: SimulatedLoop, folder: Path) -> None:
        self.script = script
        self.loop = loop
        self.folder = folder
        self.trace: list[tuple[float, str]] = []
        self.violations: list[Violation] = []
        self.seen: Counter[str] = Counter()
        self.left = b""  # jobs, runs and skips, as the end of the story finds them
        self.locked = ""  # why nobody can have the lock of jobs.json just now
        self.over = False  # what happens now is no part of the story
        self.random = Random(f"world {script.seed}")
        self.chat = Chat(self)
        self.people = People(self)
        self.processes = {name: Process(self, name) for name in script.processes}
        self.database = Database(self, loop.clock.monotonic)
        self.path = folder / "jobs.json"
        self.platter = Platter(folder)
        self._began = loop.clock.monotonic()
        self.start = loop.clock.now()
        self.runs: dict[str, Run] = {}  # as they were when last looked at
        self.eras = Eras(self)
        self.watch = Watch(self)
        self._probe: FileStore | None = None
        self.threads = threading.active_count()
        self.added: set[str] = set()  # whose creation was acknowledged
        self.edited: dict[tuple[str, datetime | None], int] = {}  # the last acknowledged revision
        self.lead = 0.0  # by how many seconds a clock has been ahead, at most
        self.deep = False  # somebody has left there what no parser takes
        self.cancelled: set[str] = set()  # runs that were told to be, before they began
        self.marked: set[str] = set()  # that somebody gave a field that no version knows

    def now(self) -> datetime:
        """By the clock of a machine that is right."""
        return self.loop.clock.now()

    def open_files(self) -> list[str]:
        """The files of this story that this process has open, where the system tells."""
        links = Path("/proc/self/fd")
        if self.script.kind == "database" or not links.is_dir():
            return []
        names = [str(link.resolve()) for link in links.iterdir()]
        return [name for name in names if name.startswith(f"{self.folder}/")]

    @property
    def book(self) -> Book:
        """The truth, as it was last read."""
        if self.script.kind == "database":
            return self.database.book
        stores = [one.store for one in self.processes.values() if isinstance(one.store, FileStore)]
        stores += [self._probe] if self._probe is not None else []
        return max((one.book for one in stores), key=lambda book: book.token, default=Book())

    # --- what is told

    def happened(self, what: str) -> None:
        if not self.over and not self.violations:  # what follows from those tells nothing
            self.trace.append((self.loop.clock.monotonic() - self._began, what))

    def broke(self, invariant: str, how: str) -> None:
        """An invariant does not hold."""
        violation = Violation(invariant, how)
        if violation not in self.violations and not self.over:
            self.happened(f"!! {invariant}: {how}")
            self.violations.append(violation)

    def tore(self) -> None:
        self.seen["torn write"] += 1

    # --- what processes are made of

    def store_for(self, process: Process) -> Connection | FileStore:
        if self.script.kind == "files":
            return FileStore(self.path, process)
        return Connection(self.database, process)

    def make_app(self, process: Process, store: Store) -> Acron:
        found, provider = process.found, Trigger(self, process)
        known = settings(self.folder)
        app = Acron(
            store,
            app="simulated",
            clock=process.clock,
            settings=replace(known, provider=found.replace(" ", "-")) if found else known,
            provider=None if found else provider,
            adapters={"chat": self.chat.adapter(process)},
        )
        for function in FUNCTIONS:
            app.action(function)
        return app

    async def probe(self) -> FileStore | Database:
        """The truth, by a way that never fails."""
        if self.script.kind == "database":
            if not self.database._opened:  # noqa: SLF001
                await self.database.open(self.now())
            return self.database
        if self._probe is None:
            store = FileStore(self.path, Bystander(self, "probe"))
            await store.open(self.now())
            self._probe = store
        return self._probe

    def drop_probe(self) -> None:
        if self._probe is not None:
            self._probe.drop()
            self._probe = None
