"""FAULTS 42 on real nats-servers, and PostgreSQL: many nodes, one of everything."""

# ruff: noqa: ASYNC240 - nothing else is on the loop while a process starts

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from acron import Acron, ProviderDown
from acron.abc import Armed
from acron.model import RunState, Settings
from acron.providers.nats import HORIZON, NatsCronScheduler
from acron.providers.nats_wire import NatsWire
from acron.timetable import timetable
from tests.e2e.daemons import ENV, SECONDS
from tests.nats_server import nats_servers
from tests.nats_trust import Authority, Operator, here

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from acron.model import Job, Node, Run
    from tests.nats_server import NatsServer
    from tests.pg import Server

JOBS = 30
#: Seconds of fires before something is killed: ``KILL_SECONDS=60`` makes it a minute of them.
MOMENT = SECONDS / 5
AGENT = """
import asyncio, os, sys
from acron import Acron
from acron.model import Settings

store, nats, effects = sys.argv[1:4]
settings = Settings(interval=1.0, provider="nats", nats_url=nats, sweep_after=3.0)
app = Acron(store, settings=settings, drain_timeout=2.0)
effects = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@app.action
async def note(ctx):
    os.write(effects, f"{ctx.job.id} {ctx.scheduled_at.isoformat()}\\n".encode())
    await asyncio.sleep(0.05)

asyncio.run(app.run())
"""


class Agents:
    def __init__(self, *args: str) -> None:
        self._command = [sys.executable, "-c", AGENT, *args]
        self.all = [self._start(), self._start()]

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=ENV)

    def end(self) -> None:
        for one in self.all:
            one.kill()
            one.wait()


async def until(app: Acron, pulling: str, many: int) -> list[Node]:
    """Wait until so many live nodes are pulled by that provider."""
    async with asyncio.timeout(20):
        while True:
            live = [one for one in await app.nodes() if one.alive and one.provider]
            if len(live) == many and all(one.provider == pulling for one in live):
                return live
            await asyncio.sleep(0.1)


async def all_armed(wire: NatsWire, now: datetime) -> set[Armed]:
    found: set[Armed] = set()
    minute = now.replace(second=0, microsecond=0)
    for n in range(17):
        found |= await wire.armed(minute + timedelta(minutes=n))
    return found


def owed(job: Job) -> Iterator[datetime]:
    schedule = timetable(job)
    assert job.created_at is not None
    assert job.cursor is not None
    instant = schedule.next_after(job.created_at)
    while instant is not None and instant <= job.cursor:
        yield instant
        instant = schedule.next_after(instant)


@pytest.mark.timeout(90 + SECONDS)
async def test_a_server_and_an_agent_are_killed_in_the_middle_of_fires(
    pg: Server, tmp_path: Path
) -> None:
    url = f"{pg.url}&schema=killed&lease=2"
    effects = tmp_path / "effects"
    app = Acron(url)

    @app.action
    async def note() -> None: ...

    with nats_servers() as (nats,):
        async with app.attached():
            for n in range(JOBS):
                await app.add("every 1s", note, id=f"j.{n}", overlap="allow", catch_up="all")
            later = [{"schedule": f"every {n}m", "action": note} for n in range(2, 14)]
            await app.add_many([{**row, "id": f"later{n}"} for n, row in enumerate(later)])
            agents = Agents(url, nats.url, str(effects))
            try:
                await until(app, "nats", 2)
                await asyncio.sleep(MOMENT)
                nats.kill()
                notes = {one.provider_note for one in await until(app, "inprocess", 2)}
                assert all(one.startswith("nats is down: ") for one in notes)
                nats.start()
                await until(app, "nats", 2)
                await asyncio.sleep(MOMENT / 2)
                agents.all[0].kill()
                await asyncio.sleep(2 * MOMENT)
                await _armed_is_desired(nats.url, app)
                agents.all[1].terminate()
                assert agents.all[1].wait(timeout=20) == 0
            finally:
                agents.end()
            await until(app, "nats", 0)  # the lease of the dead
        async with app.attached(firing=True):
            await _every_occurrence_once(app, effects)


async def _armed_is_desired(nats: str, app: Acron) -> None:
    wire = NatsWire(Settings(nats_url=nats))
    await wire.open()
    try:
        now = datetime.now(UTC)
        rows = app.store.upcoming(now + timedelta(seconds=5), now + HORIZON)
        wanted = {Armed(job_id, due) async for due, job_id in rows}
        assert len(wanted) == 12
        armed = await all_armed(wire, now)
        assert wanted == {one for one in armed if one.instant > now + timedelta(seconds=5)}
    finally:
        await wire.close()


async def _every_occurrence_once(app: Acron, effects: Path) -> None:
    done = Counter(tuple(line.split()) for line in effects.read_text().splitlines())
    assert max(done.values()) == 1, "an occurrence ran twice"
    assert len(done) > 3 * JOBS
    for n in range(JOBS):
        job = await app.get(f"j.{n}")
        runs = await app.runs(job.id, limit=1000)
        ran = {run.scheduled_at for run in runs}
        skips = sum(skip.count for skip in await app.skips(job.id))
        assert len(ran) == len(runs) == job.fired
        assert {run.state for run in runs} <= {RunState.SUCCEEDED, RunState.UNKNOWN}
        assert len(ran) + skips == len(list(owed(job)))
        mine = {at for (job_id, at) in done if job_id == job.id}
        assert mine <= {one.isoformat() for one in ran if one is not None}


