"""NATS as a trigger: the contract, and what it does when its server misbehaves.

The server is a script in memory, so that time can be virtual; ``e2e/test_nats.py`` has real ones.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, ConfigError, Context, ProviderDown
from acron.abc import Answer, Armed, Fired
from acron.model import Settings
from acron.providers.nats import HORIZON, NatsCronScheduler
from acron.providers.nats_wire import ACK_WAIT, LEAD, SHARDS, Subjects, Trigger, shard
from acron.testing.contracts.firing import EPOCH, FakeFiring
from acron.testing.contracts.providers import ProviderContract

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from acron.testing import VirtualTime
    from acron.testing.clock import VirtualClock


class Server:
    """A NATS by the script: what is armed comes due, and comes again until it is acknowledged."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.schedules: set[Armed] = set()
        self.due: dict[Armed, tuple[datetime, int]] = {}  # from when on, and how often it came
        self.down = ""
        self.opened = self.acked = self.naked = 0

    def wire(self) -> MemoryWire:
        return MemoryWire(self)

    def ready(self) -> list[Armed]:
        now = self.clock.now()
        for one in [one for one in self.schedules if one.instant - LEAD <= now]:
            self.schedules.discard(one)
            self.due[one] = (now, 0)
        return sorted((one for one, (at, _) in self.due.items() if at <= now), key=str)


class MemoryWire:
    def __init__(self, server: Server) -> None:
        self._server = server

    async def _ask(self) -> None:
        await asyncio.sleep(0)
        if self._server.down:
            raise ProviderDown(self._server.down)

    async def open(self) -> None:
        await self._ask()
        self._server.opened += 1

    async def close(self) -> None:
        await asyncio.sleep(0)

    async def arm(self, wanted: Sequence[Armed]) -> None:
        await self._ask()
        self._server.schedules.update(wanted)

    async def armed(self, minute: datetime) -> set[Armed]:
        await self._ask()
        end = minute + timedelta(minutes=1)
        return {one for one in self._server.schedules if minute <= one.instant < end}

    async def disarm(self, orphans: Collection[Armed]) -> None:
        await self._ask()
        self._server.schedules.difference_update(orphans)

    async def pull(self, limit: int) -> list[Trigger]:
        await self._ask()
        server = self._server
        given = server.ready()[:limit]
        if not given:
            await asyncio.sleep(0.1)
            await self._ask()
        found = []
        for one in given:
            _, times = server.due[one]
            server.due[one] = (server.clock.now() + timedelta(seconds=ACK_WAIT), times + 1)
            found.append(Trigger(one, one, times + 1))
        return found

    async def ack(self, trigger: Trigger) -> None:
        await self._ask()
        self._server.acked += 1
        self._server.due.pop(trigger.armed, None)

    async def nak(self, trigger: Trigger, delay: float) -> None:
        await self._ask()
        self._server.naked += 1
        again = self._server.clock.now() + timedelta(seconds=delay)
        self._server.due[trigger.armed] = (again, trigger.deliveries)


@pytest.fixture
def server(acron_time: VirtualTime) -> Server:
    return Server(acron_time.clock)


def provider(server: Server) -> NatsCronScheduler:
    return NatsCronScheduler(clock=server.clock, wire=server.wire)


class TestNats(ProviderContract):
    pulls = False

    @pytest.fixture(autouse=True)
    def _server(self, server: Server) -> None:
        self.server = server

    def make(self) -> NatsCronScheduler:
        return provider(self.server)


def bot(server: Server, clock: VirtualClock, **settings: Any) -> tuple[Acron, list[str]]:
    app = Acron("memory://", clock=clock, provider=provider(server), settings=Settings(**settings))
    ran: list[str] = []

    @app.action
    async def note(ctx: Context) -> None:
        assert ctx.scheduled_at is not None
        ran.append(f"{ctx.job.id} {ctx.scheduled_at:%H:%M:%S} {ctx.lateness:.2f}")

    return app, ran


async def desired(app: Acron, clock: VirtualClock) -> set[Armed]:
    return {one async for one in app._firing().armed(clock.now() + HORIZON)}


async def test_each_instant_fires_on_time_and_arms_the_next(
    acron_time: VirtualTime, server: Server
) -> None:
    app, ran = bot(server, acron_time.clock)
    async with app:
        await app.add("every 10s", "note", id="a.b")
        await app.add("every 1h", "note", id="far")
        await acron_time.advance(minutes=5, seconds=0.5)
        assert len(ran) == 30
        assert all(line.endswith(" 0.00") for line in ran)
        assert server.schedules == await desired(app, acron_time.clock)
        assert [one.job_id for one in server.schedules] == ["a.b"]
        await acron_time.advance(minutes=45)
        assert "far" in {one.job_id for one in server.schedules}, "it has come within the horizon"
        assert server.acked == len(ran)
        status = await app.status()
        assert (status.provider, status.state, status.provider_note) == ("nats", "ok", "")


async def test_what_is_edited_or_removed_is_disarmed(
    acron_time: VirtualTime, server: Server
) -> None:
    app, ran = bot(server, acron_time.clock)
    async with app:
        await app.add("every 10m", "note", id="edited")
        await app.add("every 10m", "note", id="removed")
        await acron_time.advance(seconds=1)
        before = set(server.schedules)
        await app.edit("edited", schedule="every 7m")
        await app.remove("removed")
        await acron_time.advance(seconds=1)
        assert server.schedules == await desired(app, acron_time.clock)
        assert not before & server.schedules
        await acron_time.advance(minutes=8)
    assert len(ran) == 1


