"""The world of a story: processes, what they share, and everything that came of it."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from acron.app import Acron
from acron.model import RunState
from acron.stores.dead import DIED
from acron.testing.simulation.disk import Connection, Database, FileStore, Platter
from acron.testing.simulation.eras import Eras
from acron.testing.simulation.people import FUNCTIONS, Chat, People, Trigger, named
from acron.testing.simulation.process import Bystander, Process, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from acron.abc import Decide, Store
    from acron.model import Decision, Due, Run
    from acron.testing.simulation.loop import SimulatedLoop
    from acron.testing.simulation.script import Script


class Violation(NamedTuple):
    """An invariant that did not hold, and how it showed."""

    invariant: str
    how: str


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
        self.over = False  # what happens now is no part of the story
        self.random = Random(f"world {script.seed}")
        self.chat = Chat(self)
        self.people = People(self)
        self.processes = {name: Process(self, name) for name in script.processes}
        self.database = Database(loop.clock.monotonic)
        self.path = folder / "jobs.json"
        self.platter = Platter(folder)
        self._began = loop.clock.monotonic()
        self.start = loop.clock.now()
        self.runs: dict[str, Run] = {}  # as they were when last looked at
        self.settled: dict[str, Run] = {}  # whose ends a recovery wrote
        self._owners: dict[str, str | None] = {}  # the nodes that have claimed each run
        self.eras = Eras(self)
        self._probe: FileStore | None = None
        self.threads = threading.active_count()
        self.added: set[str] = set()  # whose creation was acknowledged
        self.edited: dict[tuple[str, datetime | None], int] = {}  # the last acknowledged revision
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

    # --- what is told

    def happened(self, what: str) -> None:
        if not self.over:
            self.trace.append((self.loop.clock.monotonic() - self._began, what))

    def broke(self, invariant: str, how: str) -> None:
        """An invariant does not hold."""
        violation = Violation(invariant, how)
        if violation not in self.violations and not self.over:
            self.violations.append(violation)
            self.happened(f"!! {invariant}: {how}")

    def tore(self) -> None:
        self.seen["torn write"] += 1

    def stopping(self, process: Process) -> None:
        self.happened(f"{process.name} drains")

    # --- what processes are made of

    def store_for(self, process: Process) -> Connection | FileStore:
        if self.script.kind == "files":
            return FileStore(self.path, process)
        return Connection(self.database, process)

    def make_app(self, process: Process, store: Store) -> Acron:
        app = Acron(
            store,
            app="simulated",
            clock=process.clock,
            settings=settings(self.folder),
            provider=Trigger(self, process),
            adapters={"chat": self.chat.adapter(process)},
        )
        for function in FUNCTIONS:
            app.action(function)
        return app

    async def probe(self) -> Store:
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

    def watched(self, decide: Decide) -> Decide:
        """``decide``, with an eye on what it starts (I7)."""

        def decided(due: Due, mint: Callable[[], int]) -> Decision | None:
            decision = decide(due, mint)
            for run in decision.runs if decision is not None else ():
                if run.state is not RunState.RUNNING or run.cancel_requested:
                    continue
                self._owners[run.id] = run.node
                paused = due.job.paused is not None and due.job.paused_until is None
                if paused and run.scheduled_at is not None and run.batch is None:
                    self.broke("I7", f"{due.job.id} was claimed while paused: {due.job.paused}")
            return decision

        return decided

    def ended(self, process: Process, decisions: Sequence[Decision | None]) -> None:
        """Tell what became of runs."""
        for decision in decisions:
            if decision is None:
                self.happened(f"{process.name} writes an end too late")
                continue
            for run in decision.runs:
                again = "" if run.state.ended else f" until {run.due_at:%H:%M:%S}"
                self.happened(f"{process.name}: {named(run)} is {run.state}{again}")
            for skip in decision.skips:
                self.happened(f"{process.name}: {skip.job_id} is skipped: {skip.reason}")

    def watch_recovery(self, process: Process, decisions: list[Decision]) -> None:
        """I2: the runs of a node are ended by others only once it is proven dead."""
        self.ended(process, decisions)
        for run in (run for decision in decisions for run in decision.runs):
            if run.id in self.settled:
                continue  # what it has to deliver was taken over
            if run.state.ended:
                self.settled[run.id] = run
            owner = self._owners.get(run.id)
            if run.error != DIED.error or owner is None:
                continue
            alive = any(one.up and one.node == owner for one in self.processes.values())
            lapsed = self.script.kind == "database" and self.database.lapsed(owner)
            if alive and not lapsed:
                self.broke("I2", f"{run.id} was ended, and its process lives")
