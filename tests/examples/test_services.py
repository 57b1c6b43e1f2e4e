"""The examples that need no chat: started as their README says, and used."""

# ruff: noqa: ASYNC220 - the loop has nothing else to do

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from acron import Acron
from tests.e2e.test_uvicorn import get, until_told, uvicorn

if TYPE_CHECKING:
    from acron import Run
    from tests.pg import Server

EXAMPLES = Path(__file__).parents[2] / "examples"


async def test_four_workers_ship_an_order_once(pg: Server, tmp_path: Path) -> None:
    database = f"{pg.url}&schema=orders"
    orders = str(EXAMPLES / "fastapi_orders")
    environ = {"DATABASE_URL": database, "REPORT": "every 1s"}
    with uvicorn(tmp_path, "--app-dir", orders, "orders:web", **environ) as (_, url):
        assert "order-17" in get(f"{url}/orders/17?when=in%201s", "POST")
        assert "order-17" in get(f"{url}/orders/17?when=in%201s", "POST")
        until_told(f"{url}/orders/17", "order 17 is on its way")
        assert json.loads(get(f"{url}/health")) == {"state": "ok", "jobs": 2}
    runs = await succeeded(database)
    assert len([run for run in runs if run.job_id == "order-17"]) == 1
    instants = [run.scheduled_at for run in runs if run.job_id == "report"]
    assert len(instants) == len(set(instants)) > 0


async def succeeded(store: str) -> list[Run]:
    return await Acron(store).runs(state="succeeded", limit=1000)


@pytest.mark.parametrize("full, said", [("1.1", None), ("0.0", "the disk is ")])
async def test_a_watchdog_speaks_only_when_something_is_wrong(
    tmp_path: Path, full: str, said: str | None
) -> None:
    store = str(tmp_path / "watchdog.json")
    environ = {"WATCH_STORE": store, "WATCH_EVERY": "every 1s", "WATCH_TELL": "local"}
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "watchdog" / "watchdog.py"), full],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environ},
    )
    try:
        while not await succeeded(store):
            assert process.poll() is None
            await asyncio.sleep(0.1)
    finally:
        process.terminate()
        assert process.wait(20) == 0
    reports = [one.read_text() for one in (tmp_path / "output" / "watch").glob("*.md")]
    if said is None:
        assert reports == []
    else:
        assert all(said in one for one in reports)
        assert reports
