"""acron, as a program would use it: no running limit, ledger kept, nobody listening to events."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acron.app import Acron
from acron.model import Settings
from acron.stores import open_store
from benchmarks.subjects.window import Herd, Load, resident

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from acron.abc import Context, CronScheduler, Settle, Store
    from acron.model import Decision, End, Skip

EPOCH = datetime(2099, 1, 1, tzinfo=UTC)
NO_LIMIT = 1_000_000
#: How long it may take to add a job, in seconds.
COST = 4e-4
BATCH = 1000


def make(store: str | Store, provider: CronScheduler | None = None) -> Acron:
    """An app that reads no settings of whoever runs the benchmark."""
    return Acron(store, provider=provider, settings=Settings(max_running=NO_LIMIT, tz="UTC"))


def counting(address: str, ended: Callable[[int], None]) -> Store:
    """The store at ``address``, telling how many runs each commit has ended for good."""
    store = open_store(address, Path.cwd())
    finish = store.finish

    async def counted(ends: Sequence[End], settle: Settle) -> list[Decision | None]:
        decisions = await finish(ends, settle)
        ended(sum(decision is not None for decision in decisions))
        return decisions

    store.finish = counted  # type: ignore[method-assign]
    return store


def spell(instant: float) -> str:
    return datetime.fromtimestamp(round(instant, 6), UTC).isoformat()


async def add_all(app: Acron, rows: Iterable[dict[str, Any]]) -> None:
    rest = iter(rows)
    while batch := list(islice(rest, BATCH)):
        await app.add_many(batch)


async def herd(jobs: int, store: str = "memory://") -> dict[str, float]:
    due: Herd | None = None

    def ended(count: int) -> None:
        if due is not None:
            due.end(count)

    app = make(counting(store, ended))

    @app.action
    async def work() -> None:
        pass

    async with app:
        due = Herd(jobs, jobs * COST)
        at = spell(due.at)
        await add_all(app, ({"schedule": at, "action": "work"} for _ in range(jobs)))
        return await due.measure()


async def steady(
    jobs: int, period: float, seconds: float, grain: float = 0.0, store: str = "memory://"
) -> dict[str, float]:
    app = make(store)

    @app.action
    async def work(ctx: Context) -> None:
        load.fired(ctx.run.due_at.timestamp())

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(jobs):
            anchor = spell(load.first(number) - period)
            yield {"schedule": f"every {round(period * 1e3)}ms from {anchor}", "action": "work"}

    async with app:
        load = Load(jobs, period, seconds, jobs * COST, grain)
        await add_all(app, rows())
        figures = await load.measure()
        skips = await app.skips(limit=NO_LIMIT)
        figures["skips"] = float(sum(load.inside(*_first_and_last(one)) for one in skips))
        return figures


def _first_and_last(skip: Skip) -> tuple[float, float]:
    return (skip.first_at or skip.scheduled_at).timestamp(), skip.scheduled_at.timestamp()


def far(kind: str, jobs: int) -> Iterator[dict[str, Any]]:
    """Jobs that are not due while they are measured (crons at other minutes of other days)."""
    for number in range(jobs):
        when = f"{number % 60} {number // 60 % 24} 1 1 *"
        if kind == "once":
            when = (EPOCH + timedelta(seconds=number)).isoformat()
        yield {"id": f"job-{number}", "schedule": when, "action": "work"}


async def fill(store: str, jobs: int, kind: str = "once") -> dict[str, float]:
    """Put far-future jobs into a store, and leave."""
    app = make(store)
    async with app.attached():
        await add_all(app, far(kind, jobs))
    return {}


async def add(
    jobs: int, kind: str, *, many: bool = False, callers: int = 1, store: str = "memory://"
) -> dict[str, float]:
    app = make(store)

    @app.action
    async def work() -> None:
        pass

    async with app:
        rows = list(far(kind, jobs))
        begin = time.perf_counter()
        if many:
            await app.add_many(rows)
        else:
            rest = iter(rows)

            async def call() -> None:
                for row in rest:
                    await app.add(row["schedule"], work, id=row["id"])

            await asyncio.gather(*(call() for _ in range(callers)))
        return {"rate": jobs / (time.perf_counter() - begin)}


async def memory(jobs: int, kind: str) -> dict[str, float]:
    app = make("memory://")

    @app.action
    async def work() -> None:
        pass

    async with app:
        await add_all(app, far(kind, 10))
        before = resident()
        await add_all(app, ({**row, "id": f"{row['id']}-b"} for row in far(kind, jobs)))
        return {"bytes": (resident() - before) / jobs}


async def ready(store: str) -> dict[str, float]:
    """Open a store and wait for the first clean tick."""
    before = resident()
    begin = time.perf_counter()
    app = make(store)

    @app.action
    async def work() -> None:
        pass

    async with app:
        while app.node is None or app.node.last_success_at is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        seconds = time.perf_counter() - begin
        return {"ms": 1e3 * seconds, "mb": (resident() - before) / 1e6}


async def idle(seconds: float, store: str | Store) -> dict[str, float]:
    """The CPU of doing nothing, once the start is over."""
    app = make(store)

    @app.action
    async def work() -> None:
        pass

    async with app:
        await asyncio.sleep(min(2.0, seconds))
        before = time.process_time()
        await asyncio.sleep(seconds)
        return {"cpu_ms_per_s": 1e3 * (time.process_time() - before) / seconds}


# --- many nodes on one store --------------------------------------------------------------------


async def add_herd(store: str, jobs: int, at: float) -> dict[str, float]:
    app = make(store)
    async with app.attached():
        instant = spell(at)
        rows = ({"id": f"job-{n}", "schedule": instant, "action": "work"} for n in range(jobs))
        await add_all(app, rows)
    return {}


async def node(store: str, at: float, quiet: float) -> dict[str, float]:
    """One of the nodes that share a herd: leaves when nothing has ended for ``quiet`` seconds."""
    last, ended, started = at, 0, 0

    def count(more: int) -> None:
        nonlocal last, ended
        last, ended = time.time(), ended + more

    app = make(counting(store, count))

    @app.action
    async def work() -> None:
        nonlocal started
        started += 1

    async with app:
        late = time.time() - at
        while time.time() < max(at, last) + quiet:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return {"ended": ended, "started": started, "last": last, "late": late}
