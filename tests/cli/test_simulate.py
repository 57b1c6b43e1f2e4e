"""The verb simulate: its words, its picture, its JSON."""

from __future__ import annotations

import io
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from acron.cli.heatmap import HeatMap, short
from acron.cli.outlook import draw
from acron.clock import SystemClock
from acron.forecast import forecast
from acron.model import Job
from acron.specs import Command
from acron.timetable import bind

if TYPE_CHECKING:
    from collections.abc import Callable

    from acron.forecast import Forecast

    Cli = Callable[..., Any]

WEEK = ("--from", "2099-03-23T00:00", "--days", "7")  # clocks go forward on Sunday 29
PARIS = "Europe/Paris"


@pytest.fixture
def filled(cli: Cli) -> Cli:
    for job_id, text in (
        ("backup", "30 2 * * *"),
        ("digest", "0 9 * * 1-5"),
        ("report", "weekdays at 9am"),
        ("poll", "*/20 * * * *"),
        ("beat", "every 10s"),
        ("june", "0 0 1 6 *"),
    ):
        assert cli("add", text, "--command", "true", "--id", job_id).code == 0
    assert cli("add", "@daily", "--command", "true", "--id", "off", "--paused").code == 0
    return cli


def test_an_empty_store(cli: Cli) -> None:
    said = cli("simulate")
    assert said.code == 0
    assert "0 fires · 0 jobs" in said.out
    assert "nothing will fire" in said.out


def test_json_has_all_of_it(filled: Cli) -> None:
    told = filled("simulate", *WEEK, "--json").json
    assert (told["start"], told["until"]) == ("2099-03-22T23:00:00Z", "2099-03-29T22:00:00Z")
    assert told["tz"] == PARIS
    assert [day["length"] for day in told["days"]] == [24.0] * 6 + [23.0]
    assert told["days"][6]["hours"][2] is None
    assert told["days"][0]["hours"][9] == 3 + 2 + 360
    fires = {load["id"]: load["fires"] for load in told["jobs"]}
    assert fires == {"beat": 167 * 360, "poll": 167 * 3, "backup": 7, "digest": 5, "report": 5}
    assert told["fires"] == sum(fires.values())
    assert told["steady"] == ["beat"]
    assert told["collisions"][0]["jobs"] == ["digest", "poll", "report"]
    assert told["collisions"][0]["times"] == 5
    assert told["busiest_minute"] == {"at": "2099-03-23T08:00:00Z", "fires": 3 + 6}
    (change,) = told["changes"]
    assert change["at"] == "2099-03-29T01:00:00Z"
    assert {tuple(one["jobs"]) for one in change["effects"]} == {("backup",), ("poll",)}
    resting = {one["id"]: (one["state"], one["next"]) for one in told["resting"]}
    assert resting == {
        "june": ("not in these days", "2099-05-31T22:00:00Z"),
        "off": ("paused", None),
    }


@pytest.mark.parametrize("width", [40, 60, 80, 132])
def test_the_picture_says_it_in_any_width(filled: Cli, width: int) -> None:
    said = filled("simulate", *WEEK, "--width", str(width))
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= width
    assert not any(line.endswith(" ") for line in lines)
    words = " ".join(said.out.split())
    for part in (
        "Mon 23 Mar to Sun 29 Mar 2099",
        "Sat 28",
        "digest, poll, report",
        "'H 9 * * 1-5'",
        "go forward on Sun 2099-03-29",
        "it runs once, at 03:00",
        "paused",
        "collisions: beat",
    ):
        assert part in words
    assert width < 60 or "next Mon 2099-06-01 00:00" in words
    assert "▓▓" in said.out or width < 60  # shades, where there are no colours
    assert "\x1b" not in said.out


def test_many_days_are_averaged_by_weekday(filled: Cli) -> None:
    out = filled("simulate", "--days", "60", "--from", "2099-01-01T00:00").out
    rows = re.findall(r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun) ", out, re.MULTILINE)
    assert rows == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    assert "average" in out


def test_another_zone(filled: Cli) -> None:
    args = ("--days", "1", "--from", "2099-01-05", "--json")
    paris, tokyo = (filled("simulate", "--tz", tz, *args).json for tz in (PARIS, "Asia/Tokyo"))
    assert paris["start"] == "2099-01-04T23:00:00Z"
    assert tokyo["start"] == "2099-01-04T15:00:00Z"
    assert paris["days"][0]["hours"][9] == tokyo["days"][0]["hours"][17] == 365


