from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, Command, Context, Http, Prompt, Retry, Settings
from acron.adapters.log import LogAdapter
from acron.clock import SystemClock
from acron.testing import RecordingAdapter, rehearse

if TYPE_CHECKING:
    from collections.abc import Callable

    Cli = Callable[..., Any]

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
CHAT = "telegram:-100"

BOT = """
from acron import Acron, Command

app = Acron("sqlite:///bot.db", app="bot", tz="Europe/Paris")


@app.job("weekdays at 9am", deliver="telegram:-100")
async def briefing(ctx):
    print("thinking")
    return f"Good morning, {ctx.scheduled_at:%A}"


@app.job("every day at noon", deliver="discord:7")
def rare(ctx):
    if ctx.scheduled_at.day == 25:
        raise ValueError("no cake")
"""


def test_a_week_of_a_program() -> None:
    real = RecordingAdapter("telegram")
    app = Acron("memory://", adapters={"telegram": real}, tz="Europe/Paris")

    @app.job("weekdays at 9am", deliver=CHAT)
    async def briefing(ctx: Context) -> str:
        await asyncio.sleep(60)
        if ctx.scheduled_at is not None and ctx.scheduled_at.weekday() == 0:
            await app.add("in 1h", later, deliver="log", id="once")
        return f"{ctx.scheduled_at:%A}"

    @app.action
    async def later() -> str:
        return "later"

    found = rehearse(app, 7, start=MONDAY)
    names = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]
    briefings = [one for one in found.sent if one.job_id == "briefing"]
    assert [one.text for one in briefings] == names
    first = MONDAY + timedelta(hours=8, minutes=1)  # nine in Paris, and a minute of work
    assert [one.at for one in briefings] == [first + timedelta(days=day) for day in range(5)]
    assert {one.target for one in briefings} == {CHAT}
    (once,) = [one for one in found.sent if one.job_id == "once"]
    assert (once.at, once.target, once.text) == (first + timedelta(hours=1), "log", "later")
    assert [(job.id, job.attempts, job.sent) for job in found.jobs] == [
        ("briefing", 5, 5),
        ("once", 1, 1),
    ]
    assert (found.start, found.until) == (MONDAY, MONDAY + timedelta(days=7))
    assert (found.failures, found.parked, found.missing) == ([], [], [])
    assert real.messages == []


def test_it_is_the_same_story_each_time() -> None:
    app = Acron("memory://")

    @app.job("every day at noon")
    async def plans(ctx: Context) -> None:
        for hour in (1, 2):
            await app.add(f"in {hour}h", later, kwargs={"what": f"{ctx.scheduled_at:%d}"})

    @app.action
    async def later(what: str) -> str:
        return what

    stories = [rehearse(app, 3, start=MONDAY) for _ in range(2)]
    assert stories[0] == stories[1]
    added = [(job.does, job.sent) for job in stories[0].jobs if job.added]
    assert added == [("later", 0)] * 6
    assert len({job.id for job in stories[0].jobs}) == 7


def test_failures_are_told_once_their_retries_are_used_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Acron("memory://")
    tries: list[int] = []

    @app.job("every day at noon", retry=Retry(attempts=3, delay=60, jitter=0))
    async def flaky(ctx: Context) -> None:
        tries.append(ctx.attempt)
        if ctx.scheduled_at == MONDAY + timedelta(hours=12) or ctx.attempt == 1:
            raise ValueError("no cake")

    found = rehearse(app, 2, start=MONDAY)
    assert tries == [1, 2, 3, 1, 2]
    (failure,) = found.failures
    assert (failure.job_id, failure.error) == ("flaky", "ValueError: no cake")
    assert failure.at == MONDAY + timedelta(hours=12, minutes=3)
    assert [(job.attempts, job.failed) for job in found.jobs] == [(5, 1)]
    assert not [one for one in caplog.records if one.name == "acron.runtime.ends"]


@pytest.mark.parametrize("kept,first", [(1000, "Mon 2026-11-23"), (2, "the newest 2 runs")])
def test_months_are_drawn_from_their_first_day(kept: int, first: str) -> None:
    app = Acron(settings=Settings(store="memory://", retention_days=1.0, retention_runs=kept))
    app.job("every day at noon", id="lunch")(_nothing)
    found = rehearse(app, 40, start=MONDAY)
    assert [job.attempts for job in found.jobs] == [40]
    assert first in found.timeline.partition("\n")[0]


async def _nothing() -> None: ...


async def _fill(app: Acron, mark: Path) -> None:
    async with app.attached():
        await app.add("every day at 1am", Command(f"touch {mark}"), id="touch", deliver=CHAT)
        await app.add("every day at 2am", Http("http://127.0.0.1:9/"), id="get", deliver=CHAT)
        await app.add("every day at 3am", Prompt("Brief me"), id="ask", deliver=CHAT)
        await app.add("every day at 4am", "elsewhere", id="others")
        await app.add("every day at 5am", Command("true"), id="off", paused="wait")


