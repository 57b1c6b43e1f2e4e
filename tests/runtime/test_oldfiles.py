"""Fault 51: years of output files."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from acron import Acron
from acron.abc import Output
from acron.model import Settings
from acron.runtime import oldfiles
from acron.runtime.files import Files
from acron.runtime.oldfiles import Old, forget
from acron.threads import Threads

if TYPE_CHECKING:
    from pathlib import Path

    from acron.testing import VirtualTime

NOW = datetime(2026, 11, 22, tzinfo=UTC)
MONTH = Old(NOW - timedelta(days=30), 1000)


def age(path: Path, days: float) -> None:
    at = (NOW - timedelta(days=days)).timestamp()
    os.utime(path, (at, at), follow_symlinks=False)


def told(folder: Path, days: float, run: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NOW - timedelta(days=days):%Y%m%dT%H%M%SZ}-{run}.md"
    path.write_text("tea")
    return path


def attached(folder: Path, days: float, run: str) -> Path:
    path = folder / f"{run}.files"
    path.mkdir(parents=True)
    (path / "a.png").write_text("tea")
    (path / "b.png").write_text("tea")
    age(path, days)
    return path


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_by_age(tmp_path: Path) -> None:
    tea = tmp_path / "tea"
    old = [told(tea, 31, "r1"), attached(tea, 31, "r1")]
    new = [told(tea, 29, "r2"), attached(tea, 29, "r2")]
    draft = tea / f".{'0a' * 8}.tmp"
    draft.write_text("torn")
    age(draft, 31)
    assert forget(tmp_path, MONTH) == (None, 4)
    assert not any(path.exists() for path in (*old, draft))
    assert all(path.exists() for path in new)


def test_by_number(tmp_path: Path) -> None:
    for job in ("coffee", "tea"):
        for day in range(5):
            told(tmp_path / job, day, f"r{day}")
            attached(tmp_path / job, day, f"r{day}")
    forget(tmp_path, MONTH._replace(keep=2))
    for job in ("coffee", "tea"):
        left = [path.name for path in (tmp_path / job).iterdir()]
        assert len([name for name in left if name.endswith(("r0.md", "r1.md"))]) == 2
        assert sorted(name for name in left if name.endswith(".files")) == ["r0.files", "r1.files"]
        assert len(left) == 4


def test_nothing_outside_and_nothing_of_others(tmp_path: Path) -> None:
    """Links lead nowhere, and what acron did not name is not acron's."""
    outside = tmp_path / "outside"
    told(outside, 99, "r1")
    attached(outside, 99, "r1")
    precious = outside / "precious"
    precious.write_text("mine")
    output = tmp_path / "output"
    attached(output / "tea", 99, "r1")
    (output / "coffee").symlink_to(outside)
    (output / "tea" / "r2.files").symlink_to(outside)
    (output / "tea" / "r1.files" / "link").symlink_to(precious)
    age(output / "tea" / "r1.files", 99)
    for name in ("notes.md", "20200101T000000Z-r3.txt", ".draft.tmp", "live.live"):
        (output / "tea" / name).write_text("mine")
        age(output / "tea" / name, 99)
    nested = output / "tea" / "r4.files" / "deep"
    nested.mkdir(parents=True)
    age(nested.parent, 99)
    (output / "20200101T000000Z-r5.md").write_text("mine")
    before = names(outside)
    forget(output, MONTH._replace(keep=0))
    assert names(outside) == before
    assert names(output) == [
        *("20200101T000000Z-r5.md", "coffee", "tea", "tea/.draft.tmp"),
        *("tea/20200101T000000Z-r3.txt", "tea/live.live", "tea/notes.md"),
        *("tea/r2.files", "tea/r4.files", "tea/r4.files/deep"),
    ]


def test_a_step_is_bounded_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oldfiles, "REMOVED", 4)
    monkeypatch.setattr(oldfiles, "FOLDERS", 2)
    for job in "abcde":
        for run in range(3):
            told(tmp_path / job, 40 + run, f"r{run}")
    steps = []
    after: str | None = ""
    while after is not None:
        after, gone = forget(tmp_path, MONTH, after)
        steps.append(gone)
    assert sum(steps) == 15
    assert max(steps) <= 4
    assert len(steps) >= 4
    assert not list(tmp_path.glob("*/*.md"))


def test_the_empty_folder_of_a_job_long_gone(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    age(tmp_path / "gone", 40)
    (tmp_path / "new").mkdir()
    age(tmp_path / "new", 1)
    assert forget(tmp_path, MONTH) == (None, 0)
    assert names(tmp_path) == ["new"]
    assert forget(tmp_path / "nowhere", MONTH) == (None, 0)


@pytest.mark.usefixtures("alone")
async def test_upkeep_forgets_files_too(acron_time: VirtualTime, tmp_path: Path) -> None:
    given = tmp_path / "tea.txt"
    given.write_text("tea")
    app = Acron(
        f"sqlite:///{tmp_path}/acron.db",
        clock=acron_time.clock,
        settings=Settings(retention_runs=2, interval=600),
    )

    @app.job("every 20m", deliver="local")
    def tea() -> Output:
        return Output("tea", files=(str(given),))

    async with app:
        await acron_time.advance(hours=3, minutes=5)
        newest = (await app.runs("tea"))[0].id
    kept = names(tmp_path / "output" / "tea")
    assert any(one.endswith(f"-{newest}.files") for one in kept)
    # Of nine runs those since the last look, and two; each with a file, and one in a folder.
    assert 6 <= len(kept) <= 18


async def test_the_pace_is_that_of_whole_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many steps one has: an hour after some files have gone, then ever longer."""
    monkeypatch.setattr(oldfiles, "FOLDERS", 1)
    for job in "abcdef":
        told(tmp_path / "output" / job, 1, "r2")
    told(tmp_path / "output" / "a", 40, "r1")
    files = Files(tmp_path, Threads())

    async def look() -> float:
        while not (rest := await files.forget(*MONTH)):
            pass
        return rest

    assert [await look() for _ in range(3)] == [3600, 7200, 14_400]
