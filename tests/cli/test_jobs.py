from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., Any]

ADD = ("add", "every 2h", "--command", "true")


def test_add_says_what_it_added_when_it_fires_and_in_which_zone(cli: Cli) -> None:
    said = cli(*ADD, "--id", "tea")
    assert said.code == 0
    assert said.out.startswith("added tea: every 2h, next ")
    assert said.out.endswith("(Europe/Paris)\n")
    assert said.out.count("\n") == 1


def test_add_warns_that_nothing_will_fire_it(cli: Cli) -> None:
    said = cli(*ADD, "--json")
    assert "nothing will fire it" in said.err
    assert said.json["command"] == "true"


def test_a_slip_in_a_platform_is_noted_and_a_programs_own_platform_is_not(cli: Cli) -> None:
    said = cli(*ADD, "--id", "tea", "--deliver", "telegrm:1")
    assert "'telegrm' is known here; did you mean 'telegram'?" in said.err
    assert "did you mean" not in cli("edit", "tea", "--deliver", "pager:1,log").err
    assert "did you mean 'slack'?" in cli("edit", "tea", "--deliver-failure", "slak").err


def test_every_option_reaches_the_job(cli: Cli) -> None:
    cli(
        *("add", "0 9 * * *", "--id", "x", "--call", "remind", "--kwargs", '{"n": 1}'),
        *("--name", "Tea", "--tz", "Asia/Tokyo", "--deliver", "log,local", "--tag", "a"),
        *("--repeat", "3", "--until", "2099-01-01T00:00Z", "--start", "2030-01-01T00:00Z"),
        *("--catch-up", "all", "--catch-up-limit", "7", "--grace", "5m", "--overlap", "allow"),
        *("--max-running", "2", "--timeout", "90s", "--retry", "4", "--jitter", "10s"),
        *("--pause-after", "5", "--idempotent", "--gap", "skip", "--fold", "last", "--paused"),
        *("--key", "chat:1", "--priority", "-3", "--idle-timeout", "1m", "--before", "b"),
        *("--after", "a", "--on-error", "e", "--still-relevant", "s"),
    )
    job = cli("show", "x", "--json").json
    assert job["call"] == "remind"
    assert job["kwargs"] == {"n": 1}
    assert (job["name"], job["tz"], job["tags"]) == ("Tea", "Asia/Tokyo", ["a"])
    assert job["deliver"] == ["log", "local"]
    assert (job["repeat"], job["catch_up"], job["catch_up_limit"]) == (3, "all", 7)
    assert (job["grace"], job["timeout"], job["jitter"]) == (300.0, 90.0, 10.0)
    assert (job["overlap"], job["max_running"], job["pause_after"]) == ("allow", 2, 5)
    assert job["retry"]["attempts"] == 4
    assert (job["gap"], job["fold"], job["idempotent"]) == ("skip", "last", True)
    assert (job["start"], job["until"]) == ("2030-01-01T00:00:00Z", "2099-01-01T00:00:00Z")
    assert job["state"] == "paused"
    assert (job["key"], job["priority"], job["idle_timeout"]) == ("chat:1", -3, 60.0)
    assert [job[one] for one in ("before", "after", "on_error", "still_relevant")] == [*"baes"]


