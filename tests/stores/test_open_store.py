from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from acron import stores
from acron.errors import ConfigError
from acron.stores import open_store
from acron.stores.json_file import JsonFileStore
from acron.stores.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("address", ["memory://", "memory:", "MEMORY://"])
def test_memory(tmp_path: Path, address: str) -> None:
    assert isinstance(open_store(address, tmp_path), MemoryStore)


def test_nothing_said_is_jobs_json_at_home(tmp_path: Path) -> None:
    store = open_store("", tmp_path)
    assert isinstance(store, JsonFileStore)
    assert store.address == str(tmp_path / "jobs.json")


def test_paths_of_any_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    for address, expected in {
        "bot.json": tmp_path / "bot.json",
        "./a b.txt": tmp_path / "a b.txt",
        "/x/jobs": "/x/jobs",
        "~/jobs.json": tmp_path / "me" / "jobs.json",
        "file:///x/a%20b.json": "/x/a b.json",
        "file://localhost/x/y": "/x/y",
    }.items():
        store = open_store(address, tmp_path)
        assert isinstance(store, JsonFileStore)
        assert store.address == str(expected)


@pytest.mark.parametrize(
    "address, why",
    [
        ("postgresql://me:secret@db/x?lease=soon", "cannot be read"),
        ("redis://x", "no store is known"),
        ("memory://x", "no name"),
        ("file://host/x", "file URL"),
        ("file:///x?y", "file URL"),
        ("file:", "names no file"),
        ("x/", "names no file"),
        ("a\0b", "printable"),
        ("a\nb", "printable"),
        ("a\x1b[31m", "printable"),
        ("x" * 10_000, "too long"),
        ("x/" * 3000 + "y", "too long"),
        ("~nobody-of-that-name/x", "usable path"),
    ],
)
def test_what_no_store_can_be(tmp_path: Path, address: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        open_store(address, tmp_path)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 300
    assert "secret" not in message


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="directory"):
        open_store(str(tmp_path), tmp_path)


def test_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    def found(*, group: str, name: str) -> list[EntryPoint]:
        assert group == "acron.stores"
        value = {"mine": f"{__name__}:make_mine", "bad": "nowhere.at.all:x"}.get(name)
        return [] if value is None else [EntryPoint(name, value, group)]

    monkeypatch.setattr(stores, "entry_points", found)
    monkeypatch.setitem(
        __import__("sys").modules,
        __name__,
        __import__("types").SimpleNamespace(make_mine=make_mine),
    )
    store = open_store("mine://x", tmp_path)
    assert isinstance(store, Mine)
    assert store.given == ("mine://x", tmp_path)
    with pytest.raises(ConfigError, match=r"nowhere\.at\.all"):
        open_store("bad://x", tmp_path)


class Mine(MemoryStore):
    given: tuple[str, Path]


def make_mine(address: str, home: Path) -> Mine:
    store = Mine()
    store.given = (address, home)
    return store
