from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from acron.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = "Callable[..., Said]"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    monkeypatch.setenv("ACRON_HOME", str(place))
    monkeypatch.setenv("TZ", "Europe/Paris")
    return place


@pytest.fixture
def cli(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command line in this process. What it refuses, it refuses in one line."""

    def call(*args: str) -> Said:
        code = main(list(args))
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        if code in {1, 2} and told.err:
            assert told.err.count("\n") == 1
            assert told.err.startswith("acron: ")
        return Said(code, told.out, told.err)

    return call
