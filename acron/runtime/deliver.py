"""Tell people: one target's failure stays its own, and never rewrites the run's outcome."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.abc import Message, Receipt
from acron.contain import meant_for_us, text_of
from acron.errors import StoreError
from acron.model import Delivery, RunState
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from acron.abc import Adapter, Store
    from acron.model import Job, Run
    from acron.threads import Threads

log = logging.getLogger("acron.deliver")

#: Seconds that one send may take, from its start.
SEND_TIMEOUT = 60.0
_LONGEST_WAIT = 5.0


class Deliverer:
    """Sends from the outbox: the unsent ``deliveries`` of an ended run.

    ``threads`` are for blocking adapters alone, so that one that hangs holds no job.
    """

    def __init__(
        self,
        store: Store,
        adapters: Mapping[str, Adapter],
        threads: Threads,
        trouble: Callable[[str, BaseException], None],
    ) -> None:
        self._store = store
        self._adapters = adapters
        self._threads = threads
        self._trouble = trouble
        self._stuck: dict[asyncio.Task[Receipt | str], str] = {}

    @property
    def abandoned(self) -> tuple[str, ...]:
        """Sends that were given up and would not end."""
        return (*self._stuck.values(), *self._threads.abandoned)

    async def deliver(self, job: Job, run: Run, *, adopted: bool = False) -> Run:
        """Send what is pending, each target on its own; returns the run with what came of it.

        A target of an ``adopted`` run, left by a dead process, waits on if no adapter of ours
        serves it: another process may have one.
        """
        pending = [
            index
            for index, one in enumerate(run.deliveries)
            if one.state == "pending" and not (adopted and self._adapter(one) is None)
        ]
        if not pending:
            return run
        outbox = _Outbox(self._store, run, self._trouble)
        async with asyncio.TaskGroup() as sends:
            for index in pending:
                sends.create_task(self._one(job, outbox, index))
        return outbox.run

    async def send(self, job: Job, run: Run, target: str, text: str) -> Delivery:
        """One send beside the outbox: bounded, and what came of it."""
        delivery = Delivery(target)
        adapter = self._adapter(delivery)
        if adapter is None:
            log.error("no adapter here for %s", one_line(repr(target)))
            return replace(delivery, state="failed", error="no adapter here")
        message = Message(target.partition(":")[2], text, job, run)
        return await self._send(adapter, message, delivery)

    def _adapter(self, delivery: Delivery) -> Adapter | None:
        return self._adapters.get(delivery.target.partition(":")[0])

    async def _one(self, job: Job, outbox: _Outbox, index: int) -> None:
        delivery = outbox.run.deliveries[index]
        adapter = self._adapter(delivery)
        if adapter is None:
            known = ", ".join(sorted(self._adapters))
            why = one_line(f"no adapter here for {delivery.target!r}; there are: {known}")
            await outbox.mark(index, replace(delivery, state="failed", error=why))
            return
        delivery = replace(delivery, attempts=delivery.attempts + 1)
        if not adapter.repeatable:  # what may be sent twice needs no note that it may be out
            await outbox.mark(index, replace(delivery, state="sending"))
        to = delivery.target.partition(":")[2]
        message = Message(to, _text(outbox.run), job, outbox.run)
        await outbox.mark(index, await self._send(adapter, message, delivery))

    async def _send(self, adapter: Adapter, message: Message, delivery: Delivery) -> Delivery:
        """One send in a task of its own: an adapter that will not end is left behind."""
        begun = asyncio.Event()
        task = asyncio.create_task(self._contained(adapter, message, begun))
        label = f"deliver {message.run.id} to {delivery.target}"
        try:
            done, _ = await asyncio.wait({task}, timeout=SEND_TIMEOUT)
        finally:
            task.cancel()
        if not done:
            self._leave(task, label)
            log.error("%s: no answer within %g s", label, SEND_TIMEOUT)
            if begun.is_set():
                why = f"no answer within {SEND_TIMEOUT:g} s; it may have gone out"
                return replace(delivery, state="unknown", error=why)
            why = f"no thread was free within {SEND_TIMEOUT:g} s"
            return replace(delivery, state="failed", error=why)
        result = task.result()
        if isinstance(result, str):
            log.warning("%s failed: %s", label, result)
            return replace(delivery, state="failed", error=result)
        if result.id is None:
            return replace(delivery, state="unverified")
        return replace(delivery, state="delivered", receipt=result.id)

    def _leave(self, task: asyncio.Task[Receipt | str], label: str) -> None:
        if not task.done():
            self._stuck[task] = label
            task.add_done_callback(lambda done: self._stuck.pop(done, None))

    async def _contained(
        self, adapter: Adapter, message: Message, begun: asyncio.Event
    ) -> Receipt | str:
        """What the adapter gave, or why it failed: it is people's code, like a job."""
        try:
            result = await self._call(adapter, message, begun)
        except BaseException as error:
            if meant_for_us(error):
                raise
            return one_line(text_of(error))
        if not isinstance(result, Receipt):
            return f"{adapter.name}.send gave {type(result).__name__}, not a Receipt"
        return result

    async def _call(self, adapter: Adapter, message: Message, begun: asyncio.Event) -> object:
        if not adapter.blocking:
            begun.set()
            sent: object = adapter.send(message)
        else:
            loop = asyncio.get_running_loop()

            def send() -> object:
                loop.call_soon_threadsafe(begun.set)
                return adapter.send(message)

            sent = await self._threads.run(send, label=f"{adapter.name}: {message.run.id}")
        return await sent if inspect.isawaitable(sent) else sent


class _Outbox:
    """The run whose deliveries are being marked, one writer at a time."""

    def __init__(
        self, store: Store, run: Run, trouble: Callable[[str, BaseException], None]
    ) -> None:
        self._store = store
        self._trouble = trouble
        self._lock = asyncio.Lock()
        self.run = run

    async def mark(self, index: int, delivery: Delivery) -> None:
        """Make it durable, however long the store takes to come back."""
        async with self._lock:
            deliveries = list(self.run.deliveries)
            deliveries[index] = delivery
            run = replace(self.run, deliveries=tuple(deliveries))
            wait = 0.1
            while True:
                try:
                    await self._store.mark(run)
                    break
                except StoreError as error:
                    self._trouble(f"cannot mark a delivery of {run.id}", error)
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, _LONGEST_WAIT)
            self.run = run


def _text(run: Run) -> str:
    if run.state is RunState.SUCCEEDED:
        return run.output or ""
    text = f"{run.state.value.replace('_', ' ')}: {run.error or 'no reason given'}"
    return f"{text}\n\n{run.output}" if run.output else text
