"""Where a script is played: each kind of step, as a method."""

from __future__ import annotations

import errno
import fcntl
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from acron.backfill import Backfill
from acron.model import Job, Run, RunState
from acron.occurrences import ALL
from acron.stores import lock
from acron.testing.simulation import checks, hand
from acron.testing.simulation.disk import FileStore
from acron.testing.simulation.people import TROUBLES, Trigger, named
from acron.testing.simulation.process import INTERVAL, Bystander, Process
from acron.testing.simulation.script import HOSTILE, WHO_WAITS
from acron.testing.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from acron.app import Acron
    from acron.testing.simulation.script import Step

#: Seconds of peace, at most: more than `checks.BOUND`, and the longest run. At least two looks of
#: each process at what nobody runs; between them, peace ends when all is quiet.
PEACE, SHORTEST = 1000.0, 520.0
#: In one story of so many, who is down stays so until the others have seen to what it left.
ORPHANED = 5
#: Jobs that are due at one instant, in a crowd.
CROWD = 11


class Stage(World):
    """A world, and what a script does to it."""

    _edits = 0

    async def play(self) -> None:
        """Everything in the script, then peace; or up to what should not have happened."""
        for process in self.processes.values():
            await process.start()
            await self.loop.advance(self.random.choice((0.0, 0.5, 3.0)))
        await self._declare()
        for step in self.script.steps:
            await self._do(step)
            await checks.after_step(self)
            if self.violations:
                return
        await self._make_peace()
        await checks.at_the_end(self)
        if self.violations:
            return
        for process in self.processes.values():
            await process.stop()
        await checks.after_all(self)

    async def _declare(self) -> None:
        for record in self.script.jobs:
            while not isinstance(done := await self._edit(_adding(record)), Job):
                if done is not None:
                    raise TypeError(f"{record} was not added: {done!r}")
                await self.loop.advance(1.0)  # nobody is open yet
            self.added.add(done.id)

    async def _edit(self, work: Callable[[Acron], Awaitable[Any]]) -> Any:
        """By a process that is up, or by a command beside it; None when nobody has answered."""
        self._edits += 1
        if self._edits % 3 == 0:
            self.seen["command"] += 1
            return await Process(self, f"command{self._edits}").command(work)
        for process in self.processes.values():
            if process.up and not process.partitioned and not process.frozen:
                return await process.do(work)
        return None

    async def _edited(self, work: Callable[[Acron], Awaitable[Any]]) -> None:
        """An edit that, once it was acknowledged, must last (I10)."""
        if isinstance(job := await self._edit(work), Job):
            self.edited[job.id, job.created_at] = job.revision

    async def _do(self, step: Step) -> None:
        self.happened(f"— {step}")
        await getattr(self, f"_do_{step.what}")(step)

    async def _do_wait(self, step: Step) -> None:
        await self.loop.advance(step.how)

    async def _do_start(self, step: Step) -> None:
        await self.processes[step.whom].start()

    async def _do_stop(self, step: Step) -> None:
        process = self.processes[step.whom]
        self.seen["stop"] += process.up
        self.seen["stop under a run"] += self._is_at_work(process)
        node, well = process.node, process.is_well
        if await process.stop() and well and self.script.kind == "database":
            checks.is_over(self, node)

    def _is_at_work(self, process: Process) -> bool:
        """Whether a run of its that has begun goes on."""
        open_ = (run for opened in self.book.open.values() for run in opened.values())
        begun = self.people.begun_at
        return process.up and any(one.node == process.node and one.id in begun for one in open_)

    async def _do_crash(self, step: Step) -> None:
        self.seen["crash"] += self.processes[step.whom].up
        self.seen["crash under a run"] += self._is_at_work(self.processes[step.whom])
        self.processes[step.whom].kill()

    async def _do_crash_at(self, step: Step) -> None:
        process = self.processes[step.whom]
        process.die_in, process.die_after, process.die_at = step.how

    async def _do_lose_answer(self, step: Step) -> None:
        process = self.processes[step.whom]
        process.lose_in, process.lose_of = step.how

    async def _do_jump(self, step: Step) -> None:
        before = self.processes[step.whom].clock.now()
        for process in self.processes.values():  # one machine, or all of them
            if process.name == step.whom or self.script.kind == "files":
                process.clock.skew += step.how
                self.lead = max(self.lead, process.clock.skew)
        self._moved("clock", before, self.processes[step.whom].clock.now())

    def _moved(self, what: str, before: datetime, now: datetime) -> None:
        """It matters where an instant was leapt over, or comes again."""
        jobs = self.book.jobs.values()
        over = any(job.due_at is not None and before < job.due_at <= now for job in jobs)
        again = any(job.last_fire_at is not None and job.last_fire_at > now for job in jobs)
        self.seen[f"{what} forward over an instant"] += over
        self.seen[f"{what} back before a start"] += again and now < before

    async def _do_drift(self, step: Step) -> None:
        self.processes[step.whom].clock.drift = step.how

    async def _do_suspend(self, step: Step) -> None:
        before = self.now()
        self.loop.clock.jump(step.how)
        self._moved("suspend", before, self.now())

    async def _do_slow(self, step: Step) -> None:
        self.processes[step.whom].slow = step.how

    async def _do_partition(self, step: Step) -> None:
        process = self.processes[step.whom]
        process.partitioned = True
        await self.loop.advance(step.how)
        process.partitioned = False

    async def _do_freeze(self, step: Step) -> None:
        """It is stopped for so long that its lease lapses."""
        self.seen["lapsed lease"] += self.processes[step.whom].up
        await self.processes[step.whom].freeze(200.0)

    async def _do_disk(self, step: Step) -> None:
        store = self.processes[step.whom].store
        if isinstance(store, FileStore):
            error, steps, name = step.how
            store.files.fail(steps, getattr(errno, error, 0), name)

    async def _do_lock(self, _: Step) -> None:
        """Somebody holds the lock, and does not let go for a while."""
        self.seen["stuck lock"] += 1
        holder = FileStore(self.path, Bystander(self, "holder"))
        with holder._lock.held():  # noqa: SLF001
            self.locked = "somebody else has the lock"
            await self.loop.advance(30.0)
            self.locked = ""
        holder._lock.close()  # noqa: SLF001

    async def _do_no_locks(self, _: Step) -> None:
        """Their file system has no locks, for a while: whoever needs one refuses."""

        def flock(*_: object) -> None:
            self.seen["no locks"] += 1
            raise OSError(errno.ENOLCK, "no locks available")

        without = SimpleNamespace(**{**vars(fcntl), "flock": flock})
        with patch.object(lock, "fcntl", without):
            self.locked = "there are no locks"
            await self.loop.advance(50.0)
            self.locked = ""

    async def _do_power(self, _: Step) -> None:
        """The machine goes off in the middle of whatever it does."""
        self.seen["power loss"] += 1
        for process in self.processes.values():
            process.kill()
        self.drop_probe()
        self.seen["power loss that takes something"] += self.platter.lose_power()
        store = FileStore(self.path, Bystander(self, "after the outage"))
        await store.open(self.now())
        self.eras.power_is_back(store.book)
        # What was only read, and not synced by then, is no promise.
        known = self.watch.heard | self.watch.settled.keys()
        left = {run.id: run for run in await store.runs(limit=ALL)}
        self.runs = left | {run_id: run for run_id, run in self.runs.items() if run_id in known}
        store.drop()

    async def _do_hand(self, step: Step) -> None:
        """Somebody's editor at jobs.json; what is not to be read at all is put right later."""
        if not self.path.exists():
            return
        self.seen[f"hand: {step.how}"] += 1
        good = self.path.read_bytes()
        if step.how in hand.UNREADABLE:
            self._write_by_hand(hand.spoilt(good, step.how))
            await self.loop.advance(100.0)
            self._write_by_hand(good)
        elif not self.deep:  # which no editor can read either
            self.deep = step.how == "deep record"
            data, marked = hand.edited(good, step.how)
            self.marked |= marked
            self._write_by_hand(data)

    def _write_by_hand(self, data: bytes) -> None:
        """As an editor does that takes care: durable, and at once."""
        with self.path.open("r+b") as file:
            file.truncate()
            file.write(data)
            file.flush()
            self.platter.changed(file.fileno())
            self.platter.synced(file.fileno(), data)

    async def _whom(self, step: Step) -> str:
        """The job that is meant: by its id, or because it has something to lose, soon."""
        if step.whom != WHO_WAITS:
            return step.whom
        for _ in range(30):
            if waiting := sorted(run.job_id for run in self.book.pending.values()):
                self.seen[f"{step.what} of what waits"] += 1
                return waiting[0]
            await self.loop.advance(5.0)
        return str(self.script.jobs[0]["id"])

    async def _do_pause(self, step: Step) -> None:
        whom = await self._whom(step)
        await self._edited(lambda app: app.pause(whom, "by hand", until=step.how))

    async def _do_resume(self, step: Step) -> None:
        await self._edited(lambda app: app.resume(step.whom))

    async def _do_edit(self, step: Step) -> None:
        await self._edited(lambda app: app.edit(step.whom, **step.how))

    async def _do_reschedule(self, step: Step) -> None:
        under = any(
            run.state.value == "running" for run in self.book.open.get(step.whom, {}).values()
        )
        self.seen["schedule edited under a run"] += under
        await self._edited(lambda app: app.edit(step.whom, schedule=step.how))

    async def _do_edit_from_behind(self, step: Step) -> None:
        """A machine whose clock is ahead has fired what another one, that edits, sees coming. Not
        by more than a day: that is not believed, so that the job need not wait for it."""
        if any(process.clock.skew for process in self.processes.values()):
            return
        await self._edited(lambda app: app.edit(step.whom, schedule="*/2 * * * *"))
        ahead = next(iter(self.processes.values()))
        ahead.clock.skew += 150.0
        await self.loop.advance(40.0)
        ahead.clock.skew -= 150.0
        self._edits += 2 - self._edits % 3  # the next is a command
        await self._edited(lambda app: app.edit(step.whom, tz=step.how))

    async def _do_outage_and_edit(self, step: Step) -> None:
        """All are killed, and while nobody serves, somebody changes what is owed by then."""
        for process in self.processes.values():
            process.kill()
        await self.loop.advance(130.0)
        self._edits += 2 - self._edits % 3  # the next is a command
        await self._do_reschedule(step)
        for process in self.processes.values():
            await process.start()

    async def _do_prune(self, step: Step) -> None:
        """Retention, by a clock that is right, which spares two runs of each job and three
        minutes."""
        before = self.now() - timedelta(minutes=3)
        await self.processes[step.whom].do(lambda app: app.store.prune(before, 2))

    async def _do_crowd(self, _: Step) -> None:
        """More than a process may run at once, all due at one instant."""
        at = (self.now() + timedelta(seconds=30)).isoformat()

        async def add(app: Acron) -> int:
            for number in range(CROWD):
                action = "work" if number % 2 else "work_in_a_thread"
                await app.add(at, action, id=f"crowd{self._edits}-{number}", timeout=20)
            return CROWD

        self.seen["crowd"] += await self._edit(add) == CROWD

    async def _do_remove(self, step: Step) -> None:
        whom = await self._whom(step)

        async def remove(app: Acron) -> str:
            self.added.discard(whom)  # whoever dies of it does not say whether it is done
            await app.remove(whom)
            return whom

        if await self._edit(remove) == whom:
            self.people.removed.add(whom)

    async def _do_add(self, step: Step) -> None:
        done = await self._edit(_adding(step.how))
        if isinstance(done, Job):
            self.added.add(done.id)
            self.people.removed.discard(done.id)

    async def _do_run_now(self, step: Step) -> None:
        run = await self._edit(lambda app: app.run_now(step.whom))
        if isinstance(run, Run) and run.scheduled_at is not None:
            self.broke("I17", f"the manual run {run.id} carries {run.scheduled_at}")

    async def _do_backfill(self, step: Step) -> None:
        self.seen["backfill"] += 1
        until = self.now()
        since = max(self.start, until - timedelta(minutes=10))
        job = await (await self.probe()).get(step.whom)
        done = await self._edit(lambda app: app.backfill(step.whom, since, until))
        if isinstance(done, Backfill) and job is not None:
            await checks.is_filled(self, job, done, since, until)

    async def _do_cancel(self, _: Step) -> None:
        async def cancel(app: Acron) -> None:
            waiting = await app.runs(state="pending", limit=1)
            for run in waiting or await app.runs(state="running", limit=1):
                told = await app.cancel(run.id)
                if told is not None and told.state is RunState.CANCELLED:
                    self.cancelled.add(told.id)

        await self._edit(cancel)

    async def _do_trigger(self, step: Step) -> None:
        """An outside trigger, for what may be long gone."""
        job = self.book.jobs.get(step.how)
        owed = self.now() if job is None or job.due_at is None else job.due_at
        ago = self.random.choice((None, None, 0, 1, 60))
        at = owed if ago is None else self.now() - timedelta(minutes=ago)
        process = self.processes[step.whom]
        answer = await process.do(lambda app: app._firing().fire(step.how, at))  # noqa: SLF001
        told = type(answer).__name__ if isinstance(answer, Exception) else answer  # texts vary
        self.seen[f"trigger {told}"] += 1
        self.seen["hostile id"] += step.how in HOSTILE and answer is not None

    async def _do_provider(self, step: Step) -> None:
        process = self.processes[step.whom]
        if step.how not in TROUBLES:  # nobody finds it when the process comes up again
            await process.stop()
            process.found = step.how
            await process.start()
            return
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
            process.found = ""
            process.clock.skew = process.clock.drift = 0.0
            if isinstance(process.store, FileStore):
                process.store.files.fail(0, 0)
        self.chat.next.clear()
        self.people.peaceful = True
        await self.loop.advance(130.0)
        if self.script.seed % ORPHANED == 0 and any(one.up for one in self.processes.values()):
            await self.loop.advance(3 * INTERVAL)
            await checks.nobody_is_orphaned(self)
        for process in self.processes.values():
            await process.start()
        await self._cancel_what_runs()
        end = self.loop.time() + PEACE
        await self.loop.advance(SHORTEST)
        while self.loop.time() < end and not await checks.is_quiet(self):
            await self.loop.advance(60.0)

    async def _cancel_what_runs(self) -> None:
        """In peace, who is asked to end does."""
        await self.loop.advance(1.0)
        for process in self.processes.values():
            runs = await (await self.probe()).runs(
                state=RunState.RUNNING, node=process.node, limit=1
            )
            begun = [run for run in runs if run.id in self.people.begun_at]
            if not begun or self.loop.blocked_for(process.life):
                continue
            (run,) = begun
            asked = await process.do(lambda app, run=run: app.cancel(run.id))  # type: ignore[misc]
            await self.loop.advance(60.0)
            left = await (await self.probe()).run(run.id)
            self.seen["cancelled in peace"] += 1
            if isinstance(asked, Run) and left is not None and not left.state.ended:
                self.broke("I11", f"{named(run)} was asked to end, and goes on")


def _adding(record: dict[str, Any]) -> Callable[[Acron], Awaitable[Job]]:
    return lambda app: app.add(**record)
