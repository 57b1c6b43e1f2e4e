"""uvicorn with four workers on one store: each occurrence once, in one of them."""

# ruff: noqa: ASYNC251 - nothing else is on the loop

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from acron import Acron

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SITE = """
import os
from fastapi import FastAPI
from acron import Acron

app = Acron(os.environ["SITE_STORE"], app="site")
web = FastAPI(lifespan=app.lifespan)
effects = os.open("effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@app.job("every 1s", catch_up="all")
async def tick(ctx):
    os.write(effects, f"{ctx.scheduled_at.isoformat()} {os.getpid()}\\n".encode())

@web.get("/nodes")
async def nodes():
    return [node.pid for node in await app.store.nodes() if node.alive]
"""
PATIENCE = 40.0


@contextmanager
def uvicorn(
    where: Path, *target: str, workers: str = "4", **environ: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Workers that serve ``target``, as seen from the folder ``where``, and their URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = os.pathsep.join(one for one in sys.path if one)
    env = {**os.environ, "PYTHONPATH": path, "ACRON_HOME": str(where / "home"), **environ}
    command = [sys.executable, "-m", "uvicorn", *target, f"--workers={workers}", f"--port={port}"]
    log = (where / "log").open("w")
    process = subprocess.Popen(
        [*command, "--log-level=warning"], cwd=where, env=env, stderr=log, text=True
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE)
        log.close()


def get(url: str, method: str = "GET") -> str:
    """What it answers, as soon as it does."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
                return str(answer.read().decode())
        except OSError:
            assert time.monotonic() < end, "it does not answer"
            time.sleep(0.1)


def until_told(url: str, so: str) -> None:
    end = time.monotonic() + PATIENCE
    while so not in (told := get(url)):
        assert time.monotonic() < end, told
        time.sleep(0.1)


async def test_each_occurrence_once_with_four_workers(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(SITE)
    store = f"sqlite:///{tmp_path}/jobs.db"
    with uvicorn(tmp_path, "served:web", SITE_STORE=store) as (process, url):
        end = time.monotonic() + PATIENCE
        while get(f"{url}/nodes").count(",") < 3:
            assert time.monotonic() < end, "four nodes did not come up"
            time.sleep(0.1)
        effects = tmp_path / "effects"
        before = len(effects.read_text().splitlines()) if effects.exists() else 0
        while len(effects.read_text().splitlines()) < before + 3:
            assert time.monotonic() < end, "it does not fire"
            time.sleep(0.1)
    assert process.returncode == 0
    told = [line.split() for line in effects.read_text().splitlines()]
    instants = Counter(instant for instant, _ in told)
    assert set(instants.values()) == {1}
    async with (app := Acron(store, app="looker")).attached():
        runs = await app.runs("tick", limit=1000)
    ran = {run.scheduled_at.isoformat() for run in runs if run.scheduled_at}
    assert instants.keys() == ran
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_memory_is_refused_to_several_workers(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(SITE)
    with uvicorn(tmp_path, "served:web", workers="2", SITE_STORE="memory://") as (process, _):
        process.wait(PATIENCE)  # the server gives up by itself
    assert "several workers cannot share a memory store" in (tmp_path / "log").read_text()
