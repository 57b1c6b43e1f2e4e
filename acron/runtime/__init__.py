"""What a fire does. One file a step: due → claim → run → record → deliver.

``Runtime`` is what a provider sees as ``Firing``; it owns every task that firing needs, and
ends them all, within bounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from acron.contain import meant_for_us
from acron.events import Progressed
from acron.model import RunState
from acron.runtime import fire, outside
from acron.runtime.alert import Alerter
from acron.runtime.attempts import Attempts
from acron.runtime.boot import boot
from acron.runtime.claim import Spread
from acron.runtime.deliver import Deliverer
from acron.runtime.files import Files
from acron.runtime.hooks import Hooks
from acron.runtime.keepers import Listener, Notifier, Sweep, Upkeep, keep
from acron.runtime.pulse import Pulse
from acron.runtime.record import Recorder, settle
from acron.runtime.rules import Rules
from acron.runtime.run import CLEANUP
from acron.runtime.standing import Standing
from acron.runtime.supervise import Supervisor
from acron.runtime.tasks import Tasks
from acron.runtime.watchdog import Watchdog
from acron.threads import Threads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from acron.abc import Action, Adapter, Answer, Armed, CronScheduler, Fired, Store
    from acron.clock import Clock
    from acron.events import Events
    from acron.model import Job, Node, Outcome, Run, Settings
    from acron.runtime.run import Attempt, CallByName

log = logging.getLogger("acron.runtime")

#: Threads for files.
DISK = 8


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
        root: Path,
        call: CallByName,
        declared: Collection[str] = (),
    ) -> None:
        self.store = store
        self.clock = clock
        self.events = events
        self.pulse = Pulse(store, clock, events, node, self._describe)
        self.tasks = Tasks(node.id, self.pulse.trouble)
        self.attempts = Attempts(self.tasks, self._freed)
        self.recorder = Recorder(
            store, self.tasks.start, self.pulse.trouble, partial(fire.recorded, self)
        )
        # Of our own: people's functions may hold all of theirs for as long as they like.
        self.disk = Threads(DISK, "acron-disk")
        self.files = Files(root, self.disk)
        self.deliverer = Deliverer(self, self.tasks.do, adapters, settings)
        self.alerter = Alerter(self, self.tasks.do, settings.alerts)
        self.watchdog = Watchdog(settings, clock, self.pulse, store)
        self.hooks = Hooks(call, self.pulse.trouble)
        self.call = call
        self.node_id = node.id
        self.spread: Spread | None = None
        self.draining = False
        self._actions = actions
        self._settings = settings
        self.threads = threads
        self.rules = Rules(self)
        self.standing = Standing(self, actions, frozenset(declared))
        self._supervisor = Supervisor(
            provider, fallback, clock, self.pulse.trouble, self._beat_soon
        )
        self._triggered = False
        self._keepers: list[asyncio.Task[None]] = []
        self._claiming = asyncio.Lock()
        self._stop = asyncio.Event()
        self._woken = False
        self._waiters: set[asyncio.Future[None]] = set()
        self._looked_at = node.started_at
        self._left_owed = False
        self._quiet_since = clock.monotonic()

    # --- what the steps of a fire use ---

    @property
    def free(self) -> int:
        """How many more runs may start here."""
        return 0 if self.draining else self._settings.max_running - len(self.attempts)

    @property
    def can_run(self) -> Collection[str]:
        """Asked anew each time."""
        return self.standing.ask()

    def action_of(self, job: Job) -> Action:
        return self._actions[job.action.kind]

    def progressed(self, attempt: Attempt, done: float, total: float | None, note: str) -> None:
        if self.events.wanted:
            now = self.clock.now()
            self.events.emit(Progressed(now, attempt.job, attempt.run, done, total, note))

    def looked(self, now: datetime, *, held: bool) -> None:
        """A claim has seen all that was due at ``now``; if ``held``, some of it stays owed, and
        a free slot or the end of a run is what it waits for."""
        self._looked_at = now
        self._left_owed = held

    def wake(self) -> None:
        """Something may be owed: the trigger is to look."""
        self._woken = True
        for waiter in self._waiters:
            _set(waiter)

    @property
    def idle_for(self) -> float:
        """Seconds since the last run ended here, or since the start; 0 while one goes on."""
        return 0.0 if self.attempts else self.clock.monotonic() - self._quiet_since

    def _freed(self, all_: bool) -> None:  # noqa: FBT001 (a callback)
        if all_:
            self._quiet_since = self.clock.monotonic()
        if self._left_owed:
            self.wake()

    def tell_hooks(self, job: Job, ended: Run) -> None:
        """Nothing waits for what the job wants called when a run has ended."""
        self.tasks.do(self.hooks.tell(job, ended), f"hooks of {ended.id}")

    def abandon(self, attempt: Attempt, outcome: Outcome) -> None:
        """The attempt will not end: record its end without it, and let it be seen."""
        self.attempts.abandon(attempt, outcome)
        self.tasks.do(fire.conclude(self, attempt, outcome), f"end of {attempt.label}")
        self._beat_soon()
        if attempt.task is not None:
            attempt.task.add_done_callback(self._beat_soon)

    def _beat_soon(self, _: object = None) -> None:
        """Something that ``status`` shows has changed; at the end of all, ``stop`` beats."""
        if not self.draining:
            self.tasks.do(self.pulse.beat(force=True), "heartbeat")

    @property
    def armed_outside(self) -> bool:
        """Whether an outside scheduler has the instants, so that ticks are not to be expected."""
        return self._supervisor.armed_outside

    async def _beat_bounded(self) -> None:
        """A store that does not answer holds up no shutdown."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLEANUP):
                await self.pulse.beat(force=True)

    async def prove_alive(self) -> Collection[str]:
        """The nodes that live, after the runs of all others were settled."""
        await self.recover()
        return {node.id for node in await self.store.nodes() if node.alive}

    # --- Firing ---

    async def due_in(self) -> float | None:
        due = await self.store.next_due(self._looked_at, self.standing.offered)
        return None if due is None else max(0.0, (due - self.clock.now()).total_seconds())

    async def tick(self) -> int:
        try:
            started = await self.claim_due()
        except BaseException as error:
            if not meant_for_us(error):
                self.pulse.trouble("tick failed", error)
            await self.pulse.beat()
            raise
        self.pulse.success()
        if self.store.at_once:
            await self.pulse.beat()
        elif self.pulse.beats_now:  # which would wait behind the ends of what was started
            self.tasks.do(self.pulse.beat(), "heartbeat")
        return started

    async def fire(self, job_id: str, scheduled_at: datetime | None = None) -> Fired:
        self._supervisor.triggered()
        return await outside.fire(self, job_id, scheduled_at)

    async def claim_due(
        self, *, only: str | None = None, late: float = 0.0, taken: set[str] | None = None
    ) -> int:
        """Claim and start. A claim that has to wait has its turn, and is not given up with its
        caller: it becomes durable, and its runs must then start."""
        if self.store.at_once:
            self._watch_clock()
            return await fire.fire_due(self, only=only, late=late, taken=taken)
        return await self.tasks.whole(partial(self._claim, only, late, taken), "acron-claim")

    async def _claim(self, only: str | None, late: float, taken: set[str] | None) -> int:
        async with self._claiming:
            self._watch_clock()  # after the claim before, which has looked by the clock before
            return await fire.fire_due(self, only=only, late=late, taken=taken)

    def _watch_clock(self) -> None:
        if self.pulse.watch_clock():
            self._serve_anew()
            self._looked_at = min(self._looked_at, self.clock.now())
            self.deliverer.clock_moved()

    async def tick_one(self, job_id: str) -> int:
        """Claim and start what one job owes now: its instant, or a pending run."""
        return await self.claim_due(only=job_id)

    async def fire_many(self, triggers: Sequence[Armed]) -> list[Answer]:
        self._supervisor.triggered()
        return await outside.fire_many(self, triggers)

    def armed(self, until: datetime, since: datetime | None = None) -> AsyncIterator[Armed]:
        return outside.to_arm(self, until, since)

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (a bound, not a deadline)
        if self._woken:
            await asyncio.sleep(0)  # who wakes us again and again must not starve the loop
        else:
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.add(waiter)
            timer = loop.call_later(timeout, _set, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiters.discard(waiter)
        woken, self._woken = self._woken, False
        return woken

    # --- life ---

    @property
    def node(self) -> Node:
        """What this node says of itself now."""
        return self.pulse.node

    def _describe(self) -> dict[str, Any]:
        return {
            "provider": self._supervisor.provider.name if self._triggered else "",
            "provider_note": self._supervisor.note,
            "zones": self.rules.known,
            "stood_down": self.standing.why,
            "drain_requested": self.standing.drain_requested,
            "draining": self.draining,
            "running": len(self.attempts),
            "abandoned": (
                *self.attempts.abandoned,
                *self.threads.abandoned,
                *self.disk.abandoned,
                *self.deliverer.abandoned,
                *self.hooks.abandoned,
            ),
            "offers": self.standing.offers,
        }

    async def start(self, *, trigger: bool = True) -> None:
        """Settle what the dead left, beat, then let the provider pull the trigger; without
        ``trigger`` nothing fires but by ``tick`` and ``fire``."""
        self._triggered = trigger
        self._serve_anew()
        settings = self._settings
        await self.standing.look()
        await self.rules.start()
        await self.recover()
        await self.pulse.beat(force=True)
        self.watchdog.start()
        notifier = Notifier(self, self._supervisor)
        listener = Listener(self, settings.interval, notifier.heard)
        upkeep = Upkeep(self, settings.interval, settings.retention_days, settings.retention_runs)
        self._keepers = [
            self.tasks.start(keep(self, listener.step, "news"), "acron-listener"),
            self.tasks.start(keep(self, upkeep.step, "upkeep"), "acron-upkeep"),
        ]
        delay = settings.sweep_after or self._supervisor.provider.sweep_after
        if trigger and delay is not None:
            delay = delay or settings.interval / 2
            sweep = Sweep(self, delay, self._supervisor.missed, notifier.heard)
            self._keepers.append(self.tasks.start(keep(self, sweep.step, "sweep"), "acron-sweep"))
        if trigger:
            told = keep(self, notifier.step, "news to the provider")
            self._keepers.append(self.tasks.start(told, "acron-notifier"))
            await boot(self)
            self.tasks.do(self._supervisor.serve(self._stop, self, settings.interval), "supervisor")

    def _serve_anew(self) -> None:
        """What an outage left owed is spread; a single tick has no later moments for that."""
        rate = self._settings.catch_up_rate
        self.spread = Spread(rate) if rate and self._triggered else None

    async def recover(self) -> None:
        """End the runs of dead nodes, and send what they left unsent."""
        for decision in await self.store.recover(self.clock.now(), settle):
            self.alerter.noticed(decision.job)
            for run in decision.runs:
                if run.state is RunState.UNKNOWN:
                    log.warning("%s %s unknown: its process died", run.job_id, run.id)
                if decision.job is not None and run.state.ended and run.deliveries:
                    work = fire.deliver(self, decision.job, run, adopted=True)
                    self.tasks.do(work, f"deliver {run.id}")
            self.wake()

    def take_no_more(self) -> None:
        """No new claims, and no trigger; what runs goes on to its end."""
        self.draining = True
        self._stop.set()
        self.wake()

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 (a bound, not a deadline)
        """No new claims; running ones get ``timeout`` seconds, then end as ``interrupted``."""
        self.take_no_more()
        await self._beat_bounded()  # others may give their runs to somebody else
        with contextlib.suppress(TimeoutError):  # a claim under way starts what it takes
            async with asyncio.timeout(CLEANUP), self._claiming:
                pass
        await self.attempts.drain(timeout)

    def hurry(self) -> None:
        """Cut a drain short: record what runs as interrupted, without waiting for it."""
        self.attempts.hurry()

    async def stop(self, timeout: float) -> None:  # noqa: ASYNC109 (a bound, not a deadline)
        """Drain, and end every task this runtime owns; bounded whatever they do."""
        try:
            await self.drain(timeout)
            await self._end_tasks()
            await self.recorder.close(CLEANUP)
            await self.deliverer.close(1.0)
            await self.disk.close(1.0)
        finally:
            self._cancel_tasks()
            for task in self._keepers:
                task.cancel()
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=1.0)
        await self.watchdog.stop()
        await self._beat_bounded()

    async def _end_tasks(self) -> None:
        """Wait for the ends and deliveries; what is stuck beyond its bound is left behind."""
        loop = asyncio.get_running_loop()
        end = loop.time() + 2 * CLEANUP
        while pending := self._awaited():
            left = end - loop.time()
            if left <= 0:
                break
            bound = min(left, 1.0) if self.attempts.hurried else left
            await asyncio.wait(pending, timeout=bound, return_when=asyncio.FIRST_COMPLETED)
            if self.attempts.hurried:
                break
        if cancelled := self._cancel_tasks():
            await asyncio.wait(cancelled, timeout=1.0)

    def _cancel_tasks(self) -> list[asyncio.Task[Any]]:
        return [*self.tasks.cancel(), *self.attempts.cancel()]

    def _awaited(self) -> list[asyncio.Task[Any]]:
        """The tasks that have an end to make durable, or something to deliver."""
        writer = self.recorder.writer
        return [*self.tasks, *self.attempts.going, *([] if writer is None else [writer])]


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
