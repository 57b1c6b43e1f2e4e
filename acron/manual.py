"""The verbs of work by hand: runs beside the schedule, backfills, sending something again."""

from __future__ import annotations

import asyncio
import codecs
import itertools
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from acron import backfill as work
from acron.errors import InvalidJob, JobConflict, JobNotFound, NodeNotFound
from acron.model import OUTPUT_LIMIT, Decision, Run, RunState
from acron.runtime.files import whole_output
from acron.specs import Call
from acron.targets import shown
from acron.text import redact, whole_lines
from acron.verbs import Verbs, held_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from acron.actions.live import LiveFiles
    from acron.backfill import Backfill
    from acron.model import Delivery, DeliveryState, Job
    from acron.runtime import Runtime

#: Seconds between two looks at a run that is followed.
LOOK = 0.2
#: So many of them come before one at the process that has it.
LOOKS = 10
#: Characters that are looked for in an output, to tell where what was followed ends in it.
_REMEMBERED = 1000


class ManualWork(Verbs):
    """What people ask for beside the schedule. It obeys overlap, and ignores pauses."""

    _live: LiveFiles
    _root: Path

    @abstractmethod
    def _firing(self) -> Runtime:
        """The runtime of this process. Raises WrongLoop when it fires nothing."""

    async def run_now(
        self, ref: str, *, kwargs: Mapping[str, Any] | None = None, wait: bool = False
    ) -> Run:
        """Run a job once, now, beside its schedule; also while it is paused.

        ``kwargs`` are arguments of its function for this run only; they win over the job's.
        Returns the pending run once it is durable; with ``wait``, at its end. Raises
        JobConflict while the job is running, unless its ``overlap`` allows it, and InvalidJob
        for arguments that the function does not take.
        """
        run = await self._enqueue(ref, kwargs)
        if not wait:
            return run
        return await self.wait(run.id)

    async def run_here(self, ref: str, *, kwargs: Mapping[str, Any] | None = None) -> Run:
        """``run_now`` in this process, without a trigger (see ``attached``): its end.

        Raises InvalidJob when no action of this process can run the job.
        """
        job = await self._able(ref)
        run = await self._enqueue(job.id, kwargs)
        while (run := await self.get_run(run.id)).state == "pending":
            if not await self._firing().tick_one(run.job_id):
                await self._wait_for(run.id)
        return await self.wait(run.id)

    async def deliveries(
        self, state: DeliveryState | None = None, *, limit: int = 100
    ) -> list[tuple[Run, Delivery]]:
        """What was to be told to whom and what became of it, of the newest ``limit`` runs that
        have such; in one ``state`` when given: ``pending sending delivered unverified failed
        unknown``."""
        async with self._reading() as store:
            runs = await store.deliveries(state, limit)
        return [(run, one) for run in runs for one in run.deliveries if state in {None, one.state}]

    async def resend(self, run_id: str, target: str) -> Run:
        """Send a run's output to one of its targets once more, from here and now, whatever
        became of it; the run with what came of that.

        It is for people: nothing else sends again what may have gone out. Raises JobNotFound,
        InvalidJob for what is no target of the run, or one that this process has no adapter for,
        JobConflict while it is under way.
        """
        firing = self._firing()
        run = await self.get_run(run_id)
        found = [one for one in run.deliveries if target in {one.target, shown(one.target)}]
        if len(found) != 1:
            known = ", ".join(shown(one.target) for one in run.deliveries) or "none"
            message = f"{shown(target)!r} is not one target of {run.id}; there are: {known}"
            raise InvalidJob(message, job_id=run.job_id, where="$.deliver")
        job = await self.get(run.job_id)
        # What has begun to go out is told of in the ledger, though nobody waits for it any more.
        again = partial(firing.deliverer.resend, job, run, found[0])
        return await firing.tasks.whole(again, f"acron: resend {run.id}")

    async def backfill_here(self, batch: str, ref: str) -> None:
        """Run what waits of a backfill in this process, without a trigger (see ``attached``), to
        its end. Raises InvalidJob when no action of this process can run the job."""
        job = await self._able(ref)
        while waiting := await self.unfinished(batch, job.id):
            if not await self._firing().tick_one(job.id):
                first = next((run for run in waiting if run.state is RunState.RUNNING), waiting[-1])
                await self._wait_for(first.id)

    async def _able(self, ref: str) -> Job:
        job = await self.get(ref)
        if job.action.needs not in self._firing().can_run:
            message = f"job {job.id!r} needs {job.action.needs!r}, which this process does not have"
            raise InvalidJob(message, job_id=job.id, where="$.call")
        return job

    async def output(self, run: Run | str) -> str:
        """All that a run, or the one of that id, has said. What is too long for the ledger is in a
        file of the machine that it ran on; elsewhere it is the head and the tail.

        Raises JobNotFound.
        """
        found = await self.get_run(run) if isinstance(run, str) else run
        return await whole_output(self._root, found)

    async def follow(self, run_id: str) -> AsyncIterator[str]:
        """What a run says, as it says it, without secrets, ending with the run. A command is heard
        while it goes on, on the same machine, in whole lines; everything else at its end. Raises
        JobNotFound, and NodeNotFound when its process has died: its end is recorded once another
        runs."""
        async for text in _follow(self, self._live, run_id):
            yield text

    async def _enqueue(self, ref: str, kwargs: Mapping[str, Any] | None = None) -> Run:
        """A pending run, due now: whoever can runs it."""
        job = await self.get(ref)
        own = dict(kwargs) if kwargs else None
        if own is not None:
            self._check_kwargs(job, own)
        now = self.clock.now()

        def change(
            _: str, old: Job | None, runs: Sequence[Run], mint: Callable[[], int]
        ) -> Decision:
            if old is None:
                raise JobNotFound(job.id)
            # What waits of a backfill is in nobody's way.
            busy = [run for run in runs if run.batch is None or run.state is RunState.RUNNING]
            if busy and old.policy.overlap == "skip":
                raise JobConflict(held_by(old, busy[0]), job_id=old.id)
            run = Run(id=f"r{mint()}", job_id=old.id, due_at=now, key=old.policy.key, kwargs=own)
            return Decision(old, runs=(run,))

        decision = (await self.store.write([job.id], change, now))[0]
        return decision.runs[0]

    def _check_kwargs(self, job: Job, own: dict[str, Any]) -> None:
        if not isinstance(job.action, Call):
            message = f"job {job.id!r} calls no function, and so takes no arguments"
            raise InvalidJob(message, job_id=job.id, where="$.kwargs")
        self.check(replace(job, action=replace(job.action, kwargs=job.action.kwargs | own)))

    async def backfill(
        self,
        ref: str,
        since: datetime,
        until: datetime,
        *,
        rate: float = 10.0,
        again: bool = False,
    ) -> Backfill:
        """Run the instants of a job's schedule in ``since <= instant < until`` that have no
        succeeded run; with ``again``, all of them. Also while the job is paused.

        They become pending runs, durable at once, due one after another: at most ``rate`` a
        second, and no faster than the job's newest runs took unless it allows overlap (one a
        second when it has never run). What waits or runs already is left out, so that the same
        call again, after the first, changes nothing. Instants that the schedule itself still
        owes are left to it. The job's count and its next instant stay. Raises JobNotFound,
        InvalidJob for more than 10,000 instants, and ValueError.
        """
        job = await self.get(ref)
        now = self.clock.now()
        return await work.backfill(self.store, job, now, since, until, rate=rate, again=again)

    async def unfinished(self, batch: str, job_id: str | None = None) -> list[Run]:
        """The pending and running runs of a backfill."""
        async with self._reading() as store:
            return await work.unfinished(store, batch, job_id)

    async def cancel_batch(self, batch: str) -> int:
        """Cancel what still waits of a backfill; how many runs. What runs goes on.

        Raises JobNotFound when nothing of it is in the ledger.
        """
        return await work.cancel_batch(self.store, batch, self.clock.now())


