"""What a fire does. One file a step: due → claim → run → record → deliver.

``Runtime`` is what a provider sees as ``Firing``; it owns every task that firing needs, and
ends them all, within bounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from acron.abc import Armed, Fired
from acron.errors import AcronError
from acron.events import Progressed
from acron.model import Decision, RunState
from acron.runtime import fire
from acron.runtime.attempts import Attempts
from acron.runtime.deliver import Deliverer
from acron.runtime.pulse import Pulse
from acron.runtime.record import Recorder, settle
from acron.runtime.run import CLEANUP
from acron.runtime.supervise import Supervisor
from acron.timetable import on_start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
    from datetime import datetime

    from acron.abc import Action, Adapter, CronScheduler, Store
    from acron.clock import Clock
    from acron.events import Events
    from acron.model import Job, Node, Outcome, Run, Settings
    from acron.runtime.run import Attempt
    from acron.threads import Threads

T = TypeVar("T")

log = logging.getLogger("acron.runtime")
#: The ends of runs, apart: whoever listens to events has no need of them.
ends = logging.getLogger("acron.runtime.ends")

#: A trigger that comes early by no more than this many seconds waits and fires.
EARLY = 30.0
#: Seconds between two looks for runs and skips that are old enough to forget.
PRUNE_INTERVAL = 3600.0


class Runtime:
    """One node at work on one store. Implements ``Firing``."""

    def __init__(
        self,
        *,
        store: Store,
        actions: Mapping[str, Action],
        adapters: Mapping[str, Adapter],
        provider: CronScheduler,
        fallback: CronScheduler,
        clock: Clock,
        events: Events,
        threads: Threads,
        settings: Settings,
        node: Node,
    ) -> None:
        self.store = store
        self.clock = clock
        self.events = events
        self.attempts = Attempts(lambda work, name: self._own(work, name=name), self._freed)
        self.pulse = Pulse(store, clock, events, node, self._describe)
        self.recorder = Recorder(store, self.pulse.trouble)
        self.deliverer = Deliverer(store, adapters, threads)
        self.node_id = node.id
        self._actions = actions
        self._settings = settings
        self._threads = threads
        self._supervisor = Supervisor(provider, fallback, self.pulse.trouble)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._claiming = asyncio.Lock()
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()
        self._draining = False
        self._left_owed = False
        self._pruned_at = float("-inf")
        self._keepers: list[asyncio.Task[None]] = []

    # --- what the steps of a fire use ---

    @property
    def free(self) -> int:
        """How many more runs may start here."""
        return 0 if self._draining else self._settings.max_running - len(self.attempts)

    @property
    def can_run(self) -> Collection[str]:
        """What the actions of this node offer, in the words of ``ActionSpec.needs``."""
        return frozenset().union(*(action.offers() for action in self._actions.values()))

    def action_of(self, job: Job) -> Action:
        return self._actions[job.action.needs.partition(":")[0]]

    def progressed(self, attempt: Attempt, done: float, total: float | None, note: str) -> None:
        if self.events.wanted:
            now = self.clock.now()
            self.events.emit(Progressed(now, attempt.job, attempt.run, done, total, note))

    def looked(self, now: datetime, *, held: int, full: bool) -> None:
        """A claim has seen all that was due at ``now``; ``held`` of it stays owed."""
        self.pulse.looked(now)
        self._left_owed = bool(held) or full

    def _freed(self) -> None:
        if self._left_owed:
            self._wake.set()

    def abandon(self, attempt: Attempt, outcome: Outcome) -> None:
        """The attempt will not end: record its end without it, and let it be seen."""
        self.attempts.abandon(attempt, outcome)
        self._own(fire.conclude(self, attempt, outcome), name=f"acron-end-{attempt.label}")
        self._beat_soon()
        if attempt.task is not None:
            attempt.task.add_done_callback(self._beat_soon)

    def _beat_soon(self, _: object = None) -> None:
        """Something that ``status`` shows has changed; at the end of all, ``stop`` beats."""
        if not self._draining:
            self._own(self.pulse.beat(force=True), name="acron-beat")

    # --- Firing ---

    async def due_in(self) -> float | None:
        due = await self.store.next_due(self.pulse.looked_at, self.can_run)
        return None if due is None else max(0.0, (due - self.clock.now()).total_seconds())

    async def tick(self) -> int:
        self._supervisor.sign_of_life()
        self.pulse.watch_clock()
        try:
            started = await self._fire_due()
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                self.pulse.trouble("tick failed", error)
            await self.pulse.beat()
            raise
        self.pulse.success()
        await self.pulse.beat()
        return started

    async def fire(self, job_id: str, scheduled_at: datetime | None = None) -> Fired:
        self._supervisor.sign_of_life()
        if self._draining:
            return Fired.DRAINING
        job = await self.store.get(job_id)
        due = None if job is None else job.due_at
        if due is None or (scheduled_at is not None and scheduled_at < due):
            return await self._stale(job_id, scheduled_at)
        early = (due - self.clock.now()).total_seconds()
        if early > EARLY:
            return Fired.EARLY
        if early > 0:
            await asyncio.sleep(early)
        if self.free <= 0:
            return Fired.DRAINING
        started = await self._fire_due(only=job_id)
        return Fired.CLAIMED if started else await self._stale(job_id, scheduled_at)

    async def _fire_due(self, *, only: str | None = None) -> int:
        """Claim and start, in a task of our own: a claim that its caller gives up becomes
        durable all the same, and its runs must then start."""

        async def contained() -> int | BaseException:
            try:
                async with self._claiming:
                    return await fire.fire_due(self, only=only)
            except BaseException as error:  # noqa: BLE001 (raised below, in the caller's task)
                return error

        started = await asyncio.shield(self._own(contained(), name="acron-claim"))
        if isinstance(started, BaseException):
            raise started
        return started

    async def fire_pending(self, job_id: str) -> int:
        """Claim what one job owes: its instant, or a pending run. For a node without trigger."""
        started = await self._fire_due(only=job_id)
        if not started:
            await self.changed(0.2)
        return started

    async def _stale(self, job_id: str, scheduled_at: datetime | None) -> Fired:
        """A trigger for what is not owed: somebody has it, or there is nothing."""
        runs = await self.store.runs(job_id, limit=100)
        taken = any(run.scheduled_at == scheduled_at for run in runs if scheduled_at is not None)
        return Fired.LOST if taken else Fired.NOTHING

    async def armed(self, until: datetime) -> AsyncIterator[Armed]:
        rows: list[tuple[datetime, str]] = []
        after = ""
        while page := await self.store.page(after):
            after = page[-1].id
            rows += [(due, job.id) for job in page if (due := job.due_at) and due <= until]
        for instant, job_id in sorted(rows):
            yield Armed(job_id, instant)
        self._supervisor.sign_of_life(armed=True)

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (a bound, not a deadline)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        woken = self._wake.is_set()
        self._wake.clear()
        return woken

    # --- life ---

    @property
    def node(self) -> Node:
        """What this node says of itself now."""
        return self.pulse.node

    def _describe(self, node: Node) -> Node:
        return replace(
            node,
            provider=self._supervisor.provider.name,
            draining=self._draining,
            running=len(self.attempts),
            abandoned=(*self.attempts.abandoned, *self._threads.abandoned),
            offers=tuple(sorted(self.can_run)),
        )

    async def start(self, *, trigger: bool = True) -> None:
        """Settle what the dead left, beat, then let the provider pull the trigger.

        Without ``trigger`` nothing fires but by ``tick`` and ``fire``.
        """
        await self.recover()
        await self.pulse.beat(force=True)
        if not trigger:
            return
        await self._boot()
        interval = self._settings.interval
        self._keepers = [
            asyncio.create_task(self._keep(self._listen, 1.0), name="acron-listener"),
            asyncio.create_task(self._keep(self._upkeep, 1.0), name="acron-upkeep"),
            asyncio.create_task(
                self._supervisor.serve(self._stop, self, interval), name="acron-supervisor"
            ),
        ]

    async def _boot(self) -> None:
        """``@reboot`` is due when a store goes from no live node to one: of nodes that start at
        the same time, the one that started first."""
        me = (self.pulse.node.started_at, self.node_id)
        nodes = await self.store.nodes()
        if any(node.alive and (node.started_at, node.id) < me for node in nodes):
            return
        jobs = await self.store.on_start()
        if not jobs:
            return
        now = self.clock.now()

        def change(_: str, job: Job | None, *__: object) -> Decision:
            return Decision(None if job is None else on_start(job, now))

        await self.store.write([job.id for job in jobs], change, now)

    async def recover(self) -> None:
        """End the runs of dead nodes, and send what they left unsent."""
        for decision in await self.store.recover(self.clock.now(), settle):
            for run in decision.runs:
                if run.state is RunState.UNKNOWN:
                    log.warning("%s %s unknown: its process died", run.job_id, run.id)
                if decision.job is not None and run.state.ended and run.deliveries:
                    self._own(fire.deliver(self, decision.job, run), name=f"acron-deliver-{run.id}")
            self._wake.set()

    async def ended_run(self, run_id: str) -> Run:
        """The run, at its durable end."""
        future = self.attempts.waiter(run_id)
        run = await self.store.run(run_id)
        if run is not None and run.state.ended:
            return run
        return await future

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 (a bound, not a deadline)
        """No new claims; running ones get ``timeout`` seconds, then end as ``interrupted``."""
        self._draining = True
        self._stop.set()
        self._wake.set()
        await self.pulse.beat(force=True)  # others may give their runs to somebody else
        with contextlib.suppress(TimeoutError):  # a claim in flight still starts what it takes
            async with asyncio.timeout(CLEANUP), self._claiming:
                pass
        await self.attempts.drain(timeout)

    def hurry(self) -> None:
        """Cut a drain short: record what runs as interrupted, without waiting for it."""
        self.attempts.hurry()

    async def stop(self, timeout: float) -> None:  # noqa: ASYNC109 (a bound, not a deadline)
        """Drain, and end every task this runtime owns; bounded whatever they do."""
        await self.drain(timeout)
        await self._end_tasks()
        await self.recorder.close(5.0)
        for keeper in self._keepers[:2]:
            keeper.cancel()
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=20.0)
        await self.pulse.beat(force=True)

    def _awaited(self) -> set[asyncio.Task[Any]]:
        return {task for task in self._tasks if not self.attempts.is_abandoned(task)}

    async def _end_tasks(self) -> None:
        """Wait for the ends and deliveries; what is stuck beyond its bound is left behind."""
        bound = 2 * CLEANUP
        pending = self._awaited()
        while pending and bound > 0:
            begun = asyncio.get_running_loop().time()
            await asyncio.wait(pending, timeout=bound, return_when=asyncio.FIRST_COMPLETED)
            bound -= asyncio.get_running_loop().time() - begun
            pending = self._awaited()
        for task in self._tasks:
            task.cancel()
        if pending:
            await asyncio.wait(pending, timeout=1.0)

    async def _listen(self) -> None:
        """Wake the trigger when the store has news, and pass on requests to cancel."""
        if await self.store.changed(self._settings.interval):
            self._wake.set()
            await self._cancel_requested()

    async def _cancel_requested(self) -> None:
        if not self.attempts:
            return
        runs = await self.store.runs(state=RunState.RUNNING, node=self.node_id, limit=10_000)
        for run in runs:
            if run.cancel_requested:
                self.attempts.stop(run.id, RunState.CANCELLED, "cancelled by request")

    async def _upkeep(self) -> None:
        """Every interval: beat and settle the dead; every hour: forget what is old."""
        await asyncio.sleep(self._settings.interval)
        await self.pulse.beat(force=True)
        await self.recover()
        if self.clock.monotonic() - self._pruned_at < PRUNE_INTERVAL:
            return
        self._pruned_at = self.clock.monotonic()
        before = self.clock.now() - timedelta(days=self._settings.retention_days)
        await self.store.prune(before, self._settings.retention_runs)

    async def _keep(self, step: Callable[[], Coroutine[Any, Any, None]], pause: float) -> None:
        """Run ``step`` for ever; a failing store is reported, and tried again after a pause."""
        while True:
            try:
                await step()
            except AcronError as error:
                self.pulse.trouble(step.__name__.strip("_"), error)
                await asyncio.sleep(pause)

    def _own(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._disown)
        return task

    def _disown(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self.pulse.trouble(f"task {task.get_name()}", error)
