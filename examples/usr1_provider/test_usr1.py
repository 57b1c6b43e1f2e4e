"""The suite that every provider passes, and what this one adds."""

from __future__ import annotations

import asyncio
import os
import signal

from acron_usr1 import Usr1Scheduler

from acron import Settings, resolve_cron_scheduler
from acron.testing.contracts.providers import FakeFiring, ProviderContract


class TestUsr1(ProviderContract):
    def make(self) -> Usr1Scheduler:
        return Usr1Scheduler()

    async def test_the_button_ticks_at_once(self) -> None:
        firing = FakeFiring()
        async with self.started(firing):
            await asyncio.sleep(10)
            before = len(firing.ticks)
            os.kill(os.getpid(), signal.SIGUSR1)
            await asyncio.sleep(0.01)
            assert len(firing.ticks) == before + 1


def test_acron_finds_it_by_its_name() -> None:
    assert type(resolve_cron_scheduler(Settings(provider="usr1"))) is Usr1Scheduler
