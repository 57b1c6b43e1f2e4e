"""The provider contract itself: it lets a provider that arms pass, and finds each fault."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from acron.abc import CronScheduler
from acron.testing.contracts.firing import EPOCH, FakeFiring
from acron.testing.contracts.providers import ProviderContract

if TYPE_CHECKING:
    from acron.abc import Firing

pytestmark = pytest.mark.usefixtures("acron_time")


class Arming(CronScheduler):
    """Arms an outside scheduler (a list) and returns."""

    def __init__(self) -> None:
        self.held: list[str] = []

    @property
    def name(self) -> str:
        return "arming"

    async def start(
        self, stop_event: asyncio.Event, *, firing: Firing, interval: float = 60.0
    ) -> None:
        if not stop_event.is_set():
            await self.reconcile(firing=firing)

    async def reconcile(self, *, firing: Firing) -> None:
        self.held = [one.job_id async for one in firing.armed(EPOCH + timedelta(days=1))]


class TestArmingProvider(ProviderContract):
    pulls = False

    def make(self) -> Arming:
        return Arming()


async def test_the_fake_gives_what_is_to_be_armed_up_to_the_horizon() -> None:
    firing = FakeFiring(1.0, 2.0, 90_000.0)
    provider = Arming()
    await provider.reconcile(firing=firing)
    assert provider.held == ["job-0", "job-1"]
    assert firing.armings == 1


class Naive(CronScheduler):
    """A tick loop with a knob for each mistake."""

    polls = False  # looks every second
    sleeps = False  # deaf to changes
    oversleeps = False  # for two intervals
    fragile = False  # survives Exception only
    swallows = False  # even its own cancellation
    deaf = False  # to stop, while it waits
    eager = False  # one more tick after stop
    spins = False  # when a timer is early
    hogs = False  # never yields
    hammers = False  # pauses too short after a failure, for ever
    leaks = False  # leaves a task behind
    dials = False  # asks the network whether it is available

    @property
    def name(self) -> str:
        return "naive"

    def is_available(self) -> bool:
        if self.dials:
            with contextlib.suppress(OSError), socket.socket() as connection:
                connection.connect_ex(("127.0.0.1", 9))
        return True

    async def start(
        self, stop_event: asyncio.Event, *, firing: Firing, interval: float = 60.0
    ) -> None:
        stopping = asyncio.create_task(stop_event.wait())
        if self.leaks:
            asyncio.get_running_loop().leaked = asyncio.create_task(  # type: ignore[attr-defined]
                asyncio.sleep(1000)
            )
        try:
            while not stop_event.is_set():
                await self._turn(stopping, firing, interval)
            if self.eager:
                await firing.tick()
        finally:
            stopping.cancel()

    async def _turn(self, stopping: asyncio.Task[bool], firing: Firing, interval: float) -> None:
        wait: asyncio.Future[object]
        try:
            started = await firing.tick()
            due_in = await firing.due_in()
            left = interval if due_in is None else min(due_in, interval)
            if self.hogs and left == 0:
                return
            left = max(left, 0.0 if started or self.spins else 0.001)
            left = 1.0 if self.polls else interval * 2 if self.oversleeps else left
            if self.spins:
                left = min(left, 0.02)
            plain = self.sleeps or self.polls or self.oversleeps or self.spins
            wait = asyncio.ensure_future(asyncio.sleep(left) if plain else firing.changed(left))
        except BaseException as error:
            task = asyncio.current_task()
            meant = isinstance(error, asyncio.CancelledError) and task and task.cancelling()
            if (meant and not self.swallows) or (self.fragile and not isinstance(error, Exception)):
                raise
            wait = asyncio.ensure_future(asyncio.sleep(1.0 if self.hammers else interval))
        try:
            waits = {wait} if self.deaf else {wait, stopping}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wait.cancel()
            await asyncio.wait({wait})


CAUGHT_BY = {
    "polls": "test_never_polls",
    "sleeps": "test_wakes_at_once_when_a_job_changes",
    "oversleeps": "test_never_sleeps_longer_than_the_interval",
    "fragile": "test_survives_whatever_a_tick_raises",
    "swallows": "test_is_cancelled_at_every_await",
    "deaf": "test_stops_promptly_at_every_await",
    "eager": "test_stops_promptly_at_every_await",
    "spins": "test_a_timer_that_wakes_early_waits_again",
    "hogs": "test_a_backlog_leaves_the_loop_to_others",
    "hammers": "test_failing_ticks_come_at_a_bounded_pace_and_go_on",
    "leaks": "test_stops_promptly_after_a_failed_tick",
    "dials": "test_is_available_without_the_network",
}
ARGUMENTS = {"interval": 60.0, "early": 0.0004, "kind": SystemExit}


async def run(test: str, knob: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Suite(ProviderContract):
        def make(self) -> Naive:
            provider = Naive()
            if knob is not None:
                setattr(provider, knob, True)
            return provider

    method = getattr(Suite(), test)
    values = ARGUMENTS | {"monkeypatch": monkeypatch}
    result = method(**{name: values[name] for name in inspect.signature(method).parameters})
    if inspect.isawaitable(result):
        await result


@pytest.mark.parametrize("test", sorted(set(CAUGHT_BY.values())))
async def test_without_a_mistake_it_passes(test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await run(test, None, monkeypatch)


@pytest.mark.parametrize("knob, test", CAUGHT_BY.items())
async def test_each_mistake_is_found(knob: str, test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError):
        await run(test, knob, monkeypatch)
