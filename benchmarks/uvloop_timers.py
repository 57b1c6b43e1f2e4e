"""Row F12: on uvloop, whose timers wake up early, no fire is early and nothing spins.

    python -m benchmarks.uvloop_timers

One-shots at instants that are not whole milliseconds. A wake-up is one return from waiting for
a timer, or one tick. Beside it the naive scheduler: a timer for each instant, trusted, or set
again while it is too early.
"""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from acron.providers import InProcessCronScheduler
from benchmarks.common import Figures, Finding, Goals, Rounds, Size, in_child, main, plain
from benchmarks.subjects import ours

if TYPE_CHECKING:
    from acron.abc import Firing


class Counting:
    """A ``Firing`` that counts how often its waits returned."""

    def __init__(self, firing: Firing) -> None:
        self._firing = firing
        self.woken = 0
        self.ticks = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._firing, name)

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (the contract's)
        try:
            return await self._firing.changed(timeout)
        finally:
            self.woken += 1

    async def tick(self) -> int:
        self.ticks += 1
        return await self._firing.tick()


class CountingScheduler(InProcessCronScheduler):
    """The built-in provider, with a counting ``Firing``."""

    counting: Counting | None = None

    async def start(
        self, stop_event: asyncio.Event, *, firing: Firing, interval: float = 60.0
    ) -> None:
        self.counting = Counting(firing)
        await super().start(stop_event, firing=self.counting, interval=interval)


def instants(timers: int, lead: float, seconds: float) -> list[float]:
    draw = random.Random(1)
    begin = time.time() + lead
    return sorted(round(begin + draw.random() * seconds, 6) for _ in range(timers))


async def acron(timers: int, seconds: float) -> Figures:
    provider = CountingScheduler()
    app = ours.make("memory://", provider)
    early: list[float] = []

    @app.action
    async def work(due: float) -> None:
        early.append(due - time.time())

    async with app:
        due = instants(timers, 0.4 + timers * ours.COST, seconds)
        rows = [{"schedule": ours.spell(one), "action": "work", "kwargs": {"due": one}}
                for one in due]  # fmt: skip
        await app.add_many(rows)
        await asyncio.sleep(due[0] - 0.1 - time.time())
        counting = provider.counting
        if counting is None:
            raise RuntimeError("the provider was not started")
        woken, ticks = counting.woken, counting.ticks
        await asyncio.sleep(due[-1] + 0.2 - time.time())
        woken, ticks = counting.woken - woken, counting.ticks - ticks
    return {
        "fired": len(early),
        "early": float(sum(one > 0 for one in early)),
        "wakeups": max(woken, ticks) / timers,
    }


async def naive(timers: int, seconds: float) -> Figures:
    """A timer for each instant; it spins while it is too early."""
    loop = asyncio.get_running_loop()
    woken = early = fired = 0
    done = asyncio.Event()

    def fire(due: float, *, first: bool) -> None:
        nonlocal woken, early, fired
        woken += 1
        left = due - time.time()
        early += first and left > 0
        if left > 0:
            loop.call_later(left, partial(fire, due, first=False))
            return
        fired += 1
        if fired == timers:
            done.set()

    for due in instants(timers, 0.2, seconds):
        loop.call_later(due - time.time(), partial(fire, due, first=True))
    await done.wait()
    return {"fired": fired, "early": float(early), "wakeups": woken / timers}


def run(size: Size) -> list[Finding]:
    timers, seconds = size.of(1000, 30), size.seconds(10)
    here = "benchmarks.uvloop_timers"
    load: dict[str, Any] = {"timers": timers, "seconds": seconds}
    subjects = {
        "acron": in_child(f"{here}:acron", size, loop="uvloop", **load),
        "naive": in_child(f"{here}:naive", size, loop="uvloop", **load),
        "acron on asyncio": in_child(f"{here}:acron", size, **load),
        "idle": in_child("benchmarks.subjects.ours:idle", size, loop="uvloop",
                         store="memory://", seconds=size.seconds(20)),
        "once a second": in_child("benchmarks.subjects.bare:idle", size, loop="uvloop",
                                  seconds=size.seconds(20)),
    }  # fmt: skip
    if size.inline:
        del subjects["acron on asyncio"]
    found = Rounds(subjects, size)
    if "acron" not in found:
        return []
    goals = Goals("F12", f"{timers:,} timers on uvloop", "uvloop_timers")
    timed = [name for name in subjects if "acron" in name or name == "naive"]
    told = ", ".join(
        f"{name}: {found.middle(name, 'early'):.0f} early, "
        f"{found.middle(name, 'wakeups'):.2f} wake-ups a timer"
        for name in timed
    )
    goals.add("no early fire", plain(found.each("acron", "early")), at_most=0, unit="",
              figures=told)  # fmt: skip
    goals.add("≤ 1.2 wake-ups a timer", plain(found.each("acron", "wakeups")), at_most=1.2,
              unit="", figures=told)  # fmt: skip
    got = found.ratio("cpu_ms_per_s", "idle", "once a second")
    told = (
        f"{found.middle('idle', 'cpu_ms_per_s'):.2f} ms/s, waking once a second "
        f"{found.middle('once a second', 'cpu_ms_per_s'):.2f} ms/s"
    )
    goals.add("idle ≤ 2x waking once a second", got, at_most=2, figures=told)
    return goals.findings


if __name__ == "__main__":
    main(run, __doc__)
