"""Fires by NATS: acron's provider, and nats-py alone, which only takes the messages."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

from acron import Acron
from acron.abc import Armed, Context
from acron.model import Settings
from acron.providers.nats import NatsCronScheduler
from acron.providers.nats_wire import NatsWire

#: Two consumers, as on two machines.
NODES = 2


async def fires(nats: str, store: str, jobs: int, gap: float, lead: float) -> dict[str, float]:
    """``jobs`` one-shots, ``gap`` seconds apart, shared by the nodes: how late each began."""
    settings = Settings(tz="UTC", nats_url=nats, max_running=100_000)
    late: list[float] = []

    async def work(ctx: Context) -> None:
        late.append((datetime.now(UTC) - (ctx.scheduled_at or datetime.now(UTC))).total_seconds())

    many = 1 if store == "memory://" else NODES
    apps = [
        Acron(store, settings=settings, provider=NatsCronScheduler(settings)) for _ in range(many)
    ]
    async with AsyncExitStack() as stack:
        for app in apps:
            app.action(work)
            await stack.enter_async_context(app)
        at = datetime.now(UTC) + timedelta(seconds=lead)
        dues = [at + timedelta(seconds=n * gap) for n in range(jobs)]
        rows = [
            {"schedule": due.isoformat(), "action": work, "id": f"j{n}"}
            for n, due in enumerate(dues)
        ]
        for start in range(0, jobs, 1000):
            await apps[0].add_many(rows[start : start + 1000])
        end = time.monotonic() + lead + jobs * gap + 10
        while len(late) < jobs and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return _told(late, jobs)


async def raw_fires(nats: str, jobs: int, gap: float, lead: float) -> dict[str, float]:
    """The same messages, taken and acknowledged by nats-py."""
    wires = [NatsWire(Settings(nats_url=nats, nats_namespace="raw")) for _ in range(NODES)]
    late: list[float] = []
    for wire in wires:
        await wire.open()
    at = datetime.now(UTC) + timedelta(seconds=lead)
    js = wires[0]._js  # noqa: SLF001
    for n in range(jobs):
        due = at + timedelta(seconds=n * gap)
        headers = {"Nats-Schedule": f"@at {due:%Y-%m-%dT%H:%M:%S.%fZ}"}
        headers["Nats-Schedule-Target"] = "raw.fire.0"
        await js.publish_async(f"raw.arm.{n}", due.isoformat().encode(), headers=headers)
    await js.publish_async_completed()

    async def take(wire: NatsWire) -> None:
        sub = await wire._js.pull_subscribe_bind("nodes", wire.subjects.stream)  # noqa: SLF001
        while len(late) < jobs:
            try:
                for message in await sub.fetch(500, timeout=1):
                    due = datetime.fromisoformat(message.data.decode())
                    late.append((datetime.now(UTC) - due).total_seconds())
                    await message.ack()
            except TimeoutError:
                continue

    async with asyncio.timeout(lead + jobs * gap + 20):
        await asyncio.gather(*(take(wire) for wire in wires))
    for wire in wires:
        await wire.close()
    return _told(late, jobs)


async def arms(nats: str, jobs: int) -> dict[str, float]:
    """Instants armed a second, by all nodes together."""
    wires = [NatsWire(Settings(nats_url=nats, nats_namespace="arms")) for _ in range(NODES)]
    for wire in wires:
        await wire.open()
    due = datetime.now(UTC) + timedelta(hours=1)
    began = time.perf_counter()
    await asyncio.gather(*(_arm(wire, n, jobs // NODES, due) for n, wire in enumerate(wires)))
    seconds = time.perf_counter() - began
    for wire in wires:
        await wire.close()
    return {"rate": jobs / seconds}


async def _arm(wire: NatsWire, node: int, jobs: int, due: datetime) -> None:
    for start in range(0, jobs, 1000):
        await wire.arm([Armed(f"{node}-{start + n}", due) for n in range(min(1000, jobs - start))])


async def raw_arms(nats: str, jobs: int) -> dict[str, float]:
    """The same messages, published by nats-py as fast as it can, a thousand on their way."""
    wires = [NatsWire(Settings(nats_url=nats, nats_namespace="rawarms")) for _ in range(NODES)]
    for wire in wires:
        await wire.open()
    headers = {"Nats-Schedule": f"@at {datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"}
    headers["Nats-Schedule-Target"] = "rawarms.fire.0"

    async def publish(node: int, js: Any) -> None:
        for start in range(0, jobs // NODES, 1000):
            acks = [
                await js.publish_async(f"rawarms.arm.{node}.{n}", b"", headers=headers)
                for n in range(start, min(start + 1000, jobs // NODES))
            ]
            await asyncio.gather(*acks)

    began = time.perf_counter()
    await asyncio.gather(*(publish(n, wire._js) for n, wire in enumerate(wires)))  # noqa: SLF001
    seconds = time.perf_counter() - began
    for wire in wires:
        await wire.close()
    return {"rate": jobs / seconds}


def _told(late: list[float], jobs: int) -> dict[str, float]:
    ordered = sorted(late) or [float("nan")]
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return {"p99_ms": p99 * 1000, "last": ordered[-1], "lost": float(jobs - len(late))}