async def _follow(app: ManualWork, live: LiveFiles, run_id: str) -> AsyncIterator[str]:
    """See ``ManualWork.follow``."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    waiting = told = ""
    start = lines = 0
    run = await app.get_run(run_id)
    for look in itertools.count(1):
        data = await live.read(run_id, start)
        if data:
            start += len(data)
            waiting += decoder.decode(data)
            end = whole_lines(waiting)
            text, waiting = await asyncio.to_thread(redact, waiting[:end]), waiting[end:]
            told = (told + text)[-_REMEMBERED:]
            lines += text.count("\n")
            if text:
                yield text
        if run.state.ended:
            break
        await asyncio.sleep(LOOK)
        run = await app.later(run)
        if look % LOOKS == 0:
            await _check_alive(app, run)
    whole = await app.output(run)
    rest = _rest(whole, told, lines, kept=whole != run.output) if whole else redact(waiting)
    if rest:
        yield rest


async def _check_alive(app: Verbs, run: Run) -> None:
    """Raise NodeNotFound when the process that has ``run`` died: nobody may ever end it."""
    if run.state is not RunState.RUNNING or run.node is None:
        return
    if any(node.alive and node.id == run.node for node in await app.nodes()):
        return
    now = await app.get_run(run.id)  # it may have ended it and left, or another took its place
    if now.state is RunState.RUNNING and now.node == run.node:
        why = f"{run.id} was cut short with it; the next acron that runs records its end"
        raise NodeNotFound(run.node, why)


def _rest(whole: str, told: str, lines: int, *, kept: bool) -> str:
    """What of ``whole`` comes after the ``lines`` that were told and end in ``told``. If it is
    ``kept`` in a file, it has all lines, though not each character as it was told."""
    after = whole.split("\n", lines)[lines:]
    if after and (kept or whole.removesuffix(after[0]).endswith(told)):
        return after[0]
    if len(whole.encode(errors="replace")) < OUTPUT_LIMIT - 200:
        return whole  # another's: what was followed was the script of a prompt
    at = whole.rfind(told)  # its middle was cut
    return whole[at + len(told) :] if at >= 0 else f"\n[…]\n{whole[-_REMEMBERED:]}"
