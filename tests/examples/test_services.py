"""The examples that need no chat: started as their README says, and used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.test_uvicorn import get, until_told, uvicorn
from tests.pg import server

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with server() as made:
        yield made.url


def test_four_workers_ship_an_order_once(database: str, tmp_path: Path) -> None:
    orders = str(EXAMPLES / "fastapi_orders")
    environ = {"DATABASE_URL": database, "REPORT": "every 1s"}
    with uvicorn(tmp_path, "--app-dir", orders, "orders:web", **environ) as (_, url):
        assert "order-17" in get(f"{url}/orders/17?when=in%201s", "POST")
        assert "order-17" in get(f"{url}/orders/17?when=in%201s", "POST")
        until_told(f"{url}/orders/17", "order 17 is on its way")
        assert json.loads(get(f"{url}/health")) == {"state": "ok", "jobs": 2}
    told = acron(database, "runs", "--state", "succeeded")
    assert len([run for run in told if run["job_id"] == "order-17"]) == 1
    instants = [run["scheduled_at"] for run in told if run["job_id"] == "report"]
    assert len(instants) == len(set(instants)) > 0


def acron(store: str, *words: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "acron", "--store", store, *words, "--json"]
    found: list[dict[str, Any]] = json.loads(subprocess.check_output(command, text=True))
    return found


@pytest.mark.parametrize("full, said", [("1.1", None), ("0.0", "the disk is ")])
def test_a_watchdog_speaks_only_when_something_is_wrong(
    tmp_path: Path, full: str, said: str | None
) -> None:
    store = str(tmp_path / "watchdog.json")
    environ = {"WATCH_STORE": store, "WATCH_EVERY": "every 1s", "WATCH_TELL": "local"}
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "watchdog" / "watchdog.py"), full],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environ},
    )
    try:
        while not (Path(store).exists() and acron(store, "runs", "--state", "succeeded")):
            assert process.poll() is None
    finally:
        process.terminate()
        assert process.wait(20) == 0
    reports = [one.read_text() for one in (tmp_path / "output" / "watch").glob("*.md")]
    if said is None:
        assert reports == []
    else:
        assert all(said in one for one in reports)
        assert reports
