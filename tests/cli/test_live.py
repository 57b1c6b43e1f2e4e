from __future__ import annotations

import asyncio
import io
import logging
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from acron.cli.board import Board, keep_planned
from acron.cli.live import draw, keep_drawn
from acron.cli.logs import line, logging_to_stderr
from acron.cli.render import countdown, local, span
from acron.events import Delivered, Dropped, Finished, Progressed, Skipped, Started, Troubled
from acron.model import Delivery, Job, Run, RunState, Skip, SkipReason
from acron.specs import Command

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 22, 17, 10, tzinfo=UTC)
JOB = Job(
    id="tea",
    schedule="every 2h",
    action=Command("kettle on"),
    tz="Europe/Paris",
    next_fire_at=NOW + timedelta(seconds=75),
)


def run(number: int, **fields: Any) -> Run:
    return Run(id=f"r{number}", job_id="tea", due_at=NOW, scheduled_at=NOW, **fields)


def ended(number: int, state: RunState = RunState.SUCCEEDED, **fields: Any) -> Finished:
    end = NOW + timedelta(seconds=1.5)
    return Finished(end, JOB, run(number, state=state, started_at=NOW, finished_at=end, **fields))


def board(**fields: Any) -> Board:
    return Board("/x/jobs.json", "Europe/Paris", NOW - timedelta(seconds=83), **fields)


def picture(shown: Board, *, width: int = 100, height: int = 40, at: datetime = NOW) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=True)
    with console.capture() as captured:
        console.print(draw(shown, at, height))
    return re.sub(r"\x1b\[[0-9;]*m", "", captured.get())


def test_the_head_tells_store_provider_zone_uptime_and_state() -> None:
    head = picture(board(state="ok", provider="inprocess", jobs=3))
    for word in ("● ok", "up 1m 23s", "inprocess", "3 jobs", "Europe/Paris", "/x/jobs.json"):
        assert word in head


def test_with_nothing_to_run_it_says_how_to_add_a_job() -> None:
    shown = board(hint="acron add …")
    shown.plan([], 0)
    assert "acron add …" in picture(shown)
    shown.plan([JOB], 1)
    assert "acron add …" not in picture(shown)


def test_next_fires_count_down_on_the_wall_clock_of_their_zone() -> None:
    shown = board()
    shown.plan([JOB], 1)
    told = picture(shown)
    assert "in 1m 15s" in told
    assert "18:11:15" in told
    assert "in 5s" in picture(shown, at=NOW + timedelta(seconds=70))
    assert "now" in picture(shown, at=NOW + timedelta(seconds=80))


def test_a_run_goes_on_makes_progress_and_ends() -> None:
    shown = board()
    shown.see(Started(NOW, JOB, run(1, started_at=NOW)))
    assert re.search(r"tea +r1 +12s", picture(shown, at=NOW + timedelta(seconds=12)))
    shown.see(Progressed(NOW, JOB, run(1, started_at=NOW), 3, 4, "page 3"))
    told = picture(shown)
    assert "75%" in told
    assert "page 3" in told
    shown.see(ended(1, output="\n  hello\nworld"))
    told = picture(shown, at=NOW + timedelta(seconds=4))
    assert re.search(r"✓ +tea +r1 +succeeded +1.5s +2s ago +hello", told)
    assert not shown.running


def test_failures_and_skips_are_seen_and_counted() -> None:
    shown = board()
    shown.see(ended(1, RunState.FAILED, error="ValueError: no"))
    shown.see(Skipped(NOW, JOB, Skip(job_id="tea", scheduled_at=NOW, reason=SkipReason.OVERLAP)))
    told = picture(shown)
    assert "ValueError: no" in told
    assert "overlap" in told
    assert "1 failed · 1 skipped" in told


def test_trouble_is_shown_while_it_lasts() -> None:
    shown = board(state="failing")
    shown.see(Troubled(NOW, "tick failed", "tick failed: OSError: disk full"))
    assert "disk full" in picture(shown)
    shown.state = "ok"
    assert "disk full" not in picture(shown)


@pytest.mark.parametrize("height", [10, 24, 60])
def test_it_fits_the_terminal_whatever_happens(height: int) -> None:
    shown = board()
    shown.plan([JOB] * 6, 1_000_000)
    for number in range(200):
        shown.see(Started(NOW, JOB, run(number, started_at=NOW)))
        shown.see(ended(1000 + number, output="x" * 500))
    lines = picture(shown, width=60, height=height).splitlines()
    assert len(lines) <= max(height, 22)
    assert all(len(one) <= 60 for one in lines)
    assert "more" in picture(shown)


def test_what_jobs_say_cannot_draw(capsys: pytest.CaptureFixture[str]) -> None:
    shown = board()
    shown.see(ended(1, output="\x1b[2J[bold]x[/nothing]"))
    assert r"\x1b[2J[bold]x[/nothing]" in picture(shown)


