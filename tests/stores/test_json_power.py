"""FAULTS 8: power is lost at any step, and what was not synced is gone."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from acron.stores.journal import Journal
from acron.stores.json_file import JsonFileStore
from acron.testing.contracts._stores_base import NOW

from .faults import Crash, PowerLoss
from .test_json_faults import (
    STEPS,
    _add,
    _again,
    _claim,
    _finish,
    _give_up,
    view,
    walk,
)

if TYPE_CHECKING:
    from pathlib import Path

#: All but the one that needs two files to change: a loss between them is a hand edit to whoever
#: reads next.
ONE_COMMIT = [step for step in STEPS if step is not _give_up]


def on(folder: Path, at: int = 0) -> tuple[Path, PowerLoss]:
    folder.mkdir()
    return folder / "bot.json", PowerLoss(folder, at)


@pytest.mark.parametrize("beyond", [10**9, 1], ids=["journal", "compacted all the time"])
async def test_what_was_told_is_kept(tmp_path: Path, beyond: int) -> None:
    path, whole = on(tmp_path / "whole")
    good = await walk(path, whole, ONE_COMMIT, compact_beyond=beyond)
    path, opening = on(tmp_path / "open")
    await walk(path, opening, [])
    happened: set[bool] = set()
    for at in range(opening.steps + 1, whole.steps + 1):
        path, files = on(tmp_path / str(at), at)
        views = await walk(path, files, ONE_COMMIT, compact_beyond=beyond)
        files.come_back()
        done = len(views) - 2
        async with _again(path) as store:
            found = await view(store)
            assert found in good[done : done + 2], whole.names[at - 1]
            happened.add(found != good[done])
            assert await store.problems() == []
            await _add(store)
    assert happened == {True, False}, "some losses come before the commit, and some after"


async def test_a_compaction_whose_name_was_not_durable(tmp_path: Path) -> None:
    """The new journal is in its place, and the directory's fsync failed: what is written to it
    from then on must not go with the power."""
    path, files = on(tmp_path / "disk")
    store = JsonFileStore(path, files=files)
    await store.open(NOW)
    overgrown = patch.object(Journal, "overgrown", new=True)
    failing = patch.object(files, "sync_directory", side_effect=OSError(errno.EIO, "broken"))
    await _add(store)
    with overgrown, failing as failed:
        await _claim(store)  # which is in the journal; that it could not be shortened is a note
    assert failed.called
    assert files.names[-1] == "replace"
    await _finish(store)
    told = await view(store)
    await store.close()
    files.come_back()
    async with _again(path) as again:
        assert await view(again) == told


async def test_while_it_is_opened(tmp_path: Path) -> None:
    path, opening = on(tmp_path / "open")
    await walk(path, opening, [])
    for at in range(1, opening.steps + 1):
        path, files = on(tmp_path / str(at), at)
        with pytest.raises(Crash):
            await walk(path, files, [])
        files.come_back()
        async with _again(path) as store:
            assert await view(store) == [[], []]
            await _add(store)