def test_stored_jobs_are_copied_and_what_reaches_outside_is_not_done(tmp_path: Path) -> None:
    store, mark = f"sqlite:///{tmp_path / 'bot.db'}", tmp_path / "mark"
    app = Acron(store)

    @app.agent
    async def agent(prompt: str) -> str:
        raise AssertionError("it costs money")

    asyncio.run(_fill(app, mark))
    before = asyncio.run(_rows(store))
    found = rehearse(app, 1)
    assert {one.job_id: one.text for one in found.sent} == {
        "touch": f"(what the command says: touch {mark})",
        "get": "(what GET http://127.0.0.1:9/ gives)",
        "ask": "(what the agent replies to: Brief me)",
    }
    assert found.failures == []
    assert found.parked == ["others"]
    assert {job.id: job.attempts for job in found.jobs}["off"] == 0
    assert not mark.exists()
    assert asyncio.run(_rows(store)) == before


async def _rows(store: str) -> tuple[list[Any], list[Any]]:
    app = Acron(store)
    return [job async for job in app.jobs()], await app.runs()


def test_the_app_is_itself_again_afterwards() -> None:
    app = Acron("memory://", adapters={"log": LogAdapter()})
    before = {key: value for key, value in vars(app).items() if key != "_given"}
    rehearse(app, 1, start=MONDAY)
    after = {key: value for key, value in vars(app).items() if key != "_given"}
    for key, value in before.items():
        assert after[key] is value or key in {"_node", "_root", "_runtime", "_loaded"}, key
    assert not isinstance(app._adapters["log"], RecordingAdapter)


@pytest.mark.parametrize(
    "days, start, told",
    [(0, None, "more than 0"), (1, datetime(2026, 1, 1), "tzinfo=UTC")],  # noqa: DTZ001
)
def test_what_makes_no_sense_is_refused(days: int, start: datetime | None, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        rehearse(Acron("memory://"), days, start=start)


@pytest.fixture
def bot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "rehearsed_bot.py").write_text(BOT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "rehearsed_bot", raising=False)
    return "rehearsed_bot:app"


def test_the_command_line_tells_what_would_be_sent(
    bot: str, capfd: pytest.CaptureFixture[str]
) -> None:
    from acron.cli import main

    week = ("simulate", "--app", bot, "--from", "2026-11-23T00:00", "--days", "2")
    assert main(list(week)) == 0
    said, err = capfd.readouterr()
    lines = [line.split() for line in said.splitlines()]
    assert lines[0][-6:] == ["4", "runs,", "2", "messages,", "0", "failed"]
    assert ["briefing", "weekdays", "at", "9am", "2", "2"] in lines
    monday = "Mon 2026-11-23 09:00:00 telegram:-100 briefing Good morning, Monday"
    assert monday.split() in lines
    assert "thinking" in err
    assert "thinking" not in said


ADDING = """
from acron import Acron

app = Acron("memory://")


@app.job("every day at 9am")
async def plans(ctx):
    await app.add("in 1h", later, deliver="telegram:7")


@app.action
async def later():
    return "a text of some length, so that there is something to be wrapped " * 2
"""


@pytest.mark.parametrize("columns", [60, 80, 500])
def test_jobs_of_one_kind_share_a_line_and_the_drawing_fits(
    bot: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    from acron.cli import main

    Path("rehearsed_bot.py").write_text(ADDING)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["simulate", "--app", bot, "--from", "2026-11-23T00:00", "--days", "4"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert "later (4 jobs)  in 1h             4     4" in lines
    drawn = lines[lines.index("  Mon 2026-11-23") :]
    assert max(map(len, drawn)) <= columns


def test_the_command_line_fails_when_a_run_does(
    bot: str, capfd: pytest.CaptureFixture[str]
) -> None:
    import json

    from acron.cli import main

    days = ("simulate", "--app", bot, "--from", "2026-11-25T00:00", "--days", "1")
    assert main(list(days)) == 1
    page = capfd.readouterr().out
    assert "failed  rare  ValueError: no cake" in page
    assert "the program has no adapter here for: discord, telegram\n" in page
    assert main([*days, "--json"]) == 1
    told = json.loads(capfd.readouterr().out)
    assert [one["error"] for one in told["failures"]] == ["ValueError: no cake"]
    assert [one["target"] for one in told["sent"]] == [CHAT, "discord:7"]
    assert told["missing"] == ["discord", "telegram"]
    assert told["start"] == "2026-11-24T23:00:00Z"


def test_a_program_that_was_given_a_clock() -> None:
    app = Acron("memory://", clock=SystemClock())

    @app.job("every 6h")
    async def rare() -> None:
        await asyncio.sleep(60)

    found = rehearse(app, 1, start=MONDAY)
    assert [one.attempts for one in found.jobs] == [4]
    assert isinstance(app.clock, SystemClock)
