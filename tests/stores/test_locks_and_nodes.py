"""FAULTS 18, 19, and who is alive."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from typing import TYPE_CHECKING

import pytest

from acron.errors import StoreLocked, StoreUnavailable
from acron.stores.files import Files
from acron.stores.json_file import JsonFileStore
from acron.stores.lock import FileLock
from acron.stores.nodes import NodeFiles
from acron.testing.contracts._stores_base import CAN, NOW, a_job, a_node, keeps, starts

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_held_lock_bounds_the_wait_and_names_the_holder(tmp_path: Path) -> None:
    store = JsonFileStore(tmp_path / "bot.json", lock_wait=0.01)
    await store.open(NOW)
    await store.write(["a"], keeps(a_job("a")), NOW)
    other = FileLock(tmp_path / "bot.lock")
    size = (tmp_path / "bot.journal").stat().st_size
    with other.held():
        with pytest.raises(StoreLocked, match=f"process {os.getpid()} on ") as caught:
            await store.claim(NOW, 9, CAN, starts())
        assert str(os.getpid()) in caught.value.holder
        assert await store.get("a") == a_job("a"), "reading needs no lock"
        assert (tmp_path / "bot.journal").stat().st_size == size
    assert len(await store.claim(NOW, 9, CAN, starts())) == 1
    other.close()
    await store.close()


async def test_locks_unsupported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StoreUnavailable, match="database store"):
        await JsonFileStore(tmp_path / "bot.json").open(NOW)
    assert not (tmp_path / "bot.journal").exists()


def test_a_deleted_lock_file_splits_nobody(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    one, two = FileLock(path, wait=0.01), FileLock(path, wait=0.01)
    with one.held():
        pass
    path.unlink()
    with two.held(), pytest.raises(StoreLocked), one.held():
        pass
    one.close()
    two.close()


@pytest.mark.parametrize("node_id", ["n1", "../../x", "é☕", "a" * 5000, ".", "", "a/b", "\0"])
def test_a_node_of_any_name(tmp_path: Path, node_id: str) -> None:
    folder = tmp_path / "bot.nodes"
    here, there = NodeFiles(folder, Files()), NodeFiles(folder, Files())
    here.open(a_node(node_id))
    assert not there.dead(node_id)
    assert [(node.id, node.alive) for node in there.all()] == [(node_id, True)]
    assert {one.parent for one in tmp_path.rglob("*") if one.is_file()} == {folder}
    here.close()
    assert there.dead(node_id)
    assert [(node.id, node.alive) for node in there.all()] == [(node_id, False)]


def test_a_damaged_description_hides_its_node_only(tmp_path: Path) -> None:
    nodes = NodeFiles(tmp_path, Files())
    nodes.open(a_node("n1"))
    (tmp_path / "n0.json").write_text("{")
    assert [node.id for node in nodes.all()] == ["n1"]
    nodes.close()


def test_looking_at_a_node_does_not_keep_it_from_living(tmp_path: Path) -> None:
    here, there = NodeFiles(tmp_path, Files()), NodeFiles(tmp_path, Files())
    for _ in range(50):
        here.open(a_node("n1"))
        assert not there.dead("n1")
        here.close()
        assert there.dead("n1")


def test_two_threads_may_describe_a_node_at_once(tmp_path: Path) -> None:
    """The store's, and the watchdog's: neither fails, and what is there is always whole."""
    nodes = NodeFiles(tmp_path, Files())
    nodes.open(a_node("n1"))
    failures: list[Exception] = []

    def describe() -> None:
        try:
            for _ in range(200):
                nodes.write(a_node("n1"))
        except Exception as error:  # noqa: BLE001 (shown below)
            failures.append(error)

    threads = [threading.Thread(target=describe) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert [node.id for node in nodes.all()] == ["n1"]
    assert failures == []
