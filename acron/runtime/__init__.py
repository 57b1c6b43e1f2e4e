"""What a fire does. One file a step: due → claim → run → record → deliver.

``Runtime`` is what a provider sees as ``Firing``; it owns every task that firing needs, and
ends them all, within bounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from acron.abc import Armed, Fired
from acron.errors import AcronError
from acron.events import Progressed, Troubled
from acron.model import RunState
from acron.runtime import fire
from acron.runtime.deliver import Deliverer
from acron.runtime.record import Recorder, settle
from acron.runtime.run import CLEANUP
from acron.runtime.supervise import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
    from datetime import datetime

    from acron.abc import Action, Adapter, CronScheduler, Store
    from acron.clock import Clock
    from acron.events import Events
    from acron.model import Job, Node, Outcome, Run, Settings
    from acron.runtime.run import Attempt
    from acron.threads import Threads

log = logging.getLogger("acron.runtime")

#: A trigger that comes early by no more than this many seconds waits and fires.
EARLY = 30.0
#: A wall clock that moved this many seconds against the monotonic one has jumped, or slept.
JUMP = 5.0
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
        self.recorder = Recorder(store, self.trouble)
        self.deliverer = Deliverer(store, adapters, threads)
        self._actions = actions
        self._settings = settings
        self._threads = threads
        self._supervisor = Supervisor(provider, fallback, self.trouble)
        self._node = node
        self._attempts: dict[str, Attempt] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._abandoned: dict[asyncio.Task[None], str] = {}
        self._waiters: dict[str, list[asyncio.Future[Run]]] = {}
        self._claiming = asyncio.Lock()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._wake = asyncio.Event()
        self._draining = False
        self._left_owed = False
        self._looked_at = node.started_at
        self._beat_at = float("-inf")
        self._pruned_at = float("-inf")
        self._anchor = (clock.now(), clock.monotonic())
        self.serving_since = node.started_at
        self._keepers: list[asyncio.Task[None]] = []

    # --- what the steps of a fire use ---

    @property
    def node_id(self) -> str:
        return self._node.id

    @property
    def free(self) -> int:
        """How many more runs may start here."""
        return 0 if self._draining else self._settings.max_running - len(self._attempts)

    @property
    def can_run(self) -> Collection[str]:
        """What the actions of this node offer, in the words of ``ActionSpec.needs``."""
        return frozenset().union(*(action.offers() for action in self._actions.values()))

    def action_of(self, job: Job) -> Action:
        return self._actions[job.action.needs.partition(":")[0]]

    def reporter(self, attempt: Attempt) -> Callable[[float, float | None, str], None]:
        def report(done: float, total: float | None, note: str) -> None:
            if self.events.wanted:
                now = self.clock.now()
                self.events.emit(Progressed(now, attempt.job, attempt.run, done, total, note))

        return report

    def looked(self, now: datetime, *, held: int, full: bool) -> None:
        """A claim has seen all that was due at ``now``; ``held`` of it stays owed."""
        self._looked_at = now
        self._left_owed = bool(held) or full

    def spawn(self, attempt: Attempt, work: Coroutine[Any, Any, None]) -> None:
        self._attempts[attempt.run.id] = attempt
        attempt.task = self._own(work, name=f"acron-run-{attempt.label}")
        attempt.task.add_done_callback(lambda _: self.release(attempt))

    def release(self, attempt: Attempt) -> None:
        """Its slot is free. What waited for it may go on."""
        if self._attempts.pop(attempt.run.id, None) is not None and self._left_owed:
            self._wake.set()

    def abandon(self, attempt: Attempt, outcome: Outcome) -> None:
        """The attempt will not end: record its end without it, and keep count of it."""
        task = attempt.task
        if task is not None and not task.done():
            self._abandoned[task] = attempt.label
            task.add_done_callback(self._returned)
        log.error("run %s was abandoned: %s", attempt.label, outcome.error)
        self._own(fire.conclude(self, attempt, outcome), name=f"acron-end-{attempt.label}")
        self._own(self._beat(force=True), name="acron-beat")

    def _returned(self, task: asyncio.Task[None]) -> None:
        """An abandoned attempt has ended after all; its outcome stays what was recorded."""
        log.warning("run %s, abandoned before, has ended", self._abandoned.pop(task, "?"))
        if not self._draining:
            self._own(self._beat(force=True), name="acron-beat")

    def ended(self, job: Job, run: Run, retry: Run | None) -> None:
        """A run's end is durable: log it, and tell whoever waits for it."""
        after = f", attempt {retry.attempt} at {retry.due_at.isoformat()}" if retry else ""
        took = ((run.finished_at or run.due_at) - (run.started_at or run.due_at)).total_seconds()
        log.info("%s %s %s in %.3f s%s", job.id, run.id, run.state.value, took, after)
        if run.error:
            log.warning("%s %s %s: %s", job.id, run.id, run.state.value, run.error)
        for waiter in self._waiters.pop(run.id, ()):
            if not waiter.done():
                waiter.set_result(run)

    def trouble(self, what: str, error: BaseException | None) -> None:
        """Something of acron's own failed: log it, keep it for ``status``, go on."""
        text = what if error is None else f"{what}: {type(error).__name__}: {error}"
        log.error("%s", text)
        self._node = replace(self._node, last_error=text)
        if self.events.wanted:
            self.events.emit(Troubled(self.clock.now(), what, text))

    # --- Firing ---

    async def due_in(self) -> float | None:
        due = await self.store.next_due(self._looked_at, self.can_run)
        return None if due is None else max(0.0, (due - self.clock.now()).total_seconds())

    async def tick(self) -> int:
        self._supervisor.sign_of_life()
        self._watch_clock()
        try:
            async with self._claiming:
                started = await fire.fire_due(self)
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                self.trouble("tick failed", error)
            await self._beat()
            raise
        self._node = replace(self._node, last_success_at=self.clock.now(), last_error=None)
        await self._beat()
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
        async with self._claiming:
            if self.free <= 0:
                return Fired.DRAINING
            started = await fire.fire_due(self, only=job_id)
        return Fired.CLAIMED if started else await self._stale(job_id, scheduled_at)

    async def fire_pending(self, job_id: str) -> int:
        """Claim what one job owes: its instant, or a pending run. For a node without trigger."""
        async with self._claiming:
            started = await fire.fire_due(self, only=job_id)
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
        return replace(
            self._node,
            provider=self._supervisor.provider.name,
            draining=self._draining,
            running=len(self._attempts),
            abandoned=(*self._abandoned.values(), *self._threads.abandoned),
            offers=tuple(sorted(self.can_run)),
        )

    async def start(self, *, trigger: bool = True) -> None:
        """Settle what the dead left, beat, then let the provider pull the trigger.

        Without ``trigger`` nothing fires but by ``tick`` and ``fire``.
        """
        await self.recover()
        await self._beat(force=True)
        if not trigger:
            return
        interval = self._settings.interval
        self._keepers = [
            asyncio.create_task(self._keep(self._listen, 1.0), name="acron-listener"),
            asyncio.create_task(self._keep(self._upkeep, 1.0), name="acron-upkeep"),
            asyncio.create_task(
                self._supervisor.serve(self._stop, self, interval), name="acron-supervisor"
            ),
        ]

    async def recover(self) -> None:
        """End the runs of dead nodes, and send what they left unsent."""
        for decision in await self.store.recover(self.clock.now(), settle):
            for run in decision.runs:
                if run.state is RunState.UNKNOWN:
                    log.warning("%s %s unknown: its process died", run.job_id, run.id)
                if decision.job is not None and run.state.ended and run.deliveries:
                    self._own(fire.deliver(self, decision.job, run), name=f"acron-deliver-{run.id}")
            self._wake.set()

    def stop_run(self, run_id: str, state: RunState, why: str) -> bool:
        """Ask one run of this node to end; False when it is not here."""
        attempt = self._attempts.get(run_id)
        if attempt is None:
            return False
        attempt.stop(state, why)
        return True

    async def ended_run(self, run_id: str) -> Run:
        """The run, at its durable end."""
        future: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(run_id, []).append(future)
        run = await self.store.run(run_id)
        if run is not None and run.state.ended:
            return run
        return await future

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 (a bound, not a deadline)
        """No new claims; running ones get ``timeout`` seconds, then end as ``interrupted``."""
        self._draining = True
        self._stop.set()
        self._wake.set()
        await self._wait_for_runs(timeout)
        for attempt in list(self._attempts.values()):
            attempt.stop(RunState.INTERRUPTED, "acron is shutting down")

    def hurry(self) -> None:
        """Cut a drain short: interrupt what runs, and record it without waiting for it."""
        self._hurry.set()
        for attempt in list(self._attempts.values()):
            attempt.stop(RunState.INTERRUPTED, "acron was told to end at once")
            attempt.give_up()

    async def stop(self, timeout: float) -> None:  # noqa: ASYNC109 (a bound, not a deadline)
        """Drain, and end every task this runtime owns; bounded whatever they do."""
        await self.drain(timeout)
        await self._end_tasks()
        await self.recorder.close(5.0)
        for keeper in self._keepers[:2]:
            keeper.cancel()
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=20.0)
        await self._beat(force=True)

    async def _wait_for_runs(self, timeout: float) -> None:  # noqa: ASYNC109
        tasks = [one.task for one in self._attempts.values() if one.task is not None]
        if not tasks or timeout <= 0:
            return
        hurry = asyncio.create_task(self._hurry.wait())
        ended = asyncio.create_task(asyncio.wait(tasks))
        await asyncio.wait({hurry, ended}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        ended.cancel()

    async def _end_tasks(self) -> None:
        """Wait for the ends and deliveries; what is stuck beyond its bound is left behind."""
        bound = 2 * CLEANUP
        pending = self._tasks - self._abandoned.keys()
        while pending and bound > 0:
            begun = asyncio.get_running_loop().time()
            await asyncio.wait(pending, timeout=bound, return_when=asyncio.FIRST_COMPLETED)
            bound -= asyncio.get_running_loop().time() - begun
            pending = self._tasks - self._abandoned.keys()
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
        if not self._attempts:
            return
        runs = await self.store.runs(state=RunState.RUNNING, node=self.node_id, limit=10_000)
        for run in runs:
            if run.cancel_requested:
                self.stop_run(run.id, RunState.CANCELLED, "cancelled by request")

    async def _upkeep(self) -> None:
        """Every interval: beat and settle the dead; every hour: forget what is old."""
        await asyncio.sleep(self._settings.interval)
        await self._beat(force=True)
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
                self.trouble(step.__name__.strip("_"), error)
                await asyncio.sleep(pause)

    async def _beat(self, *, force: bool = False) -> None:
        """Tell the store that we live; at most once a second, whatever the rate of ticks."""
        since = self.clock.monotonic() - self._beat_at
        if not force and since < 1.0:
            return
        self._beat_at = self.clock.monotonic()
        self._node = replace(self._node, heartbeat_at=self.clock.now())
        try:
            await self.store.beat(self.node)
        except AcronError as error:
            self.trouble("heartbeat", error)

    def _watch_clock(self) -> None:
        """A wall clock that jumped, or a machine that slept: from now on we serve anew."""
        wall, monotonic = self.clock.now(), self.clock.monotonic()
        moved = (wall - self._anchor[0]).total_seconds() - (monotonic - self._anchor[1])
        if abs(moved) > JUMP:
            log.warning("the wall clock moved by %+.1f s", moved)
            self.serving_since = wall
            self._looked_at = min(self._looked_at, wall)
        self._anchor = (wall, monotonic)

    def _own(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[Any]:
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
            self.trouble(f"task {task.get_name()}", error)
