"""Waking whoever waits for a change."""

from __future__ import annotations

import asyncio
import math


class News:
    """Something changed since the last ``wait``; belongs to one event loop."""

    def __init__(self) -> None:
        self.count = 0  # how often there was news
        self._fresh = False
        self._waiting: dict[asyncio.Future[bool], None] = {}  # in the order of their coming

    def tell(self) -> None:
        self.count += 1
        woken = [one for one in self._waiting if not one.done()]
        for one in woken:
            one.set_result(True)
        self._fresh = self._fresh or not woken

    async def wait(self, timeout: float, look: float = math.inf) -> bool:  # noqa: ASYNC109 (a bound, not a deadline)
        """True at the next news, at once if there was some; False after ``timeout`` seconds, or
        after ``look``: it is time to look for what others did. (A loop in virtual time leaves out
        the looks before which nobody did anything.)"""
        if self._fresh:
            self._fresh = False
            return True
        loop = asyncio.get_running_loop()
        told: asyncio.Future[bool] = loop.create_future()
        call_idly = getattr(loop, "acron_call_idly", None)
        bound = timeout if call_idly else min(timeout, look)
        timers = [loop.call_later(max(bound, 0), _give_up, told)]
        if call_idly and look < timeout:
            timers.append(call_idly(look, _give_up, told))
        self._waiting[told] = None
        try:
            return await told
        except asyncio.CancelledError:
            # The news came together with the cancellation: it is for the next one to wait.
            self._fresh = self._fresh or (told.done() and not told.cancelled() and told.result())
            raise
        finally:
            for timer in timers:
                timer.cancel()
            self._waiting.pop(told, None)


def _give_up(told: asyncio.Future[bool]) -> None:
    if not told.done():
        told.set_result(False)
