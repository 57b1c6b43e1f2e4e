from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., Any]


def test_next_of_a_text_needs_and_makes_no_store(cli: Cli, home: Path) -> None:
    said = cli("next", "0 9 * * *", "-n", "2", "--from", "2026-12-01T00:00Z", "--json")
    assert said.json == ["2026-12-01T08:00:00Z", "2026-12-02T08:00:00Z"]
    assert not home.exists()


def test_next_in_another_zone(cli: Cli) -> None:
    args = ("next", "0 9 * * *", "-n", "1", "--tz", "Asia/Tokyo", "--from", "2026-12-01T08:59")
    assert cli(*args).out == "2026-12-01T00:00:00Z  Tue 2026-12-01 09:00:00 Asia/Tokyo\n"
    assert cli(*args, "--json").json == ["2026-12-01T00:00:00Z"]


def test_a_job_wins_over_a_schedule(cli: Cli) -> None:
    cli("add", "0 9 * * *", "--command", "true", "--id", "x", "--name", "every 1h")
    cli("add", "0 9 * * *", "--command", "true", "--id", "p", "--paused")
    since = ("--from", "2099-12-01T00:00Z", "-n", "1", "--json")
    assert cli("next", "x", *since).json == ["2099-12-01T08:00:00Z"]
    assert cli("next", "every 1h", *since).json == ["2099-12-01T08:00:00Z"]
    assert cli("next", "p", "--json").json == []
    assert "paused" in cli("next", "p").err


def test_next_of_a_job_in_a_database(cli: Cli, tmp_path: Path) -> None:
    store = ("--store", f"sqlite:///{tmp_path}/jobs.db")
    assert cli(*store, "next", "x").code == 1
    assert not any(tmp_path.iterdir())
    cli(*store, "add", "0 9 * * *", "--command", "true", "--id", "x")
    since = ("--from", "2099-12-01T00:00Z", "-n", "1", "--json")
    assert cli(*store, "next", "x", *since).json == ["2099-12-01T08:00:00Z"]


def test_next_asks_a_server_only_about_what_is_no_text(cli: Cli) -> None:
    store = ("--store", "postgresql://nobody@127.0.0.1:1/jobs")
    assert len(cli(*store, "next", "every 1h", "--json").json) == 5
    said = cli(*store, "next", "tea")
    assert said.code == 1
    assert "Connect call failed" in said.err


def test_next_of_a_job_stops_where_the_job_does(cli: Cli) -> None:
    cli("add", "every 1h", "--command", "true", "--id", "x", "--repeat", "3")
    assert len(cli("next", "x", "-n", "10", "--json").json) == 3


def test_a_broken_store_does_not_matter_to_a_text(cli: Cli, home: Path) -> None:
    home.mkdir()
    (home / "jobs.json").write_text("{broken")
    assert len(cli("next", "every 1h", "--json").json) == 5
    said = cli("next", "tea")
    assert said.code == 1
    assert "jobs.json" in said.err


def test_explain(cli: Cli, home: Path) -> None:
    said = cli("explain", "0 9 * * 1-5", "--json").json
    assert len(said["next"]) == 5
    assert said["tz"] == "Europe/Paris"
    assert said["next"][0].endswith("Z")
    assert said["sentence"].endswith(".")
    assert 250 < said["per_year"] < 270
    told = cli("explain", "0 9 * * 1-5").out
    assert said["sentence"] in told
    assert "09:00" in told
    assert not home.exists()


@pytest.mark.parametrize(
    "args,code,words",
    [
        (("next", "30m"), 1, "in 30m"),
        (("next", "nobody"), 1, "nobody"),
        (("next", "2020-01-01T00:00Z"), 1, "in the past"),
        (("next", "every 1h", "--tz", "Mars"), 1, "Mars"),
        (("next", "every 1h", "--from", "soon"), 2, "soon"),
        (("next", "every 1h", "--from", "9999-12-31T23:30"), 2, "9999-12-31"),
        (("next", "every 1h", "-n", "0"), 2, "-n"),
        (("next",), 2, "SCHEDULE|REF"),
        (("explain", "R"), 1, "R"),
        (("explain", "every 1h", "--tz", "Mars"), 1, "Mars"),
        (("explain",), 2, "SCHEDULE"),
    ],
)
def test_wrong_arguments(cli: Cli, args: tuple[str, ...], code: int, words: str) -> None:
    said = cli(*args)
    assert (said.code, said.out) == (code, "")
    assert words.lower() in said.err.lower()
