from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., Any]


@pytest.fixture
def job(cli: Cli) -> str:
    cli("add", "every 2h", "--command", r"printf 'hot\n\033[31mtea'", "--id", "tea")
    return "tea"


def test_run_now_runs_here_when_no_acron_runs(cli: Cli, job: str) -> None:
    said = cli("run-now", job)
    assert said.code == 0
    head, *text = said.out.splitlines()
    assert head.startswith("tea r1 succeeded in ")
    assert text == ["hot", r"\x1b[31mtea"]
    (run,) = cli("runs", job, "--json").json
    assert (run["id"], run["state"], run["scheduled_at"]) == ("r1", "succeeded", None)


def test_run_now_of_a_job_that_fails_exits_1_and_says_why(cli: Cli) -> None:
    cli("add", "every 2h", "--command", "echo so far; exit 3", "--id", "bad")
    said = cli("run-now", "bad", "--wait")
    assert said.code == 1
    assert said.out.splitlines()[1] == "so far"
    assert "3" in said.err


def test_run_now_needs_a_program_that_has_the_function(cli: Cli) -> None:
    cli("add", "every 2h", "--call", "remind", "--id", "chat")
    said = cli("run-now", "chat")
    assert said.code == 1
    assert "call:remind" in said.err
    assert cli("runs", "--json").json == []


def test_app_brings_its_functions(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_bot_program.py").write_text(
        "from acron import Acron\n"
        f"app = Acron({str(tmp_path / 'bot.json')!r})\n"
        "other = 3\n"
        "@app.action\n"
        "def remind(n: int) -> str: return f'tea {n}'\n"
    )
    where = ("--app", "my_bot_program:app")
    cli(*where, "add", "every 2h", "--call", "remind", "--kwargs", '{"n": 2}', "--id", "chat")
    assert cli("run-now", "chat", *where).out.splitlines()[1] == "tea 2"
    assert cli("--app", "my_bot_program", "list", "--json").json[0]["id"] == "chat"
    assert "not an Acron" in cli("--app", "my_bot_program:other", "list").err
    assert "has no" in cli("--app", "my_bot_program:none", "list").err
    for file in ("my_bot_program.py", "./my_bot_program.py:app", "./my_bot_program.py"):
        assert "write MODULE:ATTR, as in --app my_bot_program:app" in cli("--app", file, "list").err
    assert "as in --app bot:app" in cli("--app", ":", "list").err
    assert "leave out" in cli(*where, "--store", "x", "list").err


def test_the_ledger_mixes_in_skips(cli: Cli, home: Path, job: str) -> None:
    cli("run-now", job)
    cli("add", "every 1s", "--command", "true", "--id", "quick")
    cli("pause", "quick")
    import time

    time.sleep(2.1)  # the wall clock of real commands: instants pass while it is paused
    cli("resume", "quick")
    rows = cli("runs", "--skips", "--json").json
    (skip,) = [row for row in rows if "reason" in row]
    assert (skip["job_id"], skip["reason"]) == ("quick", "paused")
    assert skip["count"] >= 2
    assert skip["scheduled_at"].endswith("Z")
    assert rows[0] is skip or rows[0] == skip  # newest first
    assert len(cli("runs", "--json").json) == 1
    assert "paused" in cli("runs", "--skips").out
    assert len(cli("runs", "--skips", "--limit", "1", "--json").json) == 1


def test_runs_filters(cli: Cli, job: str) -> None:
    cli("run-now", job)
    assert cli("runs", "--state", "failed", "--json").json == []
    assert len(cli("runs", "--state", "succeeded", "--json").json) == 1
    assert "r1" in cli("runs", job).out


def test_output_prints_what_a_run_said_made_harmless(cli: Cli, job: str) -> None:
    cli("run-now", job)
    assert cli("output", "r1").out == "hot\n\\x1b[31mtea\n"
    assert cli("output", "r1", "--follow").out == "hot\n\\x1b[31mtea\n"
    assert cli("output", "r1", "--json").json["output"].startswith("hot")


def test_tick_fires_what_is_due_and_waits(cli: Cli) -> None:
    assert cli("tick").out == "nothing was due\n"
    cli("add", "in 1ms", "--command", "echo ticked", "--id", "now")
    said = cli("tick")
    assert "started now r1" in said.out
    assert "succeeded now r1" in said.out
    assert cli("output", "r1").out == "ticked\n"
    assert cli("tick", "--json").json == []


@pytest.mark.parametrize(
    "args,code,words",
    [
        (("run-now", "nobody"), 1, "no job 'nobody'"),
        (("cancel", "r99"), 1, "no run 'r99'"),
        (("cancel", "r1"), 1, "ended already"),
        (("output", "r99"), 1, "no run 'r99'"),
        (("runs", "nobody"), 1, "no job 'nobody'"),
        (("runs", "--state", "fine"), 2, "fine"),
        (("runs", "--limit", "0"), 2, "--limit"),
        (("runs", "--limit", str(10**20)), 2, "--limit"),
        (("deliveries", "--limit", str(10**20)), 2, "--limit"),
        (("run-now",), 2, "REF"),
        (("tick", "tea"), 2, "tea"),
        (("run", "tea"), 2, "tea"),
        (("run", "--until-idle", "nan"), 2, "--until-idle"),
        (("status", "--all"), 2, "--all"),
        (("demo", "--svg"), 2, "--svg"),
    ],
)
def test_wrong_arguments(cli: Cli, job: str, args: tuple[str, ...], code: int, words: str) -> None:
    cli("run-now", job)
    said = cli(*args)
    assert said.code == code
    assert words in said.err


def test_status_says_that_nothing_runs(cli: Cli, home: Path, job: str) -> None:
    said = cli("status")
    assert said.code == 1
    assert said.out.startswith("not running: ")
    assert str(home / "jobs.json") in said.out
    told = cli("status", "--json")
    assert told.code == 1
    keys = "state store provider heartbeat_at last_success_at last_error jobs next_fire_at"
    assert set(keys.split()) <= told.json.keys()
    assert (told.json["state"], told.json["jobs"]) == ("not running", 1)


def test_a_bug_is_one_line_and_a_traceback_on_demand(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from acron.app import Acron
    from acron.cli import main

    async def broken(self: Acron) -> None:
        raise ZeroDivisionError("a bug\nof ours")

    monkeypatch.setattr(Acron, "status", broken)
    said = cli("status")
    assert said.code == 1
    assert said.err == (
        "acron: ZeroDivisionError: a bug\\nof ours (set ACRON_DEBUG=1 for the traceback)\n"
    )
    monkeypatch.setenv("ACRON_DEBUG", "1")
    assert main(["status"]) == 1
    assert "Traceback" in capsys.readouterr().err