async def test_there_is_room_for_what_the_terminal_echoes(tmp_path: Path) -> None:
    from acron import Acron

    app = Acron(f"{tmp_path}/jobs.json")
    screen = io.StringIO()
    console = Console(width=60, height=20, file=screen, force_terminal=True)
    drawing = asyncio.create_task(keep_drawn(app, board(), console))
    await asyncio.sleep(0)
    drawing.cancel()
    await asyncio.gather(drawing, return_exceptions=True)
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue()).splitlines()
    assert max(map(len, lines)) == 60 - len("^C")


async def test_the_plan_is_the_nearest_jobs_of_the_store(tmp_path: Path) -> None:
    from acron import Acron, Settings

    app = Acron("memory://", settings=Settings(home=str(tmp_path)))
    shown = board()
    async with app:
        for hours in range(20, 0, -1):
            await app.add(f"in {hours}h", Command("true"), id=f"in{hours}")
        await app.add("in 1m", Command("true"), id="off", paused=True)
        planner = asyncio.create_task(keep_planned(app, shown))
        while shown.jobs is None:  # noqa: ASYNC110 (the planner tells nobody)
            await asyncio.sleep(0)
        planner.cancel()
    assert [job.id for job in shown.upcoming] == [f"in{hours}" for hours in range(1, 7)]
    assert (shown.jobs, shown.state, shown.provider) == (21, "ok", "inprocess")


# --- lines ---


@pytest.mark.parametrize(
    "event,text",
    [
        (Started(NOW, JOB, run(1)), "started tea r1"),
        (
            Started(NOW, JOB, run(1, attempt=2, lateness=61.0)),
            "started tea r1 attempt 2 1m 1s late",
        ),
        (
            Started(NOW, JOB, Run(id="r1", job_id="tea", due_at=NOW)),
            "started tea r1 by hand",
        ),
        (
            Finished(NOW, JOB, run(1, state=RunState.TIMED_OUT, error="a\nb"), run(2, attempt=2)),
            r"timed_out tea r1 in 0ms: a\nb; attempt 2 at 2026-11-22T17:10:00Z",
        ),
        (
            Skipped(
                NOW,
                JOB,
                Skip(job_id="tea", scheduled_at=NOW, reason=SkipReason.MISFIRE, count=3),
            ),
            "skipped tea 2026-11-22T17:10:00Z misfire 3 times",
        ),
        (Dropped(NOW, 7), "7 events are not shown"),
    ],
)
def test_an_event_is_a_line(event: Any, text: str) -> None:
    assert line(event) == f"2026-11-22T17:10:00Z {text}"


def test_some_events_are_not_worth_a_line() -> None:
    assert line(Progressed(NOW, JOB, run(1), 1, 2, "")) is None
    fine = Delivery("local", state="delivered", receipt="x")
    assert line(Delivered(NOW, JOB, run(1, deliveries=(fine,)))) is None


def test_the_log_is_lines_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with logging_to_stderr(logging.INFO):
        logging.getLogger("acron.x").info("two\n%s", "lines")
        logging.getLogger("acron.x").debug("not this")
        logging.getLogger("acron.x").error("it broke", exc_info=ValueError("why"))
    logging.getLogger("acron.x").info("nor this")
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ info two\\nlines", first)
    assert second.endswith("Z error it broke: ValueError: why")


# --- words ---


@pytest.mark.parametrize(
    "seconds,text",
    [
        (-1.0, "0ms"),
        (0.0123, "12ms"),
        (4.24, "4.2s"),
        (4, "4s"),
        (59.9, "59s"),
        (200, "3m 20s"),
        (18_600, "5h 10m"),
        (1_047_600, "12d 3h"),
    ],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_instants_in_words() -> None:
    assert local(NOW, "europe/paris") == "Sun 2026-11-22 18:10:00"
    assert local(NOW, "Mars/Olympus") == "2026-11-22T17:10:00Z"
    assert countdown(NOW, NOW) == "now"
    assert countdown(NOW + timedelta(seconds=0.1), NOW) == "in 1s"


def test_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    from acron.cli.target import system_zone

    for found, name in (
        (":Asia/Tokyo", "Asia/Tokyo"),
        ("Etc/UTC", "UTC"),
        ("CET-1CEST", "America/New_York"),
        ("", "America/New_York"),
    ):
        monkeypatch.setenv("TZ", found)
        monkeypatch.setattr(os.path, "realpath", lambda _: "/usr/share/zoneinfo/America/New_York")
        assert system_zone() == name
    monkeypatch.setattr(os.path, "realpath", lambda _: "/etc/localtime")
    assert system_zone() == "UTC"
