"""APScheduler 3, tuned in its favour: no misfire limit, as many instances as wanted, UTC.

On SQLite also write-ahead journal and synchronous FULL, as acron has it, unless ``journal`` is
``delete``, which is what it does by itself.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from benchmarks.subjects.window import Herd, Load, resident

EPOCH = datetime(2099, 1, 1, tzinfo=UTC)
HERDS: list[Herd] = []  # what the module-level functions serve: SQL job stores keep names
LOADS: list[Load] = []
#: How long it may take to add a job, in seconds: in memory, and in a database.
COST, DURABLE_COST = 1e-4, 2.5e-2


async def one_of_herd() -> None:
    HERDS[-1].end()


async def one_of_load(first: float) -> None:
    LOADS[-1].fired_at_phase(first)


def _scheduler(path: str | None, journal: str) -> Any:
    stores = {}
    if path is not None:
        from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore  # noqa: PLC0415 (an extra)
        from sqlalchemy import create_engine, event  # noqa: PLC0415 (an extra)

        engine = create_engine(f"sqlite:///{path}")

        def prepare(connection: Any, _: Any) -> None:
            connection.execute(f"PRAGMA journal_mode = {journal}")
            connection.execute("PRAGMA synchronous = FULL")

        event.listen(engine, "connect", prepare)
        stores = {"default": SQLAlchemyJobStore(engine=engine)}
    defaults = {"misfire_grace_time": None, "max_instances": 1_000_000}
    scheduler = AsyncIOScheduler(jobstores=stores, job_defaults=defaults, timezone=UTC)
    scheduler.start()
    return scheduler


async def _end(scheduler: Any) -> None:
    scheduler.pause()
    await asyncio.sleep(0.05)  # what it has started ends by itself
    scheduler.shutdown(wait=False)
    await asyncio.sleep(0)


async def herd(jobs: int, path: str | None = None, journal: str = "wal") -> dict[str, float]:
    scheduler = _scheduler(path, journal)
    herd = Herd(jobs, jobs * (COST if path is None else DURABLE_COST))
    HERDS.append(herd)
    at = datetime.fromtimestamp(herd.at, UTC)
    for _ in range(jobs):
        scheduler.add_job(one_of_herd, DateTrigger(at))
    figures = await herd.measure()
    await _end(scheduler)
    return figures


async def steady(
    jobs: int, period: float, seconds: float, grain: float = 0.0, path: str | None = None
) -> dict[str, float]:
    scheduler = _scheduler(path, "wal")
    lead = jobs * (COST if path is None else DURABLE_COST)
    load = Load(jobs, period, seconds, lead, grain)
    LOADS.append(load)
    for number in range(jobs):
        first = load.first(number)
        start = datetime.fromtimestamp(first, UTC)
        trigger = IntervalTrigger(seconds=period, start_date=start)
        scheduler.add_job(one_of_load, trigger, args=[first])
    figures = await load.measure()
    await _end(scheduler)
    return figures


def _trigger(kind: str, number: int) -> Any:
    if kind == "cron":
        return CronTrigger(minute=number % 60, hour=number // 60 % 24, timezone=UTC)
    return DateTrigger(EPOCH + timedelta(seconds=number))


async def add(
    jobs: int, kind: str, path: str | None = None, journal: str = "wal"
) -> dict[str, float]:
    scheduler = _scheduler(path, journal)
    begin = time.perf_counter()
    for number in range(jobs):
        scheduler.add_job(one_of_herd, _trigger(kind, number), id=f"job-{number}")
    seconds = time.perf_counter() - begin
    await _end(scheduler)
    return {"rate": jobs / seconds}


async def memory(jobs: int, kind: str) -> dict[str, float]:
    scheduler = _scheduler(None, "wal")
    before = resident()
    for number in range(jobs):
        scheduler.add_job(one_of_herd, _trigger(kind, number), id=f"job-{number}")
    await asyncio.sleep(0)
    used = resident() - before
    await _end(scheduler)
    return {"bytes": used / jobs}
