"""Tell people: one target's failure stays its own, and never rewrites the run's outcome."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.abc import Message, Receipt
from acron.model import RunState
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from acron.abc import Adapter, Store
    from acron.model import Delivery, Job, Run
    from acron.threads import Threads

log = logging.getLogger("acron.deliver")

#: Seconds that one send may take.
SEND_TIMEOUT = 60.0


class Deliverer:
    """Sends from the outbox: the unsent ``deliveries`` of an ended run."""

    def __init__(self, store: Store, adapters: Mapping[str, Adapter], threads: Threads) -> None:
        self._store = store
        self._adapters = adapters
        self._threads = threads

    async def deliver(self, job: Job, run: Run) -> Run:
        """Send what is pending, each target on its own; returns the run with what came of it."""
        pending = [i for i, one in enumerate(run.deliveries) if one.state == "pending"]
        if not pending:
            return run
        outbox = _Outbox(self._store, run)
        await asyncio.gather(*(self._one(job, outbox, i) for i in pending))
        return outbox.run

    async def _one(self, job: Job, outbox: _Outbox, index: int) -> None:
        delivery = outbox.run.deliveries[index]
        platform, _, to = delivery.target.partition(":")
        adapter = self._adapters.get(platform)
        if adapter is None:
            known = ", ".join(sorted(self._adapters))
            why = f"no adapter for {platform!r} here; there are: {known}"
            await outbox.mark(index, replace(delivery, state="failed", error=why))
            return
        delivery = replace(delivery, attempts=delivery.attempts + 1)
        if not adapter.repeatable:
            await outbox.mark(index, replace(delivery, state="sending"))
        message = Message(to, _text(outbox.run), job, outbox.run)
        await outbox.mark(index, await self._send(adapter, message, delivery))

    async def _send(self, adapter: Adapter, message: Message, delivery: Delivery) -> Delivery:
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                receipt = await self._call(adapter, message)
        except TimeoutError:
            why = f"no answer within {SEND_TIMEOUT:g} s; it may have gone out"
            return replace(delivery, state="unknown", error=why)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return replace(delivery, state="failed", error="the adapter cancelled itself")
        except BaseException as error:  # noqa: BLE001 (people's code, like a job)
            why = one_line(f"{type(error).__name__}: {error}")
            log.warning("delivery of %s to %s failed: %s", message.run.id, delivery.target, why)
            return replace(delivery, state="failed", error=why)
        if receipt.id is None:
            return replace(delivery, state="unverified")
        return replace(delivery, state="delivered", receipt=receipt.id)

    async def _call(self, adapter: Adapter, message: Message) -> Receipt:
        if adapter.blocking:
            label = f"deliver {message.run.id} by {adapter.name}"
            sent = await self._threads.run(adapter.send, message, label=label)
        else:
            sent = adapter.send(message)
        result = await _awaited(sent)
        if not isinstance(result, Receipt):
            message_text = f"{adapter.name}.send gave {type(result).__name__}, not a Receipt"
            raise TypeError(message_text)
        return result


async def _awaited(value: Receipt | Awaitable[Receipt]) -> Receipt:
    return await value if inspect.isawaitable(value) else value


class _Outbox:
    """The run whose deliveries are being marked, one writer at a time."""

    def __init__(self, store: Store, run: Run) -> None:
        self._store = store
        self._lock = asyncio.Lock()
        self.run = run

    async def mark(self, index: int, delivery: Delivery) -> None:
        async with self._lock:
            deliveries = list(self.run.deliveries)
            deliveries[index] = delivery
            run = replace(self.run, deliveries=tuple(deliveries))
            await self._store.mark(run)
            self.run = run


def _text(run: Run) -> str:
    if run.state is RunState.SUCCEEDED:
        return run.output or ""
    text = f"{run.state.value.replace('_', ' ')}: {run.error or 'no reason given'}"
    return f"{text}\n\n{run.output}" if run.output else text
