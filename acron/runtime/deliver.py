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

    async def deliver(self, job: Job, run: Run, *, adopted: bool = False) -> Run:
        """Send what is pending and due, each target on its own; the run with what came of it.

        A target of an ``adopted`` run, left by a dead process, waits on if no adapter of ours
        serves it: another process may have one.
        """
        outbox = self._open.setdefault(run.id, Outbox(self._rt.store, run, self._rt.pulse.trouble))
        try:
            await outbox.expand(job.origin, self._settings.home_channels)
            async with asyncio.TaskGroup() as sends:
                for index, one in enumerate(outbox.run.deliveries):
                    if one.state != "pending" or index in outbox.sending:
                        continue
                    if adopted and self._adapter(one.target) is None:
                        continue
                    if not self._later(job, outbox, index):
                        outbox.sending.add(index)
                        sends.create_task(self._one(job, outbox, index))
        finally:
            if not outbox.sending and not outbox.timers:
                self._open.pop(run.id, None)
        return outbox.run

    async def resend(self, job: Job, run: Run, target: str) -> Run:
        """Send to one target again, whatever became of it; the run with what came of that."""
        outbox = self._open.setdefault(run.id, Outbox(self._rt.store, run, self._rt.pulse.trouble))
        index = [one.target for one in outbox.run.deliveries].index(target)
        if index not in outbox.sending:
            if timer := outbox.timers.pop(index, None):
                timer.cancel()
            await outbox.mark(index, Delivery(target))
        return await self.deliver(job, outbox.run)

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

    def _later(self, job: Job, outbox: Outbox, index: int) -> bool:
        """Whether this one must wait; then it is tried again at its time."""
        at = outbox.run.deliveries[index].retry_at
        wait = 0.0 if at is None else (at - self._rt.clock.now()).total_seconds()
        if wait <= 0:
            return False
        if not self._closed and index not in outbox.timers:

            def wake() -> None:
                del outbox.timers[index]
                self._open[outbox.run.id] = outbox
                again = fire.deliver(self._rt, job, outbox.run)
                self._do(again, f"deliver {outbox.run.id}")

            outbox.timers[index] = asyncio.get_running_loop().call_later(wait, wake)
        return True

    async def _one(self, job: Job, outbox: Outbox, index: int) -> None:
        try:
            delivery = outbox.run.deliveries[index]
            adapter = self._adapter(delivery.target)
            if adapter is None:
                known = ", ".join(sorted(self._adapters))
                why = one_line(
                    f"no adapter here for {shown(delivery.target)!r}; there are: {known}"
                )
                await outbox.mark(index, replace(delivery, state="failed", error=why))
                return
            await self._sender.turn(adapter)
            delivery = replace(delivery, attempts=delivery.attempts + 1, retry_at=None, error=None)
            if not adapter.repeatable:  # what may be sent twice needs no note that it may be out
                await outbox.mark(index, replace(delivery, state="sending"))
            await outbox.mark(index, await self._parts(job, outbox.run, adapter, delivery))
        finally:
            outbox.sending.discard(index)
        self._later(job, outbox, index)

    async def _parts(self, job: Job, run: Run, adapter: Adapter, delivery: Delivery) -> Delivery:
        """Send the parts that the platform has not taken yet."""
        try:
            parts = compose(adapter, job, run, wrap=self._settings.wrap)
            files = self._rt.files.paths(run) if adapter.takes_files else ()
        except BaseException as error:
            if meant_for_us(error):
                raise
            return self._failed(run, adapter, delivery, Failure(one_line(text_of(error))))
        return await self._send(job, run, adapter, delivery, parts, files)

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
