"""APScheduler 4, a pre-release, tuned in its favour: no running limit, no misfire limit, UTC.

Lives in an environment of its own: nothing of acron is imported here.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from apscheduler import AsyncScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from benchmarks.subjects.window import Herd, Load, resident

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EPOCH = datetime(2099, 1, 1, tzinfo=UTC)
HERDS: list[Herd] = []  # what the module-level functions serve: data stores keep their names
LOADS: list[Load] = []
#: How long it may take to add a job, in seconds: in memory, and in a database.
COST, DURABLE_COST = 3e-4, 1e-2


async def one_of_herd() -> None:
    HERDS[-1].end()


async def one_of_load(first: float) -> None:
    LOADS[-1].fired_at_phase(first)


@asynccontextmanager
async def _scheduler(url: str | None) -> AsyncIterator[Any]:
    options: dict[str, Any] = {"max_concurrent_jobs": 100_000}
    if url is not None:
        from apscheduler.datastores.sqlalchemy import (  # noqa: PLC0415 (an extra)
            SQLAlchemyDataStore,
        )
        from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 (an extra)

        engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:", 1))
        options["data_store"] = SQLAlchemyDataStore(engine, start_from_scratch=True)
    async with AsyncScheduler(**options) as scheduler:
        for function in (one_of_herd, one_of_load):
            await scheduler.configure_task(
                function.__name__, func=function, max_running_jobs=None, misfire_grace_time=None
            )
        yield scheduler


async def herd(jobs: int, url: str | None = None) -> dict[str, float]:
    async with _scheduler(url) as scheduler:
        herd = Herd(jobs, jobs * (COST if url is None else DURABLE_COST))
        HERDS.append(herd)
        at = datetime.fromtimestamp(herd.at, UTC)
        for _ in range(jobs):
            await scheduler.add_schedule("one_of_herd", DateTrigger(at))
        await scheduler.start_in_background()
        return await herd.measure()


async def steady(
    jobs: int, period: float, seconds: float, grain: float = 0.0, url: str | None = None
) -> dict[str, float]:
    async with _scheduler(url) as scheduler:
        lead = jobs * (COST if url is None else DURABLE_COST)
        load = Load(jobs, period, seconds, lead, grain)
        LOADS.append(load)
        for number in range(jobs):
            first = load.first(number)
            start = datetime.fromtimestamp(first, UTC)
            trigger = IntervalTrigger(microseconds=round(period * 1e6), start_time=start)
            await scheduler.add_schedule("one_of_load", trigger, args=[first])
        await scheduler.start_in_background()
        return await load.measure()


def _trigger(kind: str, number: int) -> Any:
    if kind == "cron":
        return CronTrigger(minute=number % 60, hour=number // 60 % 24, timezone=UTC)
    return DateTrigger(EPOCH + timedelta(seconds=number))


async def add(jobs: int, kind: str) -> dict[str, float]:
    async with _scheduler(None) as scheduler:
        await scheduler.start_in_background()
        begin = time.perf_counter()
        for number in range(jobs):
            await scheduler.add_schedule("one_of_herd", _trigger(kind, number), id=f"job-{number}")
        return {"rate": jobs / (time.perf_counter() - begin)}


async def memory(jobs: int, kind: str) -> dict[str, float]:
    async with _scheduler(None) as scheduler:
        before = resident()
        for number in range(jobs):
            await scheduler.add_schedule("one_of_herd", _trigger(kind, number), id=f"job-{number}")
        await asyncio.sleep(0)
        return {"bytes": (resident() - before) / jobs}