@pytest.mark.parametrize(
    "args,words",
    [
        (("add", "30m", "--command", "x"), "in 30m"),
        (("add", "every 0s", "--command", "x"), ""),
        (("add", "0 0 31 2 *", "--command", "x"), ""),
        (("add", "every 1h", "--command", "x", "--id", "../x"), "'../x'"),
        (("add", "every 1h", "--command", "x", "--id", "x" * 10_000), "10000 characters"),
        (("add", "every 1h", "--command", "x", "--id", "a\0b"), r"a\x00b"),
        (("add", "every 1h", "--command", ""), "command"),
        (("add", "every 1h", "--command", "x", "--tz", "Mars/Olympus"), "Mars/Olympus"),
        (("add", "every 1h", "--command", "x", "--timeout", "soon"), "timeout"),
        (("add", "every 1h", "--command", "x", "--until", "2030-01-01"), "until"),
        (("add", "every 1h", "--call", "x", "--kwargs", "{"), "JSON"),
        (("add", "every 1h", "--call", "x", "--kwargs", "[1]"), "object"),
        (("add", "every 1h", "--call", "x", "--kwargs", '{"a": NaN}'), "JSON"),
        (("add", "every 1h", "--command", "x", "--name", "a\x1b[31mb"), "name"),
        (("edit", "tea", "--repeat", "0"), "repeat"),
        (("edit", "tea", "--unset", "nothing"), "nothing"),
        (("edit", "tea", "--unset", "id"), "id"),
        (("show", "nobody"), "no job 'nobody'"),
        (("pause", "nobody"), "no job 'nobody' (see acron list)"),
        (("pause", "tea", "--until", "some day"), "write for example 'in 2h'"),
        (("output", "r9"), "no run 'r9' (see acron runs)"),
        (("incidents", "ack", "tea/1"), "no incident 'tea/1' (see acron incidents --all)"),
        (("add", "every 1h", "--command", "x", "--tz", "CEST"), "name a place, as in"),
        (("drain", "--all"), "no node is live"),
        (("drain", "web"), "see acron nodes"),
        (("resume", "nobody"), "no job 'nobody'"),
        (("remove", "nobody"), "no job 'nobody'"),
        (("edit", "nobody", "--timeout", "1m"), "no job 'nobody'"),
        ((*ADD, "--id", "tea"), "already"),
        (("--store", "nothing://x", "list"), "nothing"),
        (("--store", "/dev/null/jobs.json", "list"), "/dev/null"),
        (("list", "--app", "no_such_module:app"), "no_such_module"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(cli: Cli, args: tuple[str, ...], words: str) -> None:
    cli(*ADD, "--id", "tea")
    before = cli("list", "--json").json
    said = cli(*args)
    assert (said.code, said.out) == (1, "")
    assert words in said.err
    assert "\x1b" not in said.err
    assert cli("list", "--json").json == before


@pytest.mark.parametrize(
    "args",
    [
        ("add",),
        ("add", "every 1h"),
        ("add", "every 1h", "a prompt", "--http", "https://example.com"),
        ("add", "every 1h", "--http", "https://example.com", "--header", "no colon"),
        ("add", "every 1h", "--http", "https://example.com", "--expect", "fine"),
        ("add", "every 1h", "--command", "a", "--call", "b"),
        ("add", "every 1h", "--command", "a", "--kwargs", "{}"),
        ("add", "every 1h", "--command", "a", "--overlap", "sometimes"),
        ("add", "every 1h", "--command", "a", "--retry", "often"),
        ("add", "every 1h", "--command", "a\udcff"),
        ("edit", "tea"),
        ("list", "tea"),
        ("show",),
        ("pause",),
        ("resume", "a", "b"),
        ("remove", "--all"),
        ("simulate", "--days", "many"),
        ("--nonsense",),
    ],
)
def test_usage_is_one_line_and_exit_code_2(cli: Cli, home: Path, args: tuple[str, ...]) -> None:
    said = cli(*args)
    assert (said.code, said.out) == (2, "")
    assert said.err
    assert not home.exists()


def test_list_is_a_table_and_says_when_there_is_nothing(cli: Cli, home: Path) -> None:
    assert str(home / "jobs.json") in cli("list").out
    cli(*ADD, "--id", "tea", "--name", "Fünf 茶")
    cli("add", "every 1h", "--call", "remind", "--id", "chat", "--paused")
    head, chat, tea = cli("list").out.splitlines()
    assert head.split()[:2] == ["ID", "NAME"]
    assert "remind()" in chat
    assert chat.endswith("paused")
    assert "Fünf 茶" in tea
    assert tea.endswith("scheduled")
    assert head.index("SCHEDULE") == tea.index("every 2h") + 1  # 茶 is two columns wide


def test_a_job_answers_to_its_name_in_any_case(cli: Cli) -> None:
    cli(*ADD, "--id", "a", "--name", "Tea")
    assert cli("show", "tEA", "--json").json["id"] == "a"
    cli(*ADD, "--id", "b", "--name", "tea")
    said = cli("show", "Tea")
    assert said.code == 1
    assert "a, b" in said.err


def test_show_tells_what_is_not_the_default(cli: Cli) -> None:
    cli(*ADD, "--id", "tea", "--timeout", "90s")
    told = cli("show", "tea").out
    assert told.startswith("tea  scheduled\n")
    assert "timeout   90.0" in told
    assert "overlap" not in told


def test_edit_changes_and_unsets(cli: Cli) -> None:
    cli(*ADD, "--id", "tea", "--timeout", "90s")
    first = cli("show", "tea", "--json").json
    said = cli("edit", "tea", "--command", "false", "--unset", "timeout", "--json").json
    assert said["command"] == "false"
    assert "timeout" not in said
    assert said["revision"] == 2
    assert said["next_fire_at"] == first["next_fire_at"]
    told = cli("edit", "tea", "--schedule", "every 3h").out
    assert told.startswith("changed tea: every 3h, next ")


def test_pause_resume_and_remove(cli: Cli) -> None:
    cli(*ADD, "--id", "tea")
    assert cli("pause", "tea", "--reason", "no water").out == "paused tea\n"
    assert cli("show", "tea").out.startswith("tea  paused: no water\n")
    assert cli("resume", "tea").out.startswith("resumed tea: every 2h, next ")
    assert cli("remove", "tea", "--json").json["id"] == "tea"
    assert cli("list", "--json").json == []


def test_the_global_options_stand_before_or_after_the_verb(cli: Cli, tmp_path: Path) -> None:
    store = str(tmp_path / "other.json")
    assert cli(*ADD, "--id", "tea", "--store", store).code == 0
    assert [job["id"] for job in cli("--store", store, "list", "--json").json] == ["tea"]
    assert cli("list", "--json").json == []


def test_version_and_help(cli: Cli) -> None:
    from acron import __version__

    assert cli("--version").out == f"acron {__version__}\n"
    said = cli("add", "--help")
    assert said.code == 0
    assert "--catch-up" in said.out


def test_a_pause_may_have_an_end(cli: Cli) -> None:
    cli(*ADD, "--id", "tea")
    said = cli("pause", "tea", "--until", "2099-01-01T10:00+01:00")
    assert said.out.startswith("paused tea until Thu 2099-01-01 10:00")
    assert cli("show", "tea", "--json").json["paused_until"] == "2099-01-01T09:00:00Z"
    refused = cli("pause", "tea", "--until", "2020-01-01T10:00Z")
    assert refused.code == 1
    assert "is past" in refused.err


def test_all_of_a_tag_are_paused_resumed_listed_and_removed(cli: Cli) -> None:
    for name, tag in (("a", "odd"), ("b", "even"), ("c", "odd")):
        cli(*ADD, "--id", name, "--tag", tag)
    cli("pause", "a", "--reason", "mine")
    assert cli("pause", "--tag", "odd", "--until", "in 2h").out == "paused 1 job\n"
    assert cli("pause", "--all", "--json").json == {"paused": 1}
    assert cli("resume", "--tag", "odd", "--json").json == {"resumed": 1}
    assert cli("resume", "--all").out == "resumed 1 job\n"
    listed = cli("list", "--tag", "odd", "--json").json
    assert [(job["id"], job["state"]) for job in listed] == [("a", "paused"), ("c", "scheduled")]
    assert "no jobs with the tag 'none'" in cli("list", "--tag", "none").out
    assert cli("remove", "--tag", "odd").out == "removed 2 jobs\n"
    assert [job["id"] for job in cli("list", "--json").json] == ["b"]


@pytest.mark.parametrize(
    "args",
    [("pause",), ("pause", "a", "--all"), ("resume", "--all", "--tag", "x"), ("remove",)],
)
def test_which_jobs_are_meant_must_be_said_once(cli: Cli, args: tuple[str, ...]) -> None:
    said = cli(*args)
    assert said.code == 2
    assert "say which" in said.err


def test_list_says_which_records_cannot_be_read(cli: Cli, home: Path) -> None:
    home.mkdir()
    (home / "jobs.json").write_text('{"jobs": [{"id": "tea", "schedul": "every 1h"}]}')
    said = cli("list")
    assert said.code == 0
    assert said.out.startswith("no jobs in ")
    assert "tea" in said.err
    assert "needs a schedule" in said.err
