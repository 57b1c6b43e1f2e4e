from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
from typing import TYPE_CHECKING

import pytest

from acron.actions import load_actions
from acron.actions.call import CallAction
from acron.actions.command import CommandAction
from acron.adapters import close_adapters, load_adapters
from acron.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from acron.plugins import Closable

OWN = (CallAction(Threads(1)), CommandAction())
#: Adapters that need no credentials.
PLAIN = {"local", "log", "webhook", "apprise"}
STRANGER = """
from acron.abc import Action, Adapter, Receipt

class Ping(Action):
    name = "ping"
    async def run(self, spec, ctx):
        return "pong"

class Impostor(Ping):
    name = "call"

class Pigeon(Adapter):
    name = "pigeon"
    async def send(self, message):
        return Receipt("feather")

def make_owl():
    owl = Pigeon()
    owl.name = "owl"
    return owl

def broken():
    raise ZeroDivisionError("a\\nforged line")

def leaves():
    raise SystemExit(3)

def interrupted():
    raise KeyboardInterrupt

INSTANCE = Ping()
NUMBER = 7
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a distribution with these entry points on the path."""

    def put(points: str) -> None:
        info = tmp_path / "stranger-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(points)
        (tmp_path / "stranger_plugins.py").write_text(STRANGER)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "stranger_plugins", raising=False)
        importlib.invalidate_caches()

    return put


def test_there_is_always_what_needs_nothing(tmp_path: Path) -> None:
    assert set(load_actions(OWN)) == {"call", "command"}
    assert set(load_adapters(tmp_path)) == PLAIN
    assert all(name == one.name for name, one in load_adapters(tmp_path).items())


@pytest.mark.parametrize("what", ["Ping", "INSTANCE"])
async def test_strangers_add_actions(install: Callable[[str], None], what: str) -> None:
    install(f"[acron.actions]\nanything = stranger_plugins:{what}\n")
    actions = load_actions(OWN)
    assert set(actions) == {"call", "command", "ping"}
    assert await actions["ping"].run(None, None) == "pong"  # type: ignore[arg-type]


def test_strangers_add_adapters(install: Callable[[str], None], tmp_path: Path) -> None:
    install("[acron.adapters]\na = stranger_plugins:Pigeon\nb = stranger_plugins:make_owl\n")
    assert set(load_adapters(tmp_path)) == PLAIN | {"pigeon", "owl"}


@pytest.mark.parametrize(
    "target,told",
    [
        ("stranger_plugins:broken", r"ZeroDivisionError: a\nforged line"),
        ("stranger_plugins:leaves", "SystemExit: 3"),
        ("stranger_plugins:NUMBER", "TypeError: 7 is not an instance of Action"),
        ("stranger_plugins:dict", "AttributeError"),
        ("stranger_plugins:Pigeon", "is not an instance of Action"),
        ("stranger_plugins:Impostor", "there is a 'call' already"),
        ("no_such_module:x", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_a_strangers_fault_is_told_and_left_out(
    install: Callable[[str], None], target: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    install(f"[acron.actions]\na-bad = {target}\nb-good = stranger_plugins:Ping\n")
    assert set(load_actions(OWN)) == {"call", "command", "ping"}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"acron.actions: a-bad ({target}) is left out: ")
    assert told in record.getMessage()


def test_what_is_installed_meanwhile_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install: Callable[[str], None]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    os.utime(tmp_path, (0, 0))
    path = list(sys.path)
    assert set(load_actions(OWN)) == {"call", "command"}
    install("[acron.actions]\na = stranger_plugins:Ping\n")
    monkeypatch.setattr(sys, "path", path)
    assert set(load_actions(OWN)) == {"call", "command", "ping"}


def test_what_is_installed_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    load_actions(OWN)
    monkeypatch.setattr("acron.plugins.entry_points", lambda **_: pytest.fail("read again"))
    assert set(load_actions(OWN)) == {"call", "command"}


def test_of_two_with_one_name_the_first_is_taken(
    install: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    install("[acron.actions]\na = stranger_plugins:Ping\nb = stranger_plugins:INSTANCE\n")
    assert set(load_actions(OWN)) == {"call", "command", "ping"}
    assert "b (stranger_plugins:INSTANCE) is left out" in caplog.text


def test_the_person_at_the_keyboard_wins(install: Callable[[str], None]) -> None:
    install("[acron.actions]\na = stranger_plugins:interrupted\n")
    with pytest.raises(KeyboardInterrupt):
        load_actions(OWN)


async def test_what_cannot_be_closed_stops_nobody_and_tells_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    closed: list[str] = []

    class Leaves:
        async def close(self) -> None:
            raise SystemExit("token=canary-of-a-token")

    class Cancels:
        async def close(self) -> None:
            raise asyncio.CancelledError

    class Well:
        async def close(self) -> None:
            closed.append("well")

    things: dict[str, Closable] = {"leaves": Leaves(), "cancels": Cancels(), "well": Well()}
    await close_adapters(things)  # type: ignore[arg-type]
    await close_adapters({})
    assert closed == ["well"]
    assert "adapter leaves did not close: SystemExit: token=***" in caplog.text
    assert "canary" not in caplog.text
