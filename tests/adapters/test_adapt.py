"""Which clients are known, and which adapters a process has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from acron import Acron
from acron.adapters import CLIENTS, OURS, adapt, load_adapters
from acron.adapters.base import setting
from acron.errors import ConfigError
from acron.testing import RecordingAdapter

if TYPE_CHECKING:
    from pathlib import Path


def test_an_adapter_stays_as_it_is() -> None:
    mine = RecordingAdapter("chat")
    assert adapt("other", mine) is mine


@pytest.mark.parametrize("given", [object(), "token", None, RecordingAdapter])
def test_what_nobody_knows_is_refused(given: object) -> None:
    with pytest.raises(ConfigError, match=r"adapters\['chat'\]"):
        Acron("memory://", adapters={"chat": given})


def test_a_client_bears_the_name_that_targets_use() -> None:
    import discord
    from discord.ext import commands

    client = commands.Bot("!", intents=discord.Intents.none())
    assert adapt("gamers", client).name == "gamers"


def test_each_platform_can_be_made() -> None:
    from acron.adapters import _find

    for place in (*CLIENTS.values(), *OURS.values()):
        assert callable(_find(place))


def test_only_what_is_set_up_is_there(tmp_path: Path) -> None:
    found = load_adapters(tmp_path, environ={})
    assert set(found) == {"local", "log", "webhook", "apprise"}
    taken = load_adapters(tmp_path, taken={"telegram"}, environ={"ACRON_TELEGRAM_TOKEN": "1:x"})
    assert "telegram" not in taken


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\nmore\n")
    assert setting({"X_FILE": str(tmp_path / "token")}, "X") == "s3cret"
    assert setting({"X": "here", "X_FILE": str(tmp_path / "token")}, "X") == "here"
    with pytest.raises(ConfigError, match="X_FILE: cannot read"):
        setting({"X_FILE": str(tmp_path / "nothing")}, "X")
