"""One message to one adapter, contained: what came of it, within a bound, at its pace."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING

from msgspec import Struct

from acron.abc import Receipt
from acron.contain import meant_for_us, text_of
from acron.errors import DeliveryError
from acron.targets import hide
from acron.text import one_line
from acron.threads import Threads

if TYPE_CHECKING:
    from acron.abc import Adapter, Message

log = logging.getLogger("acron.deliver")

#: Seconds that one send may take, from its start.
SEND_TIMEOUT = 60.0


class Failure(Struct, frozen=True):
    """Why a message was not taken; see DeliveryError."""

    error: str
    retry_after: float | None = None
    permanent: bool = False
    unknown: bool = False


class Sender:
    """Calls adapters: people's code, like a job.

    Each blocking adapter has ``max_threads`` threads of its own, so that one that hangs holds
    neither a job nor another adapter.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        # By id: a stranger's adapter need not be hashable, and lives as long as we do.
        self._threads: dict[int, Threads] = {}
        self._free_at: dict[int, float] = {}
        self._stuck: dict[asyncio.Task[Receipt | Failure], str] = {}

    @property
    def abandoned(self) -> tuple[str, ...]:
        """Sends that were given up and would not end."""
        labels = tuple(self._stuck.values())
        for threads in self._threads.values():
            labels += threads.abandoned
        return labels

    async def turn(self, adapter: Adapter) -> None:
        """Wait until ``adapter`` may send again, by its ``rate``: in order, nobody is passed."""
        if adapter.rate is None:
            return
        now = asyncio.get_running_loop().time()
        mine = max(self._free_at.get(id(adapter), now), now)
        self._free_at[id(adapter)] = mine + 1 / adapter.rate
        if mine > now:
            await asyncio.sleep(mine - now)

    async def send(self, adapter: Adapter, message: Message, label: str) -> Receipt | Failure:
        """One send in a task of its own: an adapter that will not end is left behind."""
        begun = asyncio.Event()
        task = asyncio.create_task(self._contained(adapter, message, begun))
        try:
            done, _ = await asyncio.wait({task}, timeout=SEND_TIMEOUT)
        finally:
            task.cancel()
        if not done:
            self._leave(task, label)
            log.error("%s: no answer within %g s", label, SEND_TIMEOUT)
            if begun.is_set():
                why = f"no answer within {SEND_TIMEOUT:g} s; it may have gone out"
                return Failure(why, unknown=True)
            return Failure(f"no thread was free within {SEND_TIMEOUT:g} s")
        result = task.result()
        if isinstance(result, Failure):
            log.warning("%s failed: %s", label, result.error)
        return result

    def _leave(self, task: asyncio.Task[Receipt | Failure], label: str) -> None:
        if not task.done():
            self._stuck[task] = label
            task.add_done_callback(lambda done: self._stuck.pop(done, None))

    async def _contained(
        self, adapter: Adapter, message: Message, begun: asyncio.Event
    ) -> Receipt | Failure:
        try:
            result = await self._call(adapter, message, begun)
        except DeliveryError as error:
            why = _why(error, message).removeprefix("DeliveryError: ")
            return Failure(why, error.retry_after, error.permanent, error.unknown)
        except TimeoutError as error:
            return Failure(f"{_why(error, message)}; it may have gone out", unknown=True)
        except BaseException as error:
            if meant_for_us(error):
                raise
            return Failure(_why(error, message))
        if not isinstance(result, Receipt):
            why = f"{adapter.name}.send gave {type(result).__name__}, not a Receipt"
            return Failure(why, permanent=True)
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

            label = f"{adapter.name}: {message.run.id}"
            sent = await self._threads_of(adapter).run(send, label=label)
        return await sent if inspect.isawaitable(sent) else sent

    def _threads_of(self, adapter: Adapter) -> Threads:
        key = id(adapter)
        if key not in self._threads:
            self._threads[key] = Threads(self._max_threads, f"acron-deliver-{adapter.name}")
        return self._threads[key]

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 (a bound, not a deadline)
        """Give what runs in threads ``timeout`` seconds to end, and leave the rest behind."""
        await asyncio.gather(*(one.close(timeout) for one in self._threads.values()))


def _why(error: BaseException, message: Message) -> str:
    return one_line(hide(text_of(error), message.to))
