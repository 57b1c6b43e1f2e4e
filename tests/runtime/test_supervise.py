"""Never without a trigger, never with two, whatever a provider does."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from acron import Acron, CronScheduler, Fired, Firing, ProviderDown
from acron.abc import Armed
from acron.model import Settings

if TYPE_CHECKING:
    from acron.testing import VirtualTime


HOUR = timedelta(hours=1)
FAR = datetime(2099, 1, 1, tzinfo=UTC)


class Provider(CronScheduler):
    """Does what ``start`` is told by its subclass, and keeps count."""

    name = "odd"

    def __init__(self) -> None:
        self.running = 0
        self.stopped = 0

    async def stop(self) -> None:
        self.stopped += 1

    async def start(
        self, stop_event: asyncio.Event, *, firing: Firing, interval: float = 60.0
    ) -> None:
        self.running += 1
        try:
            await self.go(stop_event, firing)
        finally:
            self.running -= 1

    async def go(self, stop_event: asyncio.Event, firing: Firing) -> None:
        raise NotImplementedError


class Raises(Provider):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    async def go(self, stop_event: asyncio.Event, firing: Firing) -> None:
        raise self.error


class Returns(Provider):
    async def go(self, stop_event: asyncio.Event, firing: Firing) -> None:
        return


class Hangs(Provider):
    async def go(self, stop_event: asyncio.Event, firing: Firing) -> None:
        await asyncio.Event().wait()


class HangsAgainstCancellation(Provider):
    async def go(self, stop_event: asyncio.Event, firing: Firing) -> None:
        while not stop_event.is_set():
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue


class DiesLater(Provider):
    async def go(self, stop_event: asyncio.Event, firing: Firing) -> None:
        for _ in range(3):
            await firing.tick()
            await asyncio.sleep(60)
        raise ConnectionError("gone")


class Arms(Provider):
    """Arms and returns; the outside scheduler is the test."""

    def __init__(self, until: datetime) -> None:
        super().__init__()
        self.until = until
        self.armed: list[tuple[str, datetime]] = []

    async def go(self, stop_event: asyncio.Event, firing: Firing) -> None:
        self.armed = [(one.job_id, one.instant) async for one in firing.armed(self.until)]


BAD = [
    Raises(RuntimeError("no")),
    Raises(SystemExit(3)),
    Raises(KeyboardInterrupt()),
    Raises(asyncio.CancelledError()),
    Returns(),
    Hangs(),
    DiesLater(),
]


@pytest.mark.parametrize("provider", BAD, ids=lambda one: f"{type(one).__name__}")
async def test_the_built_in_takes_over(
    acron_time: VirtualTime, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    app = Acron("memory://", clock=acron_time.clock, provider=provider)
    fired = 0

    @app.job("every 1m")
    async def beat() -> None:
        nonlocal fired
        fired += 1

    async with app:
        await acron_time.advance(minutes=10, seconds=1)
        assert (await app.status()).provider == "inprocess"
        assert provider.running == 0
        assert provider.stopped == 1
        runs = await app.runs("beat")
    assert 7 <= fired <= 10
    assert len({run.scheduled_at for run in runs}) == fired
    assert any("takes over" in record.message for record in caplog.records)


async def test_a_provider_that_will_not_go_is_abandoned_and_named(
    acron_time: VirtualTime, caplog: pytest.LogCaptureFixture
) -> None:
    app = Acron("memory://", clock=acron_time.clock, provider=HangsAgainstCancellation())
    async with app:
        await acron_time.advance(minutes=5)
        assert (await app.status()).provider == "inprocess"
    assert any("abandoned" in record.message for record in caplog.records)
    await acron_time.advance(hours=2)


async def test_an_arming_provider_keeps_its_place(acron_time: VirtualTime) -> None:
    now = acron_time.clock.now()
    provider = Arms(now.replace(year=now.year + 1))
    app = Acron("memory://", clock=acron_time.clock, provider=provider)

    @app.job("every 1h")
    async def beat() -> None: ...

    async with app:
        await acron_time.advance(minutes=50)
        ((job_id, instant),) = provider.armed
        assert (await app.status()).provider == "odd"
        firing = app._firing()
        assert await provider.fire_due(job_id, instant, firing=firing) is Fired.EARLY
        await acron_time.advance(minutes=9, seconds=45)
        assert await provider.fire_due(job_id, instant, firing=firing) is Fired.CLAIMED
        assert acron_time.clock.now() >= instant
        assert await provider.fire_due(job_id, instant, firing=firing) is Fired.LOST
        assert await provider.fire_due("nobody", instant, firing=firing) is Fired.NOTHING
        await app.drain()
        assert await provider.fire_due(job_id, instant, firing=firing) is Fired.DRAINING
        (run,) = await app.runs("beat")
        assert run.scheduled_at == instant


class Told(Arms):
    """Arms what it is told of, one call at a time, and sometimes badly."""

    def __init__(self, until: datetime) -> None:
        super().__init__(until)
        self.calls = self.at_once = 0
        self.how = "well"

    async def on_jobs_changed(self, *, firing: Firing) -> None:
        self.calls += 1
        self.at_once += 1
        assert self.at_once == 1
        try:
            if self.how == "hangs":
                await asyncio.Event().wait()
            if self.how == "raises":
                raise SystemExit(3)
            await asyncio.sleep(0.5)
            self.armed = [(one.job_id, one.instant) async for one in firing.armed(self.until)]
        finally:
            self.at_once -= 1


@pytest.mark.parametrize("how", ["hangs", "raises"])
async def test_the_provider_is_told_that_jobs_were_written(
    acron_time: VirtualTime, how: str
) -> None:
    now = acron_time.clock.now()
    provider = Told(now.replace(year=now.year + 1))
    app = Acron("memory://", clock=acron_time.clock, provider=provider)

    @app.action
    async def ping() -> None: ...

    async with app:
        await acron_time.advance(minutes=1)
        provider.calls = 0
        for number in range(50):
            await app.add("in 2h", ping, id=f"j{number}")
        await acron_time.advance(seconds=10)
        assert len(provider.armed) == 50
        assert 1 <= provider.calls <= 3, "those that come together are one"
        provider.how = how
        await app.add("in 3h", ping, id="late")
        await acron_time.advance(minutes=2)
        assert len(provider.armed) == 50
        assert (await app.status()).provider == "odd"
        provider.how = "well"
        await app.remove("j0")
        await acron_time.advance(seconds=10)
        assert len(provider.armed) == 50
        assert "late" in dict(provider.armed)


class ComesBack(Provider):
    """Ticks until the outside is down; is ready again some time later."""

    down = ""
    asked = 0

    async def ready(self) -> bool:
        self.asked += 1
        if self.down:
            raise ProviderDown(self.down)
        return True

    async def go(self, stop_event: asyncio.Event, firing: Firing) -> None:
        while not self.down:
            await firing.tick()
            await asyncio.sleep(1)
        raise ProviderDown(self.down)


async def test_a_provider_that_was_down_takes_back_and_status_says_who_and_why(
    acron_time: VirtualTime,
) -> None:
    provider = ComesBack()
    app = Acron("memory://", clock=acron_time.clock, provider=provider)

    @app.job("every 10s")
    async def beat() -> None: ...

    async with app:
        await acron_time.advance(minutes=2)
        assert (await app.status()).provider == "odd"
        provider.down = "connection refused"
        await acron_time.advance(minutes=10)
        status = await app.status()
        assert status.provider == "inprocess"
        assert status.provider_note.startswith("odd is down: connection refused; next try ")
        assert provider.running == 0
        assert 15 <= provider.asked <= 30, "with a back-off, and a bound"
        provider.down = ""
        await acron_time.advance(seconds=35)
        status = await app.status()
        assert (status.provider, status.provider_note) == ("odd", "")
        assert provider.running == 1
        await acron_time.advance(minutes=1)
        assert len(await app.runs("beat", limit=1000)) == 81


async def test_a_sweep_fires_what_no_trigger_came_for(acron_time: VirtualTime) -> None:
    now = acron_time.clock.now()
    provider = Arms(now.replace(year=now.year + 1))
    settings = Settings(sweep_after=20)
    app = Acron("memory://", clock=acron_time.clock, provider=provider, settings=settings)

    @app.job("every 1h")
    async def beat() -> None: ...

    async with app:
        await acron_time.advance(hours=1, seconds=19)
        assert await app.runs("beat") == []
        await acron_time.advance(seconds=20)
        (run,) = await app.runs("beat")
        assert 20 <= run.lateness <= 30


class Remote(Provider):
    """The provider of the guide: a remote side holds one instant a job, and calls back. ``loses``
    tells which of its calls never come."""

    def __init__(self, loses: range) -> None:
        super().__init__()
        self.loses = loses
        self.calls = 0
        self.held: dict[str, tuple[datetime, asyncio.Task[None]]] = {}

    async def go(self, stop_event: asyncio.Event, firing: Firing) -> None:
        await self.reconcile(firing=firing)

    async def reconcile(self, *, firing: Firing) -> None:
        async for one in firing.armed(FAR):
            held = self.held.get(one.job_id)
            if held is None or held[0] != one.instant:
                self.held[one.job_id] = (
                    one.instant,
                    asyncio.create_task(self.call(one, firing, await firing.due_in() or 0.0)),
                )

    async def on_jobs_changed(self, *, firing: Firing) -> None:
        await self.reconcile(firing=firing)

    async def call(self, one: Armed, firing: Firing, wait: float) -> None:
        await asyncio.sleep(wait)
        self.calls += 1
        if self.calls in self.loses:
            return
        if await self.fire_due(one.job_id, one.instant, firing=firing) is Fired.CLAIMED:
            await self.reconcile(firing=firing)


async def test_one_lost_call_is_swept_up_and_what_follows_is_armed(
    acron_time: VirtualTime,
) -> None:
    app = Acron("memory://", clock=acron_time.clock, provider=Remote(range(3, 4)))

    @app.job("every 5m")
    async def beat() -> None: ...

    async with app:
        await acron_time.advance(hours=1, seconds=1)
        status = await app.status()
        assert (status.provider, status.provider_note) == ("odd", "")
        late = [run.lateness > 1 for run in reversed(await app.runs("beat"))]
    assert late == [False, False, True, *[False] * 9]


async def test_one_whose_calls_never_come_is_replaced_though_it_arms(
    acron_time: VirtualTime,
) -> None:
    app = Acron("memory://", clock=acron_time.clock, provider=Remote(range(1, 1000)))

    @app.job("every 5m")
    async def beat() -> None: ...

    async with app:
        await acron_time.advance(hours=1, seconds=1)
        status = await app.status()
        assert status.provider == "inprocess"
        assert "lets instants pass" in status.provider_note
        late = [run.lateness > 1 for run in reversed(await app.runs("beat"))]
    assert late == [True, True, *[False] * 10]


async def test_many_triggers_are_one_claim_and_each_has_its_answer(
    acron_time: VirtualTime,
) -> None:
    now = acron_time.clock.now()
    provider = Arms(now.replace(year=now.year + 1))
    app = Acron("memory://", clock=acron_time.clock, provider=provider, max_running=3)

    @app.action
    async def note() -> None:
        await asyncio.sleep(5)

    async with app:
        for n in range(4):
            await app.add("every 1h", note, id=f"j{n}")
        await app.add("every 2h", note, id="early")
        firing = app._firing()
        due = now + timedelta(hours=1)
        triggers = [*(Armed(f"j{n}", due) for n in range(4)), Armed("early", due + HOUR)]
        triggers.append(Armed("gone", due))
        await acron_time.advance(hours=1)
        told = await firing.fire_many(triggers)
        assert [one.fired.value for one in told] == [
            *["claimed"] * 3,
            "draining",
            "early",
            "nothing",
        ]
        assert [one.next for one in told] == [*[due + HOUR] * 3, due, due + HOUR, None]
        await acron_time.advance(seconds=6)
        told = await firing.fire_many(triggers)
        assert [one.fired.value for one in told[:4]] == [*["nothing"] * 3, "claimed"]
        await app.drain()
        assert {one.fired.value for one in await firing.fire_many(triggers)} == {"draining"}


class Broken(Arms):
    @property
    def note(self) -> str:  # type: ignore[override]
        raise SystemExit("not even that")


async def test_a_note_that_cannot_be_read_ends_no_beat(acron_time: VirtualTime) -> None:
    now = acron_time.clock.now()
    app = Acron("memory://", clock=acron_time.clock, provider=Broken(now.replace(year=2090)))
    async with app:
        await acron_time.advance(minutes=10)
        status = await app.status()
        assert (status.provider, status.state) == ("odd", "ok")
        assert "not even that" in status.provider_note
