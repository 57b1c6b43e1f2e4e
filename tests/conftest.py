"""What holds for every test: nothing of the user's own acron is seen or touched."""

from __future__ import annotations

import compileall
import gc
import os
import tempfile
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.disks import place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.disks import SmallDisk
    from tests.pg import Server

pytest_plugins = ["pytester"]

# A machine's speed is no finding: no deadlines. In CI the same commit draws the same examples.
settings.register_profile("acron", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("acron")


tempfile.tempdir = place()


def pytest_xdist_auto_num_workers() -> int:
    """More than there are cores: tests of real processes mostly wait."""
    return (os.cpu_count() or 1) + 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Those that wait are dealt out among the files of the rest, but for its last quarter: in one
    row, as they are collected, they are one worker's, and end long after all others."""
    if not hasattr(config, "workerinput"):
        return
    waiting = deque(one for one in items if one.path.parent.name == "e2e")
    others = [one for one in items if one.path.parent.name != "e2e"]
    pace = len(others) * 3 // 4 // max(len(waiting), 1)
    items.clear()
    dealt = 0
    for n, one in enumerate(others):
        while waiting and dealt * pace < n and one.path != others[n - 1].path:
            items.append(waiting.popleft())
            dealt += 1
        items.append(one)
    items += waiting


@pytest.fixture(scope="session")
def pg() -> Iterator[Server]:
    """One for all: to make it and to take it away costs seconds. Tests have schemas of their own,
    and whoever stops it starts it again."""
    from tests.pg import server

    with server() as made:
        yield made


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else writes the files of this test: they need not be looked at twice a second, which
    is most of the work of an hour in virtual time."""
    for store in ("json_file.JsonFileStore.poll", "sqlite.POLL"):
        monkeypatch.setattr(f"acron.stores.{store}", 60.0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A file system of 1 MB."""
    from tests.disks import small_disk

    with small_disk(tmp_path / "small") as made:
        yield made


def pytest_configure(config: pytest.Config) -> None:
    """Some hundred processes import acron: with PYTHONDONTWRITEBYTECODE set, each would compile it
    anew, which takes as long as all else that a short one does."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(Path(__file__).parents[1] / "acron", quiet=2)


def pytest_collection_finish() -> None:
    """What was imported stays: the collector need not look at it with every test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting of the user's is read, and no file of theirs is written."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("ACRON_")]:
            patch.delenv(name)
        patch.setenv("ACRON_HOME", str(tmp_path_factory.mktemp("home")))
        yield
