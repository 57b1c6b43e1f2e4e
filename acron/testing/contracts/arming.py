"""The further duties of a provider that arms an outside scheduler, as tests.

class TestMine(ArmingContract):
    def make_outside(self) -> Outside:
        return MyFakeScheduler()  # in memory, in virtual time

    def make(self) -> CronScheduler:
        return MyCronScheduler(self.outside)
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

import pytest

from acron.abc import Armed
from acron.testing.contracts.firing import FakeJobs
from acron.testing.contracts.providers import ProviderContract, Started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from acron.abc import CronScheduler

__all__ = ["ArmingContract", "FakeJobs", "Outside"]

#: Seconds in which a provider follows a change when the outside is well.
SOON = 2.0
#: Seconds in which it gives up on an outside that is down or hangs, so that another can serve.
GIVES_UP = 60.0


class Outside(ABC):
    """A scheduler outside, as the suite plays it."""

    #: How often it was told to arm or to cancel.
    changes: int = 0
    #: ``"down"``: every request fails; ``"hangs"``: none is answered.
    trouble: str = ""

    @abstractmethod
    def held(self) -> dict[str, Armed]:
        """What it holds now, by job id."""

    @abstractmethod
    def plant(self, one: Armed) -> None:
        """It holds that, though nobody told it to."""

    @abstractmethod
    def lose(self, job_id: str) -> None:
        """It has forgotten the job."""

    @abstractmethod
    async def call(self, provider: CronScheduler, one: Armed) -> None:
        """Trigger the provider, as its callback would."""

    async def serve(self, provider: CronScheduler, firing: FakeJobs) -> None:
        """Call back what it holds at its instant, and let go of it; for ever."""
        while True:
            await asyncio.sleep(0.5)
            for one in list(self.held().values()):
                if one.instant <= firing.at(firing.now) and not self.trouble:
                    self.lose(one.job_id)
                    await self.call(provider, one)


class ArmingContract(ProviderContract):
    """What a provider that arms must hold, beside ``ProviderContract``."""

    pulls = False
    #: Seconds after which the provider itself fires what the outside holds and never calls for;
    #: None: it leaves that to the runtime.
    sweep: float | None = None

    def make_outside(self) -> Outside:
        """A new scheduler outside, which holds nothing."""
        raise NotImplementedError

    @cached_property
    def outside(self) -> Outside:
        """The scheduler of this test."""
        return self.make_outside()

    async def arming(self, firing: FakeJobs) -> AsyncIterator[CronScheduler]:
        """A provider that has armed; stopped at the end."""
        before = asyncio.all_tasks()
        provider = self.make()
        async with Started(provider, firing, 60.0) as running:
            await asyncio.sleep(SOON)
            assert running.error is None
            yield provider
            running.stop.set()
            await provider.stop()
            await running.end(within=SOON)
        assert running.error is None
        assert asyncio.all_tasks() <= before | {running.task}, "a task was left running"

    def wanted(self, firing: FakeJobs) -> dict[str, Armed]:
        """What the outside should hold."""
        return {job_id: Armed(job_id, firing.at(due)) for job_id, due in firing.jobs.items()}

    # --- the outside equals the store ---------------------------------------------------------

    async def test_arms_each_job_at_its_next_instant(self) -> None:
        firing = FakeJobs({"a": 100.0, "b": 4000.0, "c": 9e8})
        async for _ in self.arming(firing):
            assert self.outside.held() == self.wanted(firing)
            assert firing.fired == []

    async def test_reconcile_arms_missing_and_changed_and_cancels_orphans(self) -> None:
        firing = FakeJobs({"a": 100.0, "b": 200.0, "c": 300.0})
        self.outside.plant(Armed("stranger", firing.at(500.0)))
        self.outside.plant(Armed("c", firing.at(301.0 + 3600)))
        async for provider in self.arming(firing):
            assert self.outside.held() == self.wanted(firing)
            self.outside.lose("a")
            self.outside.plant(Armed("b", firing.at(7777.0)))
            self.outside.plant(Armed("late", firing.at(900.0)))
            await provider.reconcile(firing=firing)
            assert self.outside.held() == self.wanted(firing)

    async def test_reconcile_is_idempotent(self) -> None:
        firing = FakeJobs({"a": 100.0, "b": 200.0})
        async for provider in self.arming(firing):
            before = self.outside.changes
            await provider.reconcile(firing=firing)
            await asyncio.gather(*(provider.reconcile(firing=firing) for _ in range(5)))
            assert self.outside.changes == before
            assert self.outside.held() == self.wanted(firing)

    async def test_follows_changes(self) -> None:
        firing = FakeJobs({"a": 1000.0, "b": 2000.0, "c": 3000.0})
        async for _ in self.arming(firing):
            before = self.outside.changes
            firing.put("a", 1500.0)
            firing.put("b", None)
            firing.put("d", 2500.0)
            await asyncio.sleep(SOON)
            assert self.outside.held() == self.wanted(firing)
            assert self.outside.changes == before + 3

    async def test_changes_that_come_together_are_armed_once(self) -> None:
        firing = FakeJobs({"a": 1000.0})
        async for provider in self.arming(firing):
            before = self.outside.changes
            firing.put("a", 1700.0)
            hooks = (provider.on_jobs_changed(firing=firing) for _ in range(20))
            await asyncio.gather(*hooks)
            await asyncio.sleep(SOON)
            assert self.outside.changes == before + 1
            assert self.outside.held() == self.wanted(firing)

    async def test_a_start_at_any_point_of_another_that_was_cut_off_converges(self) -> None:
        for point in range(1, 40):
            firing = FakeJobs({"a": 100.0, "b": 200.0})
            async with Started(self.make(), firing, 60.0) as running:

                def cut(count: int, point: int = point, running: Started = running) -> None:
                    if count == point:
                        running.task.cancel()

                firing.on_await = cut
                await asyncio.wait({running.task}, timeout=1)
            if running.error is None:
                break
            firing.on_await = None
            async for _ in self.arming(firing):
                assert self.outside.held() == self.wanted(firing)
        assert point > 1, "start() passed no await point"

    async def test_stopping_leaves_what_is_armed_and_starts_again(self) -> None:
        firing = FakeJobs({"a": 100.0})
        provider = self.make()
        for _ in range(2):
            async with Started(provider, firing, 60.0) as running:
                await asyncio.sleep(SOON)
                running.stop.set()
                await provider.stop()
            assert running.error is None
            assert self.outside.held() == self.wanted(firing)

    # --- triggers -------------------------------------------------------------------------------

    async def test_one_trigger_an_instant_and_armed_again_after_each(self) -> None:
        firing = FakeJobs({"a": 30.0, "b": 45.0}, every=60.0)
        async for provider in self.arming(firing):
            serving = asyncio.create_task(self.outside.serve(provider, firing))
            await asyncio.sleep(600)
            serving.cancel()
            assert self.outside.held() == self.wanted(firing)
        assert len(firing.claims) == 20
        assert all(at - due <= SOON for _, due, at in firing.claims)
        assert len(firing.fired) == 20, "something else pulled the trigger too"
        assert firing.ticks == []

    async def test_a_duplicate_trigger_claims_nothing(self) -> None:
        firing = FakeJobs({"a": 30.0}, every=600.0)
        async for provider in self.arming(firing):
            await asyncio.sleep(30 - firing.now)
            for _ in range(3):
                await self.outside.call(provider, Armed("a", firing.at(30.0)))
            await asyncio.gather(
                *(self.outside.call(provider, Armed("a", firing.at(30.0))) for _ in range(3))
            )
            await asyncio.sleep(SOON)
            assert [due for _, due, _ in firing.claims] == [30.0]
            assert self.outside.held() == self.wanted(firing)

    async def test_a_trigger_for_nothing_changes_nothing(self) -> None:
        firing = FakeJobs({"a": 1000.0})
        async for provider in self.arming(firing):
            await self.outside.call(provider, Armed("gone", firing.at(1.0)))
            await self.outside.call(provider, Armed("a", firing.at(1000.0)))  # far too early
            await asyncio.sleep(SOON)
            assert firing.claims == []
            assert self.outside.held() == self.wanted(firing)

    async def test_a_lost_trigger_is_swept_once(self) -> None:
        if self.sweep is None:
            pytest.skip("the runtime sweeps for this provider")
        firing = FakeJobs({"a": 30.0})
        async for _ in self.arming(firing):
            await asyncio.sleep(self.sweep)
            assert firing.claims == []
            await asyncio.sleep(30.0 + SOON)
            ((_, due, at),) = firing.claims
            assert (due, at >= 30.0 + self.sweep) == (30.0, True)

    # --- what goes wrong ------------------------------------------------------------------------

    @pytest.mark.parametrize("trouble", ["down", "hangs"])
    async def test_start_fails_when_it_cannot_arm(self, trouble: str) -> None:
        self.outside.trouble = trouble
        provider = self.make()
        async with Started(provider, FakeJobs({"a": 5000.0}), 60.0) as running:
            await running.end(within=GIVES_UP)
            assert isinstance(running.error, Exception), "the built-in would not take over"
            await provider.stop()

    @pytest.mark.parametrize("trouble", ["down", "hangs"])
    async def test_stops_promptly_while_the_outside_is_ill(self, trouble: str) -> None:
        firing = FakeJobs({"a": 5000.0})
        async for _ in self.arming(firing):
            self.outside.trouble = trouble
            firing.put("a", 6000.0)
            await asyncio.sleep(20)

    async def test_heals_when_the_outside_does(self) -> None:
        firing = FakeJobs({"a": 5000.0, "b": 6000.0})
        async for _ in self.arming(firing):
            self.outside.trouble = "down"
            firing.put("a", 7000.0)
            await asyncio.sleep(120)
            self.outside.lose("b")
            self.outside.trouble = ""
            await asyncio.sleep(120)
            assert self.outside.held() == self.wanted(firing)
