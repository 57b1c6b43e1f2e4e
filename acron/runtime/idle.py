"""Scale to zero: be there while there is something to do, and arm the rest outside."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from acron.contain import meant_for_us, text_of
from acron.errors import ProviderDown
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from acron.abc import CronScheduler
    from acron.runtime import Runtime

log = logging.getLogger("acron.runtime")

#: The longest time between two looks whether we are idle, in seconds.
LOOK = 1.0
#: Seconds that the provider has to arm once we are to stop, and to stop.
LAST = 15.0


async def fire_until_idle(
    rt: Runtime, provider: CronScheduler, stop: asyncio.Event, seconds: float
) -> None:
    """Return when ``stop`` is set, or when nothing has run for ``seconds`` and nothing is due in
    as many. ``provider`` is armed first, so that after a crash we are called for what was known
    then (what is due later of a job whose armed instant was fired here, waits for the next start),
    and last: what it raises then is raised, because nobody would call us again. It is stopped at
    the end."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await rt.tick()
        if (error := await _arm(rt, provider, stopping)) is not None:
            log.warning("%s: %s; tried again at the end", provider.name, one_line(text_of(error)))
        while True:
            await _until_quiet(rt, stopping, seconds)
            if (error := await _arm(rt, provider, stopping)) is not None:
                raise error
            if stopping.done() or await _quiet_for(rt, seconds) <= 0:
                return
    finally:
        if (error := await _outcome(provider.stop(), stopping, 0.0)) is not None:
            log.warning("%s does not stop: %s", provider.name, one_line(text_of(error)))
        stopping.cancel()


async def _arm(
    rt: Runtime, provider: CronScheduler, stopping: asyncio.Task[bool]
) -> BaseException | None:
    return await _outcome(provider.reconcile(firing=rt), stopping)


async def _outcome(
    work: Coroutine[Any, Any, None], stopping: asyncio.Task[bool], first: float | None = None
) -> BaseException | None:
    """What ``work`` of a provider raises, if it does. It may take ``first`` seconds (None: as
    long as it likes) or until we are to stop, and then ``LAST``."""

    async def contained() -> BaseException | None:
        try:
            await work
        except BaseException as error:
            if meant_for_us(error):
                raise
            return error
        return None

    task = asyncio.create_task(contained())
    try:
        either: set[asyncio.Future[Any]] = {task, stopping}
        await asyncio.wait(either, timeout=first, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({task}, timeout=LAST)
    finally:
        task.cancel()
    if task.done():
        return task.result()
    await asyncio.wait({task}, timeout=1.0)
    return ProviderDown(f"the provider gave no answer within {LAST:g} s")


async def _until_quiet(rt: Runtime, stopping: asyncio.Task[bool], seconds: float) -> None:
    while not stopping.done() and (left := await _quiet_for(rt, seconds)) > 0:
        await asyncio.wait({stopping}, timeout=min(left, LOOK))


async def _quiet_for(rt: Runtime, seconds: float) -> float:
    """How many more seconds there must be nothing to do; 0 or less: we are idle."""
    due_in = await rt.due_in()
    if due_in is not None and due_in <= seconds:
        return due_in + 0.01
    return seconds - rt.idle_for