@pytest.mark.timeout(60)
async def test_a_cluster_of_three_loses_one() -> None:
    with nats_servers(3) as cluster:
        url = ",".join(one.url for one in cluster)
        settings = Settings(store="memory://", nats_url=url, nats_replicas=3, interval=1.0)
        wire = NatsWire(settings)
        await _opened(wire)
        await wire.close()
        app = Acron(settings=settings, provider=NatsCronScheduler(settings))

        @app.action
        async def note() -> None: ...

        async with app:
            await app.add("every 1s", note, id="a", catch_up="all")
            await until(app, "nats", 1)
            await asyncio.sleep(1.5)
            await _kill_leader(settings, cluster)
            after = datetime.now(UTC) + timedelta(seconds=2)
            runs = await _runs_until(app, "a", after)
            seconds = sorted(run.scheduled_at for run in runs if run.scheduled_at is not None)
        assert len(set(seconds)) == len(runs) > 3
        assert seconds[-1] - seconds[0] == timedelta(seconds=len(seconds) - 1)


async def _runs_until(app: Acron, job_id: str, instant: datetime) -> list[Run]:
    """Those of the job, once one that was due then has begun."""
    async with asyncio.timeout(20):
        while True:
            runs = await app.runs(job_id)
            if any(run.due_at >= instant for run in runs):
                return runs
            await asyncio.sleep(0.1)


async def _opened(wire: NatsWire) -> None:
    """A server listens before JetStream is ready, and a cluster has no leader at first."""
    async with asyncio.timeout(20):
        while True:
            try:
                await wire.open()
            except ProviderDown:
                await wire.close()
                await asyncio.sleep(0.2)
            else:
                return


async def _kill_leader(settings: Settings, cluster: list[NatsServer]) -> None:
    wire = NatsWire(settings)
    await wire.open()
    info = await wire._js.stream_info(wire.subjects.stream)
    await wire.close()
    cluster[int(info.cluster.leader.removeprefix("s"))].kill()


async def test_a_server_that_cannot_do_it_says_why() -> None:
    with nats_servers() as (nats,):
        ready = NatsWire(Settings(nats_url=nats.url, nats_namespace="other"))
        await _opened(ready)
        await ready.close()
        wire = NatsWire(Settings(nats_url=nats.url, nats_replicas=3))
        with pytest.raises(ProviderDown, match="replicas"):
            await wire.open()
        await wire.close()


# nats-py leaves the transport of a refused TLS handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_server_that_lets_in_only_its_own(tmp_path: Path) -> None:
    """TLS on both sides, and a user's credentials: with all of them it works, without one not."""
    ours, operator = Authority(tmp_path), Operator()
    served, mine = ours.pair("server", here()), ours.pair("agent")
    config = tmp_path / "nats.conf"
    tls = f'cert_file: "{served.cert}", key_file: "{served.key}", ca_file: "{ours.cert}"'
    config.write_text(f"tls {{ {tls}, verify: true }}\n{operator.config}")
    with nats_servers(config=config) as (nats,):
        whole = Settings(
            nats_url=nats.url,
            nats_credentials=str(operator.credentials(tmp_path / "agent.creds")),
            nats_tls_ca=str(ours.cert),
            nats_tls_cert=str(mine.cert),
            nats_tls_key=str(mine.key),
        )
        wire = NatsWire(whole)
        await _opened(wire)
        minute = (datetime.now(UTC) + timedelta(minutes=5)).replace(second=0, microsecond=0)
        await wire.arm([Armed("tea", minute)])
        assert await wire.armed(minute) == {Armed("tea", minute)}
        await wire.close()
        stranger = Authority(tmp_path, "stranger")
        theirs = stranger.pair("somebody")
        foreign = str(Operator().credentials(tmp_path / "foreign.creds"))
        for less in (
            replace(whole, nats_credentials=""),
            replace(whole, nats_credentials=foreign),
            replace(whole, nats_credentials=str(tmp_path / "no.creds")),
            replace(whole, nats_tls_ca=str(tmp_path / "no.pem")),
            replace(whole, nats_tls_ca=str(stranger.cert)),
            replace(whole, nats_tls_cert=str(theirs.cert), nats_tls_key=str(theirs.key)),
            replace(whole, nats_tls_cert="", nats_tls_key=""),
        ):
            wire = NatsWire(less)
            with pytest.raises(ProviderDown):
                await wire.open()
            await wire.close()


async def test_a_page_of_the_listing_is_not_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with nats_servers() as (nats,):
        wire = NatsWire(Settings(nats_url=nats.url))
        await _opened(wire)
        minute = (datetime.now(UTC) + timedelta(minutes=5)).replace(second=0, microsecond=0)
        wanted = {Armed(f"j{n}", minute + timedelta(seconds=n % 60)) for n in range(400)}
        await wire.arm(sorted(wanted, key=lambda one: one.job_id))
        assert await wire.armed(minute) == wanted
        ask = wire._page

        async def first_ten(of: str, offset: int) -> tuple[set[str], int]:
            found, _ = await ask(of, 0)
            return set(sorted(found)[offset : offset + 10]), len(found)

        monkeypatch.setattr(wire, "_page", first_ten)
        assert await wire.armed(minute) == wanted
        monkeypatch.undo()
        gone = {one for one in wanted if one.instant == minute}
        await wire.disarm(gone)
        assert await wire.armed(minute) == wanted - gone
        await wire.close()
