"""Scale to zero: be there while there is something to do, and arm the rest outside."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from acron.contain import meant_for_us, text_of
from acron.text import one_line

if TYPE_CHECKING:
    from acron.abc import CronScheduler
    from acron.runtime import Runtime

log = logging.getLogger("acron.runtime")

#: The longest time between two looks whether we are idle, in seconds.
LOOK = 1.0


async def fire_until_idle(
    rt: Runtime, provider: CronScheduler, stop: asyncio.Event, seconds: float
) -> None:
    """Return when ``stop`` is set, or when nothing has run for ``seconds`` and nothing is due in
    as many. ``provider`` is armed first, so that after a crash we are called for what was known
    then (what is due later of a job whose armed instant was fired here, waits for the next start),
    and last: what it raises then is raised, because nobody would call us again."""
    await rt.tick()
    try:
        await provider.reconcile(firing=rt)
    except BaseException as error:
        if meant_for_us(error):
            raise
        log.warning("%s: %s; tried again at the end", provider.name, one_line(text_of(error)))
    stopping = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            await _until_quiet(rt, stopping, seconds)
            await provider.reconcile(firing=rt)
            if await _quiet_for(rt, seconds) <= 0:
                return
    finally:
        stopping.cancel()


async def _until_quiet(rt: Runtime, stopping: asyncio.Task[bool], seconds: float) -> None:
    while not stopping.done() and (left := await _quiet_for(rt, seconds)) > 0:
        await asyncio.wait({stopping}, timeout=min(left, LOOK))


async def _quiet_for(rt: Runtime, seconds: float) -> float:
    """How many more seconds there must be nothing to do; 0 or less: we are idle."""
    due_in = await rt.due_in()
    if due_in is not None and due_in <= seconds:
        return due_in + 0.01
    return seconds - rt.idle_for
