"""FastAPI and Starlette, and whether workers may share what they are given."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

from acron import Acron
from acron.integrations.asgi import lifespan
from acron.workers import only_worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.mark.parametrize("kind", [FastAPI, Starlette])
async def test_it_lives_inside_the_lifespan_there_is(kind: type[Starlette]) -> None:
    app = Acron("memory://")
    seen: list[bool] = []

    @asynccontextmanager
    async def mine(_: Any) -> AsyncIterator[dict[str, str]]:
        seen.append(app.node is None)
        yield {"pool": "open"}
        seen.append(app.node is None)

    web = kind(lifespan=lifespan(app, around=mine))
    async with web.router.lifespan_context(web) as state:
        assert state == {"pool": "open"}
        assert app.node is not None
    assert seen == [True, True]


async def test_alone_it_is_the_apps_own(app: Acron) -> None:
    web = FastAPI(lifespan=lifespan(app))
    async with web.router.lifespan_context(web):
        assert app.node is not None
    assert app.node is None


WORKER = """
import asyncio, sys
from acron import Acron

async def main():
    async with Acron(sys.argv[1]).lifespan():
        print("open", flush=True)
        sys.stdin.readline()

asyncio.run(main())
"""


def worker(store: str, home: Path, **environ: str) -> subprocess.Popen[str]:
    """One of several children of ours."""
    pipe = subprocess.PIPE
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ACRON_HOME": str(home)}
    command = [sys.executable, "-c", WORKER, store]
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env | environ
    )


def test_a_second_worker_with_a_memory_store_is_refused_until_the_first_is_gone(
    tmp_path: Path,
) -> None:
    gunicorn = {"SERVER_SOFTWARE": "gunicorn/23.0.0"}
    with worker("memory://", tmp_path, **gunicorn) as first:
        assert first.stdout
        assert first.stdout.readline() == "open\n"
        second = worker("memory://", tmp_path, **gunicorn)
        nobodys = worker("memory://", tmp_path)
        shared = worker(f"sqlite:///{tmp_path}/jobs.db", tmp_path, **gunicorn)
        _, why = second.communicate(timeout=20)
        assert second.returncode == 1
        assert "several workers cannot share a memory store" in why
        assert nobodys.communicate(timeout=20)[0] == "open\n"
        assert shared.communicate(timeout=20)[0] == "open\n"
        first.kill()
    third = worker("memory://", tmp_path, **gunicorn)
    assert third.communicate(timeout=20)[0] == "open\n"


def test_a_process_of_nobodys_leaves_no_trace(tmp_path: Path) -> None:
    with only_worker(tmp_path / "home", {}):
        assert not (tmp_path / "home").exists()
