"""Where a script is played: processes, what they share, and everything that came of it."""

from __future__ import annotations

import errno
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from acron.app import Acron
from acron.model import Job, RunState
from acron.stores.dead import DIED
from acron.testing.simulation.disk import Connection, Database, FileStore, Platter
from acron.testing.simulation.people import Chat, People, Trigger
from acron.testing.simulation.process import Process, settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from datetime import datetime

    from acron.abc import Decide, Store
    from acron.model import Decision, Due, Run
    from acron.testing.harness import VirtualTime
    from acron.testing.simulation.script import Script, Step


class Violation(NamedTuple):
    """An invariant that did not hold, and how it showed."""

    invariant: str
    how: str


class World:
    """One play of one script. ``trace`` is what happened, ``violations`` what should not have;
    ``seen`` counts the faults that struck and the states that were reached."""

    def __init__(self, script: Script, time: VirtualTime, folder: Path) -> None:
        self.script = script
        self.time = time
        self.trace: list[tuple[float, str]] = []
        self.violations: list[Violation] = []
        self.seen: Counter[str] = Counter()
        self.over = False  # what happens now is no part of the story
        self.random = Random(f"world {script.seed}")
        self.chat = Chat(self)
        self.people = People(self)
        self.processes = {name: Process(self, name) for name in script.processes}
        self.database = Database(time.clock.monotonic)
        self._path = folder / "jobs.json"
        self.platter = Platter(folder)
        self._began = time.clock.monotonic()
        self.start = time.now()
        self.runs: dict[str, Run] = {}  # as they were when last looked at
        self._owners: dict[str, str | None] = {}  # the nodes that have claimed each run
        self.rebound: dict[str, datetime] = {}  # when a job's schedule was last changed

    # --- what is told

    def happened(self, what: str) -> None:
        if not self.over:
            self.trace.append((self.time.clock.monotonic() - self._began, what))

    def broke(self, invariant: str, how: str) -> None:
        """An invariant does not hold."""
        violation = Violation(invariant, how)
        if violation not in self.violations and not self.over:
            self.violations.append(violation)
            self.happened(f"!! {invariant}: {how}")

    def tore(self) -> None:
        self.seen["torn write"] += 1

    def bury(self, dead: Callable[[Context], bool]) -> None:
        self.time._here().bury(dead)  # noqa: SLF001 (its other half)

    def stopping(self, process: Process) -> None:
        self.happened(f"{process.name} drains")

    # --- what processes are made of

    def store_for(self, process: Process) -> Connection | FileStore:
        if self.script.kind == "files":
            return FileStore(self._path, process)
        return Connection(self.database, process)

    def make_app(self, process: Process, store: Store) -> Acron:
        app = Acron(
            store,
            app="simulated",
            clock=process.clock,
            settings=settings(),
            provider=Trigger(self, process),
            adapters={"chat": self.chat.adapter(process)},
        )
        self.people.enter(app, process)
        return app

    async def probe(self) -> Store:
        """The truth, by a way that never fails."""
        if self.script.kind == "database":
            if not self.database._opened:  # noqa: SLF001
                await self.database.open(self.time.now())
            return self.database
        store = FileStore(self._path, Process(self, "probe"))
        await store.open(self.time.now())
        return store

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

    def watch_recovery(self, decisions: list[Decision]) -> None:
        """I2: the runs of a node are ended by others only once it is proven dead."""
        for run in (run for decision in decisions for run in decision.runs):
            owner = self._owners.get(run.id)
            if run.error != DIED.error or owner is None:
                continue
            alive = any(one.up and one.node == owner for one in self.processes.values())
            lapsed = self.script.kind == "database" and self.database.lapsed(owner)
            if alive and not lapsed:
                self.broke("I2", f"{run.id} was ended, and its process lives")

    # --- playing

    async def play(self, *, until: int | None = None) -> None:
        """Everything in the script, then peace. With ``until``, only so many steps."""
        from acron.testing.simulation import checks  # noqa: PLC0415 (it looks at worlds)

        for process in self.processes.values():
            await process.start()
            await self.time.advance(self.random.choice((0.0, 0.5, 3.0)))
        await self._declare()
        for step in self.script.steps[:until]:
            await self._do(step)
            await checks.after_step(self)
        await self._make_peace()
        await checks.at_the_end(self)
        for process in self.processes.values():
            await process.stop()
        await checks.after_all(self)

    async def _declare(self) -> None:
        for record in self.script.jobs:
            done = await self._edit(lambda app, record=record: app.add(**record))
            while done is None:  # nobody is open yet
                await self.time.advance(1.0)
                done = await self._edit(lambda app, record=record: app.add(**record))
            if not isinstance(done, Job):
                raise TypeError(f"{record} was not added: {done!r}")

    async def _edit(self, work: Callable[[Acron], Any]) -> Any:
        """By the first process that is up; a command of its own when none is."""
        for process in self.processes.values():
            if process.up and not process.partitioned and not process.frozen:
                return await process.do(work)
        return None

    async def _do(self, step: Step) -> None:
        self.happened(f"— {step}")
        await getattr(self, f"_do_{step.what}")(step)

    async def _do_wait(self, step: Step) -> None:
        await self.time.advance(step.how)

    async def _do_start(self, step: Step) -> None:
        await self.processes[step.whom].start()

    async def _do_stop(self, step: Step) -> None:
        self.seen["stop"] += 1
        await self.processes[step.whom].stop()

    async def _do_crash(self, step: Step) -> None:
        self.seen["crash"] += self.processes[step.whom].up
        self.processes[step.whom].kill()

    async def _do_crash_at(self, step: Step) -> None:
        process = self.processes[step.whom]
        process.die_in, process.die_after = step.how
        self.seen["crash after a commit" if step.how[1] else "crash before a commit"] += 1

    async def _do_lose_answer(self, step: Step) -> None:
        self.seen["lost acknowledgement"] += 1
        self.processes[step.whom].lose_in = step.how

    async def _do_jump(self, step: Step) -> None:
        self.seen["clock forward" if step.how > 0 else "clock back"] += 1
        for process in self.processes.values():  # one machine, or all of them
            if process.name == step.whom or self.script.kind == "files":
                process.clock.skew += step.how

    async def _do_suspend(self, step: Step) -> None:
        self.seen["suspend"] += 1
        self.time.jump_clock(step.how)

    async def _do_slow(self, step: Step) -> None:
        self.seen["slow store"] += 1
        self.processes[step.whom].slow = step.how

    async def _do_partition(self, step: Step) -> None:
        self.seen["partition"] += 1
        process = self.processes[step.whom]
        process.partitioned = True
        await self.time.advance(step.how)
        process.partitioned = False

    async def _do_freeze(self, step: Step) -> None:
        """Its loop is blocked for so long that its lease lapses."""
        self.seen["lapsed lease"] += 1
        process = self.processes[step.whom]
        process.frozen = True
        await self.time.advance(130.0)
        process.frozen = False

    async def _do_disk(self, step: Step) -> None:
        store = self.processes[step.whom].store
        if isinstance(store, FileStore):
            name, steps = step.how
            self.seen[f"disk {name}"] += 1
            store.files.fail(steps, getattr(errno, name, 0))

    async def _do_lock(self, _: Step) -> None:
        """Somebody holds the lock, and does not let go for a while."""
        self.seen["stuck lock"] += 1
        holder = FileStore(self._path, Process(self, "holder"))
        with holder._lock.held():  # noqa: SLF001
            await self.time.advance(30.0)
        holder._lock.close()  # noqa: SLF001

    async def _do_power(self, _: Step) -> None:
        """The machine goes off in the middle of whatever it does."""
        self.seen["power loss"] += 1
        for process in self.processes.values():
            process.kill()
        self.platter.lose_power()

    async def _do_junk(self, _: Step) -> None:
        """Somebody's editor leaves half a file behind, and puts it right later."""
        self.seen["truncated jobs.json"] += 1
        if not self._path.exists():
            return
        good = self._path.read_bytes()
        self._path.write_bytes(good[: len(good) // 2])
        await self.time.advance(100.0)
        self._path.write_bytes(good)

    async def _do_pause(self, step: Step) -> None:
        await self._edit(lambda app: app.pause(step.whom, "by hand"))

    async def _do_resume(self, step: Step) -> None:
        await self._edit(lambda app: app.resume(step.whom))

    async def _do_edit(self, step: Step) -> None:
        self._anchored(await self._edit(lambda app: app.edit(step.whom, **step.how)))

    async def _do_reschedule(self, step: Step) -> None:
        self._anchored(await self._edit(lambda app: app.edit(step.whom, schedule=step.how)))

    def _anchored(self, done: Any) -> None:
        """An edit may have begun the job's schedule anew."""
        if isinstance(done, Job) and done.cursor is not None:
            self.rebound[done.id] = done.cursor

    async def _do_remove(self, step: Step) -> None:
        async def remove(app: Acron) -> str:
            await app.remove(step.whom)
            return step.whom

        if await self._edit(remove) == step.whom:
            self.people.removed.add(step.whom)

    async def _do_add(self, step: Step) -> None:
        await self._edit(lambda app: app.add(**step.how))

    async def _do_run_now(self, step: Step) -> None:
        run = await self._edit(lambda app: app.run_now(step.whom))
        if hasattr(run, "scheduled_at") and run.scheduled_at is not None:
            self.broke("I17", f"the manual run {run.id} carries {run.scheduled_at}")

    async def _do_cancel(self, _: Step) -> None:
        async def cancel(app: Acron) -> None:
            for run in await app.runs(state="running", limit=1):
                await app.cancel(run.id)

        await self._edit(cancel)

    async def _do_trigger(self, step: Step) -> None:
        """An outside trigger, for what may be long gone."""
        self.seen["duplicate trigger"] += 1
        at = self.time.now() - timedelta(minutes=self.random.choice((0, 1, 60)))
        await self.processes[step.whom].do(lambda app: app._firing().fire(step.how, at))  # noqa: SLF001

    async def _do_provider(self, step: Step) -> None:
        self.seen[f"provider {step.how}"] += 1
        process = self.processes[step.whom]
        if process.up and process.app is not None and isinstance(process.app._provider, Trigger):  # noqa: SLF001
            process.app._provider.fail(step.how)  # noqa: SLF001

    async def _do_chat(self, step: Step) -> None:
        self.chat.next.append(step.how)

    async def _make_peace(self) -> None:
        """Faults end, clocks are put right, and one process at least is up."""
        self.happened("— peace")
        for process in self.processes.values():
            process.partitioned = process.frozen = False
            process.slow, process.die_in, process.lose_in = 0.0, 0, 0
            process.clock.skew = 0.0
            if isinstance(process.store, FileStore):
                process.store.files.fail(0, 0)
        self.chat.next.clear()
        self.people.peaceful = True
        await self.time.advance(130.0)
        for process in self.processes.values():
            await process.start()
        await self.time.advance(1500.0)
