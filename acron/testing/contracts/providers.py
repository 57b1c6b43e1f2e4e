"""The duties of a ``CronScheduler``, as tests. Subclass ``ProviderContract`` and give ``make``.

    class TestMine(ProviderContract):
        def make(self) -> CronScheduler:
            return MyCronScheduler()

Time is virtual (the fixture ``acron_time``), and seconds count from the making of a
``FakeFiring``: the suite simulates hours in milliseconds.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import pytest

from acron.abc import CronScheduler, Fired, Firing
from acron.testing.contracts.firing import EPOCH, Backlog, FakeFiring

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["Backlog", "FakeFiring", "ProviderContract", "Started"]

#: "At once", in seconds: what a provider may take to react when nothing holds it up.
PROMPT = 0.5
#: How long a provider may take to end whatever happens, in seconds.
BOUND = 15.0
#: How late a due instant may be ticked on an idle loop, in seconds.
LATE = 0.01


class Started:
    """A provider that was started; as a context, one that is ended at last, come what may.

    What ``start`` raises is kept: even a KeyboardInterrupt then fails one test only.
    """

    def __init__(self, provider: CronScheduler, firing: Firing, interval: float) -> None:
        self.stop = asyncio.Event()
        self.error: BaseException | None = None
        self.task = asyncio.create_task(self._run(provider, firing, interval))

    async def _run(self, provider: CronScheduler, firing: Firing, interval: float) -> None:
        try:
            await provider.start(self.stop, firing=firing, interval=interval)
        except BaseException as error:  # noqa: BLE001 (it is what the tests look at)
            self.error = error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        self.task.cancel()
        await asyncio.wait({self.task}, timeout=BOUND)

    async def end(self, within: float) -> None:
        """Wait for ``start`` to return."""
        await asyncio.wait({self.task}, timeout=within)
        assert self.task.done(), f"start() did not return within {within} s"


def at_await(firing: FakeFiring, point: int, act: Callable[[], object]) -> list[int]:
    """Call ``act`` at that await point of ``firing``. Once it is passed, the list that is
    returned holds how many ticks had begun by then."""
    hit: list[int] = []

    def on_await(count: int) -> None:
        if count == point:
            hit.append(len(firing.ticks))
            act()

    firing.on_await = on_await
    return hit


@pytest.mark.usefixtures("acron_time")
class ProviderContract:
    """What every provider must hold; see ``CronScheduler``."""

    #: False for a provider that only arms an outside scheduler: the tests that want it to tick
    #: by itself are skipped.
    pulls: bool = True

    def make(self) -> CronScheduler:
        """A new provider that is not started."""
        raise NotImplementedError

    @asynccontextmanager
    async def started(self, firing: FakeFiring, interval: float = 60.0) -> AsyncIterator[Started]:
        """A started provider, stopped at the end, which must be prompt and leave nothing."""
        before = asyncio.all_tasks()
        provider = self.make()
        async with Started(provider, firing, interval) as running:
            yield running
            assert running.error is None
            running.stop.set()
            await running.end(within=PROMPT)
            await provider.stop()
        assert running.error is None
        assert asyncio.all_tasks() <= before | {running.task}, "a task was left running"

    def needs_ticks(self) -> None:
        if not self.pulls:
            pytest.skip("this provider arms an outside scheduler")

    # --- a name, and no network -------------------------------------------------------------

    def test_has_a_short_plain_name_that_stays(self) -> None:
        provider = self.make()
        assert provider.name.replace("-", "_").isidentifier()
        assert provider.name == provider.name.strip().lower()
        assert self.make().name == provider.name

    def test_is_available_without_the_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        provider = self.make()
        used: list[str] = []

        def refuse(what: str) -> Callable[..., Any]:
            def call(*_args: Any, **_kwargs: Any) -> Any:
                used.append(what)
                raise OSError(f"{what}: is_available() must not use the network")

            return call

        for name in ("getaddrinfo", "gethostbyname", "create_connection"):
            monkeypatch.setattr(socket, name, refuse(name))
        for name in ("connect", "connect_ex", "sendto"):
            monkeypatch.setattr(socket.socket, name, refuse(name))
        assert provider.is_available() is True
        assert used == []

    # --- start and stop ---------------------------------------------------------------------

    async def test_stop_before_start_and_twice(self) -> None:
        provider = self.make()
        await provider.stop()
        await provider.stop()

    async def test_stop_twice_after_start(self) -> None:
        provider = self.make()
        async with Started(provider, FakeFiring(), 60.0) as running:
            await asyncio.sleep(1)
            running.stop.set()
            await provider.stop()
            await provider.stop()
            await running.end(within=PROMPT)
        assert running.error is None

    async def test_does_nothing_when_stopped_before_it_starts(self) -> None:
        firing = FakeFiring(0.0)
        async with Started(self.make(), firing, 60.0) as running:
            running.stop.set()
            await running.end(within=PROMPT)
        assert running.error is None
        assert firing.ticks == []

    async def test_looks_or_arms_at_once(self) -> None:
        firing = FakeFiring(0.0, 3.0)
        async with self.started(firing):
            await asyncio.sleep(PROMPT)
            assert firing.ticks if self.pulls else firing.armings

    async def test_stops_promptly_at_every_await(self) -> None:
        for point in range(1, 60):
            firing = FakeFiring(0.0, 1.0, 1.0, 2.5)
            async with self.started(firing, interval=3.0) as running:
                hit = at_await(firing, point, running.stop.set)
                await asyncio.wait({running.task}, timeout=10)
                if hit:
                    await running.end(within=PROMPT)
                    assert len(firing.ticks) == hit[0], f"a tick began after stop ({point=})"
            if not hit:
                break
        assert point > 1, "start() passed no await point"

    async def test_is_cancelled_at_every_await(self) -> None:
        for point in range(1, 60):
            firing = FakeFiring(0.0, 1.0, 1.0, 2.5)
            provider = self.make()
            async with Started(provider, firing, 3.0) as running:
                hit = at_await(firing, point, running.task.cancel)
                await asyncio.wait({running.task}, timeout=10)
                await provider.stop()
                if not hit or running.error is None:  # one that arms has returned by then
                    break
                await running.end(within=BOUND)
                assert isinstance(running.error, asyncio.CancelledError), f"swallowed ({point=})"
                await asyncio.sleep(10)
                assert len(firing.ticks) == hit[0], f"a tick began after the end ({point=})"
        assert point > 1, "start() passed no await point"
        assert not (hit and self.pulls), f"swallowed ({point=})"

    async def test_ends_though_a_tick_hangs(self) -> None:
        self.needs_ticks()
        firing = FakeFiring(takes=1e6)
        async with Started(self.make(), firing, 60.0) as running:
            await asyncio.sleep(1)
            running.stop.set()
            await running.end(within=BOUND)
        assert running.error is None
        assert len(firing.ticks) == 1

    # --- when it ticks ----------------------------------------------------------------------

    async def test_ticks_at_each_due_instant(self) -> None:
        self.needs_ticks()
        firing = FakeFiring(0.0, 1.5, 1.75, 59.999, 60.0, 200.0, 200.0)
        async with self.started(firing):
            await asyncio.sleep(300)
        assert [due for due, _ in firing.taken] == [0.0, 1.5, 1.75, 59.999, 60.0, 200.0, 200.0]
        assert all(at - due <= LATE for due, at in firing.taken)

    async def test_wakes_at_once_when_a_job_changes(self) -> None:
        self.needs_ticks()
        firing = FakeFiring(50.0)
        async with self.started(firing):
            for moment in (10.25, 10.5, 33.0):
                await asyncio.sleep(moment - firing.now)
                firing.change(moment)
            await asyncio.sleep(60)
        assert [due for due, _ in firing.taken] == [10.25, 10.5, 33.0, 50.0]
        assert all(at - due <= LATE for due, at in firing.taken)

    async def test_a_change_ticks_though_nothing_is_due(self) -> None:
        self.needs_ticks()
        firing = FakeFiring()
        async with self.started(firing):
            await asyncio.sleep(10)
            before = len(firing.ticks)
            firing.change()  # a slot is free again: what was left owed can go on
            await asyncio.sleep(LATE)
            assert len(firing.ticks) == before + 1

    @pytest.mark.parametrize("interval", [1.0, 60.0])
    async def test_never_sleeps_longer_than_the_interval(self, interval: float) -> None:
        self.needs_ticks()
        firing = FakeFiring(interval * 2.5, interval * 1000)
        async with self.started(firing, interval):
            await asyncio.sleep(interval * 10)
        assert max(firing.waits, default=0.0) <= interval
        looks = [*firing.ticks, interval * 10]
        assert max(after - before for before, after in pairwise(looks)) <= interval + LATE

    async def test_never_polls(self) -> None:
        self.needs_ticks()
        firing = FakeFiring(*range(0, 3600, 600))
        async with self.started(firing):
            await asyncio.sleep(3600)
        assert len(firing.taken) == 6
        assert len(firing.ticks) <= 60 + 2 * 6
        assert len(firing.waits) <= 60 + 2 * 6

    @pytest.mark.parametrize("early", [1e-6, 0.0004])
    async def test_a_timer_that_wakes_early_waits_again(self, early: float) -> None:
        self.needs_ticks()
        firing = FakeFiring(*range(10, 110, 10), early=early)
        async with self.started(firing):
            await asyncio.sleep(115)
        assert [due for due, _ in firing.taken] == list(range(10, 110, 10))
        assert all(at - due <= LATE for due, at in firing.taken)
        assert len(firing.ticks) <= 40
        assert len(firing.waits) <= 1500

    async def test_a_backlog_leaves_the_loop_to_others(self) -> None:
        self.needs_ticks()
        firing = Backlog()
        async with self.started(firing):
            for _ in range(100):
                await asyncio.sleep(0)
            assert 0 < len(firing.ticks) <= 200

    # --- what goes wrong --------------------------------------------------------------------

    @pytest.mark.parametrize(
        "kind", [Exception, SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit]
    )
    async def test_survives_whatever_a_tick_raises(self, kind: type[BaseException]) -> None:
        self.needs_ticks()
        firing = FakeFiring(150.0, 200.0)  # after two pauses of a whole interval
        firing.failures.extend([kind("made up in a tick"), kind("and again")])
        async with self.started(firing):
            await asyncio.sleep(210)
            assert not firing.failures
        assert [due for due, _ in firing.taken] == [150.0, 200.0]

    async def test_failing_ticks_come_at_a_bounded_pace_and_go_on(self) -> None:
        self.needs_ticks()
        firing = FakeFiring(0.0)
        firing.failing = OSError("the disk is full")
        async with self.started(firing):
            await asyncio.sleep(3600)
            assert 59 <= len(firing.ticks) <= 70
            firing.failing = None
            await asyncio.sleep(60 + LATE)
            assert len(firing.taken) == 1

    async def test_stops_promptly_after_a_failed_tick(self) -> None:
        self.needs_ticks()
        firing = FakeFiring()
        firing.failing = OSError("no")
        async with self.started(firing):
            await asyncio.sleep(40)
            ticks = len(firing.ticks)
        assert len(firing.ticks) == ticks

    # --- the other doors --------------------------------------------------------------------

    @pytest.mark.parametrize("answer", list(Fired))
    async def test_an_outside_trigger_goes_through_firing(self, answer: Fired) -> None:
        firing = FakeFiring()
        firing.answer = answer
        assert await self.make().fire_due("job", EPOCH, firing=firing) is answer
        assert firing.fired == [("job", EPOCH)]

    async def test_hooks_may_be_called_at_any_time_and_twice(self) -> None:
        firing = FakeFiring(100.0)
        provider = self.make()
        for _ in range(2):
            await provider.on_jobs_changed(firing=firing)
            await provider.reconcile(firing=firing)
        assert firing.taken == []
        await provider.stop()
