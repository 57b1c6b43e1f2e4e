"""A provider for acron: the built-in, with a button. ``kill -USR1 PID`` makes it look at once.

Of use where other processes' changes cannot be seen: a store on a share, a clock that was set.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

from acron import CronScheduler, InProcessCronScheduler

if TYPE_CHECKING:
    from acron import Firing


class Usr1Scheduler(CronScheduler):
    """Ticks as the built-in does, and when the process gets SIGUSR1."""

    def __init__(self) -> None:
        self._builtin = InProcessCronScheduler()

    @property
    def name(self) -> str:
        return "usr1"

    def is_available(self) -> bool:
        """Not on Windows, which has no such signal."""
        return hasattr(signal, "SIGUSR1")

    async def start(
        self, stop_event: asyncio.Event, *, firing: Firing, interval: float = 60.0
    ) -> None:
        """Tick until ``stop_event`` is set."""
        loop = asyncio.get_running_loop()
        button = Button(firing)
        loop.add_signal_handler(signal.SIGUSR1, button.pressed.set)
        try:
            await self._builtin.start(stop_event, firing=button, interval=interval)
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)


class Button:
    """A ``Firing`` for which a pressed button is a change."""

    def __init__(self, firing: Firing) -> None:
        self.pressed = asyncio.Event()
        self._firing = firing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._firing, name)

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (the contract's)
        news = asyncio.create_task(self._firing.changed(timeout))
        pressed = asyncio.create_task(self.pressed.wait())
        try:
            await asyncio.wait({news, pressed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (news, pressed):
                one.cancel()
            await asyncio.wait({news, pressed})
        self.pressed.clear()
        return (not news.cancelled() and news.result()) or not pressed.cancelled()