def test_nothing_runs_and_nothing_changes(filled: Cli) -> None:
    before = filled("list", "--json").json
    filled("simulate")
    assert filled("list", "--json").json == before
    assert filled("runs", "--json").json == []


@pytest.mark.parametrize(
    "args,code,words",
    [
        (("--days", "0"), 2, "--days"),
        (("--days", "many"), 2, "--days"),
        (("--days", "3661"), 2, "--days"),
        (("--width", "10"), 2, "--width"),
        (("--from", "soon"), 2, "soon"),
        (("--from", "9999-12-31"), 2, "9999"),
        (("--tz", "Mars"), 1, "Mars"),
        (("now",), 2, "now"),
        (("--seeds", "3"), 2, "--seeds is for --chaos"),
        (("--chaos", "--app", "bot:app"), 2, "leave out --app"),
        (("--chaos", "--seed", "3", "--seeds", "5"), 2, "give one of them"),
    ],
)
def test_wrong_arguments(cli: Cli, args: tuple[str, ...], code: int, words: str) -> None:
    said = cli("simulate", *args)
    assert (said.code, said.out) == (code, "")
    assert words in said.err


# --- chaos ---


def test_one_seed_is_told_whole(cli: Cli) -> None:
    told = cli("simulate", "--chaos", "--seed", "2")
    assert told.code == 0
    assert told.out.startswith("seed 2: ")
    found = cli("simulate", "--seed", "2", "--json").json
    assert (found["seeds"], found["broken"]) == (1, {})
    assert found["seen"]["run succeeded"] > 0
    assert told.out == f"{found['story']}\nall invariants held; trace {found['trace']}\n"


# --- drawing ---


def _found(*texts: str) -> Forecast:
    jobs = [
        bind(
            Job(id=text, schedule=text, action=Command("true"), tz=PARIS),
            None,
            SystemClock().now(),
        ).job
        for text in texts
    ]
    start = datetime.fromisoformat("2099-03-23T00:00+01:00")
    return forecast([job for job in jobs if job], start, 7, PARIS)


def _drawn(found: Forecast, **console: Any) -> str:
    file = io.StringIO()
    on = Console(file=file, width=80, **console)
    on.print(draw(found, on))
    return file.getvalue()


def test_colours_carry_the_numbers() -> None:
    out = _drawn(_found("*/20 * * * *"), force_terminal=True, color_system="truecolor")
    assert "\x1b[48;2;" in out or ";48;2;" in out
    plain = re.sub(r"\x1b\[[\d;]*m", "", out)
    monday = next(line for line in plain.splitlines() if line.startswith("Mon 23"))
    assert monday.split() == ["Mon", "23", *["3"] * 24]
    assert next(line for line in plain.splitlines() if line.startswith("Sun 29")).split()[4] == "x"


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = _drawn(_found("*/20 * * * *"), force_terminal=True)
    assert "48;" not in out
    assert "▓" in out


def test_the_more_the_darker() -> None:
    found = _found("0 0-3 * * *", "*/15 1-3 * * *", "* 2 * * *")
    monday = list(HeatMap(found.days, Console(file=io.StringIO(), width=80)).lines())[1].plain
    cells = monday[7 : 7 + 48]
    shades = [" ·░▒▓█".index(cells[2 * hour]) for hour in range(4)]
    assert shades[0] == 2
    assert shades[0] < shades[3] < shades[2] == 5
    assert shades[1] == shades[3]


def test_names_that_would_fool_a_terminal_do_not() -> None:
    found = _found("0 9 * * *", "every 1h")
    evil = tuple(replace(one, id="\x1b[31mid", schedule="[bold]\x07") for one in found.jobs)
    out = _drawn(replace(found, jobs=evil))
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[bold]" in out


@pytest.mark.parametrize(
    "number,room,text",
    [
        (0.44, 3, "0.4"),
        (9.97, 3, "10"),
        (7, 3, "7"),
        (999, 3, "999"),
        (1000, 3, "1k"),
        (36_000_000, 3, "36M"),
        (3113, 5, "3113"),
        (123_456, 5, "123k"),
    ],
)
def test_short_numbers(number: float, room: int, text: str) -> None:
    assert short(number, room) == text
