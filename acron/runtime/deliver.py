"""Tell people: one target's failure stays its own, and never rewrites the run's outcome.

What a target did not take is tried again from the outbox: later, alone, and also after a
restart. What may have gone out is never sent again unasked.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from acron.abc import Message
from acron.contain import meant_for_us, text_of
from acron.errors import InvalidJob, JobConflict
from acron.messages import compose, fit
from acron.model import Delivery
from acron.runtime import fire
from acron.runtime.outbox import Outbox
from acron.runtime.send import Failure, Sender
from acron.targets import expand, parse_target, shown
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path

    from acron.abc import Adapter, Receipt
    from acron.model import Job, Run, Settings
    from acron.runtime import Runtime

log = logging.getLogger("acron.deliver")

#: Sends to one target that fail, before its delivery does.
ATTEMPTS = 8
#: Seconds before the second one; each further wait is so many times longer, up to the longest.
#: All eight take ten hours.
FIRST_WAIT, FACTOR, LONGEST_WAIT = 10.0, 4.0, 6 * 3600.0
#: A platform that asks for more seconds than this is not waited for.
PATIENCE = 24 * 3600.0


def under_way(run: Run, told: Delivery) -> JobConflict:
    """Why a delivery is not sent again now."""
    message = f"{run.id} to {shown(told.target)} is under way: a running acron sends it"
    return JobConflict(message, job_id=run.job_id)


class Deliverer:
    """Sends from the outbox: the unsent ``deliveries`` of an ended run.

    ``do`` makes a task that the runtime awaits: what is tried again comes by the same door.
    """

    def __init__(
        self,
        rt: Runtime,
        do: Callable[[Coroutine[Any, Any, object], str], object],
        adapters: Mapping[str, Adapter],
        settings: Settings,
    ) -> None:
        self._rt = rt
        self._do = do
        self._adapters = adapters
        self._settings = settings
        self._sender = Sender(settings.max_threads)
        self._open: dict[str, Outbox] = {}
        self._closed = False

    @property
    def abandoned(self) -> tuple[str, ...]:
        """Sends that were given up and would not end."""
        return self._sender.abandoned

    def is_at(self, run_id: str) -> bool:
        """Whether something of that run is being sent, or waits to be."""
        return run_id in self._open

    async def deliver(self, job: Job, run: Run, *, adopted: bool = False) -> Run:
        """Send what is pending and due, each target on its own; the run with what came of it.

        A target of an ``adopted`` run, left by a dead process, waits on if no adapter of ours
        serves it: another process may have one.
        """
        outbox = self._open.setdefault(run.id, Outbox(self._rt.store, run, self._rt.pulse.trouble))
        try:
            await outbox.expand(job.origin, self._settings.home_channels)
            async with asyncio.TaskGroup() as sends:
                for one in outbox.run.deliveries:
                    if one.state != "pending" or one.target in outbox.sending:
                        continue
                    if adopted and self._adapter(one.target) is None:
                        continue
                    if not self._later(job, outbox, one):
                        outbox.due.discard(one.target)
                        outbox.sending.add(one.target)
                        sends.create_task(self._one(job, outbox, one, _begun(one)))
        finally:
            if not outbox.sending and not outbox.timers:
                self._open.pop(run.id, None)
        return outbox.run

    async def resend(self, job: Job, run: Run, told: Delivery) -> Run:
        """Send to one target again, whatever became of it; the run with what came of that.

        Of a run of another node, that delivery alone is ours, and only for this time. Raises
        JobConflict when it is under way, here or there, and InvalidJob, and what came of it
        before stays, when this process has no adapter for it.
        """
        if self._adapter(told.target) is None:
            raise InvalidJob(self._missing(told), job_id=run.job_id, where="$.deliver")
        if await self._with_others(run, told):
            raise under_way(run, told)
        outbox = self._open.setdefault(run.id, Outbox(self._rt.store, run, self._rt.pulse.trouble))
        if told.target in outbox.sending:
            raise under_way(run, told)
        outbox.stop_waiting(told.target)
        if told.state == "pending":
            await outbox.mark(told, Delivery(told.target))
            return await self.deliver(job, outbox.run)
        by = None if run.node == self._rt.node_id else self._rt.node_id
        outbox.sending.add(told.target)
        begun = Delivery(told.target, "sending", attempts=1, sender=by)
        try:
            if not await self._one(job, outbox, told, begun):
                raise under_way(run, told)
        finally:
            if not outbox.sending and not outbox.timers:
                self._open.pop(run.id, None)
        return outbox.run

    async def _with_others(self, run: Run, told: Delivery) -> bool:
        """Whether another process that lives is to send it."""
        sender = told.sender or run.node
        if told.state not in {"pending", "sending"} or sender == self._rt.node_id:
            return False
        return any(node.alive and node.id == sender for node in await self._rt.store.nodes())

    async def send(self, job: Job, run: Run, target: str, text: str) -> Delivery:
        """One text beside the outbox: bounded, and what came of it. Of several places that the
        target means, the one that took it speaks for all."""
        places = expand([Delivery(target)], job.origin, self._settings.home_channels)
        told = await asyncio.gather(*(self._beside(job, run, one, text) for one in places))
        return next((one for one in told if one.state in {"delivered", "unverified"}), told[0])

    async def _beside(self, job: Job, run: Run, delivery: Delivery, text: str) -> Delivery:
        adapter = self._adapter(delivery.target)
        if adapter is None:
            log.error("no adapter here for %r", shown(delivery.target))
            return replace(delivery, state="failed", error="no adapter here")
        await self._sender.turn(adapter)
        parts = fit(adapter, text, "acron incidents")
        return await self._send(job, run, adapter, delivery, parts, ())

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 (a bound, not a deadline)
        """Try nothing again in this process: what waits is durable. Bounded; twice is safe."""
        self._closed = True
        for outbox in self._open.values():
            outbox.close()
        await self._sender.close(timeout)

    def _adapter(self, target: str) -> Adapter | None:
        return self._adapters.get(parse_target(target).platform)

    def _missing(self, told: Delivery) -> str:
        known = ", ".join(sorted(self._adapters))
        return one_line(f"no adapter here for {shown(told.target)!r}; there are: {known}")

    def _later(self, job: Job, outbox: Outbox, delivery: Delivery) -> bool:
        """Whether this one must wait; then it is tried again at its time. That is told by the wall
        clock for whoever comes after us, but the wait is not: the clock may be put back."""
        at, target = delivery.retry_at, delivery.target
        wait = 0.0 if at is None else (at - self._rt.clock.now()).total_seconds()
        if not 0 < wait <= PATIENCE or target in outbox.due:
            return False
        if not self._closed and target not in outbox.timers:

            def wake() -> None:
                outbox.due.add(target)
                again = fire.deliver(self._rt, job, outbox.run)
                self._do(again, f"deliver {outbox.run.id}")

            self._open[outbox.run.id] = outbox
            outbox.wait(target, wait, wake)
        return True

    def clock_moved(self) -> None:
        """What waits by a clock that was behind waits no longer than until its time."""
        now = self._rt.clock.now()
        for outbox in list(self._open.values()):
            for one in outbox.run.deliveries:
                if one.retry_at is not None:
                    outbox.wait_no_longer(one.target, (one.retry_at - now).total_seconds())

    async def _one(self, job: Job, outbox: Outbox, old: Delivery, begun: Delivery) -> bool:
        """Send to one target: ``begun`` is marked before, and what came of it after. False, and
        nothing is sent, when somebody else is at it."""
        try:
            adapter = self._adapter(old.target)
            if adapter is None:
                return await outbox.mark(
                    old, replace(old, state="failed", error=self._missing(old))
                )
            await self._sender.turn(adapter)
            if adapter.repeatable:  # what may be sent twice needs no note that it may be out
                ended = await self._try(job, outbox.run, adapter, begun)
            elif await outbox.mark(old, begun):
                ended = await self._try(job, outbox.run, adapter, begun)
                old = begun
            else:
                return False
            await outbox.mark(old, ended)
        finally:
            outbox.sending.discard(old.target)
        self._later(job, outbox, ended)
        return True

    async def _try(self, job: Job, run: Run, adapter: Adapter, begun: Delivery) -> Delivery:
        """Send the parts that the platform has not taken yet."""
        delivery = replace(begun, sender=None)
        try:
            parts = compose(adapter, job, run, wrap=self._settings.wrap)
            files = await self._rt.files.paths(run) if adapter.takes_files else ()
        except BaseException as error:
            if meant_for_us(error):
                raise
            return self._failed(run, adapter, delivery, Failure(one_line(text_of(error))))
        ended = await self._send(job, run, adapter, delivery, parts, files)
        if begun.sender is not None and ended.state == "pending":  # its own node would not know
            return replace(ended, state="failed", retry_at=None)
        return ended

    async def _send(
        self,
        job: Job,
        run: Run,
        adapter: Adapter,
        delivery: Delivery,
        parts: tuple[str, ...],
        files: tuple[Path, ...],
    ) -> Delivery:
        label = f"deliver {run.id} to {shown(delivery.target)}"
        to = parse_target(delivery.target).to
        proven = not delivery.parts or delivery.receipt is not None
        for part in range(delivery.parts, len(parts)):
            if part > delivery.parts:
                await self._sender.turn(adapter)
            last = files if part == len(parts) - 1 else ()
            message = Message(to, parts[part], job, run, last, part)
            result = await self._sender.send(adapter, message, label)
            if isinstance(result, Failure):
                return self._failed(run, adapter, delivery, result)
            proven = proven and result.id is not None
            delivery = replace(delivery, parts=part + 1, receipt=_joined(delivery, result))
        return replace(
            delivery, state="delivered" if proven else "unverified", parts=_told(len(parts))
        )

    def _failed(self, run: Run, adapter: Adapter, delivery: Delivery, failure: Failure) -> Delivery:
        failed = replace(delivery, error=failure.error)
        if failure.unknown and not adapter.repeatable:
            return replace(failed, state="unknown")
        wait = max(_backoff(run, delivery), failure.retry_after or 0.0)
        if failure.permanent or delivery.attempts >= ATTEMPTS or not wait <= PATIENCE:
            return replace(failed, state="failed")
        retry_at = self._rt.clock.now() + timedelta(seconds=wait)
        return replace(failed, state="pending", retry_at=retry_at)


def _begun(waiting: Delivery) -> Delivery:
    again = waiting.attempts + 1
    return replace(waiting, state="sending", attempts=again, retry_at=None, error=None)


def _joined(delivery: Delivery, receipt: Receipt) -> str | None:
    ids = [one for one in (delivery.receipt, receipt.id) if one is not None]
    return ", ".join(map(one_line, ids)) or None


def _told(parts: int) -> int:
    return 0 if parts == 1 else parts  # one message is what everybody expects


def _backoff(run: Run, delivery: Delivery) -> float:
    """Seconds to wait after a send that failed: exponential, capped, and lengthened by up to a
    fifth, by a hash, so that what failed together does not come back together."""
    wait = min(FIRST_WAIT * FACTOR ** (delivery.attempts - 1), LONGEST_WAIT)
    spread = blake2b(f"{run.id} {delivery.target}".encode(), digest_size=4).digest()
    return wait * (1 + 0.2 * int.from_bytes(spread, "big") / 2**32)