async def test_a_trigger_that_comes_again_finds_nothing_owed(
    acron_time: VirtualTime, server: Server
) -> None:
    app, ran = bot(server, acron_time.clock)
    async with app:
        job = await app.add("every 1m", "note", id="a")
        assert job.next_fire_at is not None
        again = Armed("a", job.next_fire_at)
        await acron_time.advance(minutes=1, seconds=1)
        assert len(ran) == 1
        server.due[again] = (acron_time.clock.now(), 1)
        server.due[Armed("nobody", again.instant)] = (acron_time.clock.now(), 1)
        await acron_time.advance(seconds=5)
        assert len(ran) == 1
        assert not server.due


async def test_a_retry_and_a_lost_trigger_come_all_the_same(
    acron_time: VirtualTime, server: Server
) -> None:
    app, ran = bot(server, acron_time.clock, sweep_after=20.0)
    failed = 0

    @app.action
    async def shaky() -> None:
        nonlocal failed
        failed += 1
        if failed == 1:
            raise ValueError("once")

    async with app:
        await app.add("in 1m", "shaky", id="shaky", retry={"delay": 5, "jitter": 0})
        await app.add("in 2m", "note", id="lost")
        await acron_time.advance(seconds=66)
        assert failed == 2
        server.schedules.clear()
        server.due.clear()
        await acron_time.advance(seconds=90)
        assert len(ran) == 1


@pytest.mark.parametrize("reason", ["connection refused", "no answer for 3 s"])
async def test_the_built_in_stands_in_and_hands_back(
    acron_time: VirtualTime, server: Server, reason: str
) -> None:
    app, ran = bot(server, acron_time.clock)
    async with app:
        await app.add("every 5s", "note", id="a")
        await acron_time.advance(seconds=21)
        server.down = reason
        await acron_time.advance(seconds=20)
        status = await app.status()
        assert status.provider == "inprocess"
        assert status.provider_note.startswith(f"nats is down: {reason}; next try ")
        server.down = ""
        await acron_time.advance(seconds=40)
        status = await app.status()
        assert (status.provider, status.provider_note) == ("nats", "")
        assert server.schedules == await desired(app, acron_time.clock)
    assert len(ran) == 16
    assert len(set(ran)) == 16


async def test_a_claim_that_fails_gives_its_triggers_back(
    acron_time: VirtualTime, server: Server
) -> None:
    class Failing(FakeFiring):
        broken = 2

        async def fire_many(self, triggers: Sequence[Armed]) -> list[Answer]:
            if self.broken:
                self.broken -= 1
                raise OSError("the disk is full")
            return await super().fire_many(triggers)

    firing, stop = Failing(), asyncio.Event()
    server.due[Armed("a", EPOCH)] = (acron_time.clock.now(), 0)
    serving = asyncio.create_task(provider(server).start(stop, firing=firing))
    await asyncio.sleep(20)
    assert (server.naked, server.acked) == (2, 1)
    assert firing.fired == [("a", EPOCH)]
    stop.set()
    await serving


@pytest.mark.parametrize(
    "answer,acks,naks", [(Fired.CLAIMED, 1, 0), (Fired.LOST, 1, 0), (Fired.DRAINING, 1, 5)]
)
async def test_what_nobody_can_take_goes_round_and_then_to_the_sweep(
    acron_time: VirtualTime, server: Server, answer: Fired, acks: int, naks: int
) -> None:
    firing, stop = FakeFiring(), asyncio.Event()
    firing.answer = answer
    server.due[Armed("a", EPOCH)] = (acron_time.clock.now(), 0)
    serving = asyncio.create_task(provider(server).start(stop, firing=firing))
    await asyncio.sleep(60)
    assert (server.acked, server.naked) == (acks, naks)
    stop.set()
    await serving


async def test_a_node_that_stops_hands_back_what_it_holds(
    acron_time: VirtualTime, server: Server
) -> None:
    firing, stop = FakeFiring(), asyncio.Event()
    held = Armed("a", acron_time.clock.now() + timedelta(seconds=0.9))
    server.schedules.add(held)
    serving = asyncio.create_task(provider(server).start(stop, firing=firing))
    await asyncio.sleep(0.5)
    stop.set()
    await serving
    assert server.due[held][0] <= acron_time.clock.now()
    assert firing.fired == []


@pytest.mark.parametrize("job_id", ["a", "a.b:c@d+e-f", "é.日本", "_" * 128])
def test_a_subject_says_what_is_armed(job_id: str) -> None:
    subjects = Subjects("acron")
    one = Armed(job_id, datetime(2026, 12, 31, 23, 59, 59, 123456, UTC))
    subject = subjects.of(one)
    assert subject.isascii()
    assert len(subject.split(".")) == 6
    assert subject.startswith(f"acron.arm.202612312359.{shard(job_id)}.")
    assert shard(job_id) in SHARDS
    assert subjects.read(subject) == one
    assert subjects.read("other.thing") is None


def test_a_namespace_that_is_no_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be letters"):
        NatsCronScheduler(Settings(nats_namespace="a.b"))
