"""The command line of prompts, requests and work by hand."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Cli = Callable[..., Any]


@pytest.fixture
def hourly(cli: Cli) -> str:
    cli("add", "0 * * * *", "--command", "echo $ACRON_SCHEDULED_AT", "--id", "job")
    cli("run-now", "job")  # so that it is known how long it takes
    return "job"


def test_add_a_prompt(cli: Cli) -> None:
    job = cli(
        *("add", "every 1h", "Sum up the news", "--script", "fetch.sh", "--id", "ask"),
        *("--context-from", "news,self", "--json"),
    ).json
    assert (job["prompt"], job["script"]) == ("Sum up the news", "fetch.sh")
    assert job["context_from"] == ["news", "self"]
    assert "“Sum up the news”" in cli("list").out
    assert cli("edit", "ask", "--prompt", "Be short", "--json").json["prompt"] == "Be short"
    refused = cli("add", "every 1h", "Sum\u200bup")
    assert refused.code == 1
    assert "U+200B ZERO WIDTH SPACE, in line 1, column 4" in refused.err
    said = cli("run-now", "ask")
    assert said.code == 1
    assert "no running acron can run prompt" in said.err


def test_add_a_request(cli: Cli) -> None:
    job = cli(
        *("add", "every 1h", "--http", "https://example.org/a", "--id", "get", "--json"),
        *("--header", "Authorization: Bearer $KEY", "--header", "X-A:b", "--body", '{"a": [1]}'),
        *("--expect", "200", "--expect", "201"),
    ).json
    assert job["http"] == "https://example.org/a"
    assert job["headers"] == {"Authorization": "Bearer $KEY", "X-A": "b"}
    assert (job["method"], job["body"], job["expect"]) == ("POST", {"a": [1]}, [200, 201])
    assert cli("edit", "get", "--body", "{plain", "--json").json["body"] == "{plain"
    plain = cli("add", "every 1h", "--http", "https://example.org/a", "--json").json
    assert "method" not in plain
    put = ("--http", "https://example.org", "--method", "PUT", "--body", "text", "--json")
    assert cli("add", "every 1h", *put).json["method"] == "PUT"
    refused = cli("add", "every 1h", "--http", "example.org")
    assert (refused.code, "http://" in refused.err) == (1, True)


def test_run_now_takes_arguments_for_one_run(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_kwargs_program.py").write_text(
        "from acron import Acron\n"
        f"app = Acron({str(tmp_path / 'bot.json')!r})\n"
        "@app.action\n"
        "def remind(n: int, text: str = 'tea') -> str: return f'{text} {n}'\n"
        "@app.agent\n"
        "async def agent(prompt: str) -> str: return prompt.upper()\n"
    )
    where = ("--app", "my_kwargs_program")
    cli(*where, "add", "every 2h", "--call", "remind", "--kwargs", '{"n": 2}', "--id", "chat")
    assert cli("run-now", "chat", *where).out.splitlines()[1] == "tea 2"
    said = cli("run-now", "chat", *where, "--kwargs", '{"text": "milk"}', "--json").json
    assert (said["output"], said["kwargs"]) == ("milk 2", {"text": "milk"})
    refused = cli("run-now", "chat", *where, "--kwargs", '{"text": 7}')
    assert (refused.code, "text" in refused.err) == (1, True)
    assert cli("run-now", "chat", *where, "--kwargs", "[]").code == 1
    cli(*where, "add", "every 2h", "shout", "--id", "ask")
    assert cli("run-now", "ask", *where).out.splitlines()[1] == "SHOUT"
    assert "remind()" in cli("list", *where).out


def test_backfill_runs_here_when_no_acron_runs(cli: Cli, hourly: str) -> None:
    window = ("--since", "2026-11-01T00:00", "--until", "2026-11-01T03:00Z")
    said = cli("backfill", hourly, *window, "--rate", "1000")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("job b")
    assert said.out.endswith(": 4 succeeded\n")  # midnight in Paris is 23:00 in UTC
    runs = [run for run in cli("runs", hourly, "--json").json if run["batch"]]
    assert [run["output"].strip() for run in runs[::-1]] == [
        *("2026-10-31T23:00:00Z", "2026-11-01T00:00:00Z"),
        *("2026-11-01T01:00:00Z", "2026-11-01T02:00:00Z"),
    ]
    assert len({run["batch"] for run in runs}) == 1
    again = cli("backfill", hourly, *window)
    assert again.out == "job: nothing to do; 4 instants done already, or under way\n"
    told = cli("backfill", hourly, *window, "--again", "--rate", "1000", "--json").json
    assert (told["runs"], told["already"], told["states"]) == (4, 0, {"succeeded": 4})


def test_a_backfill_that_fails_says_so(cli: Cli) -> None:
    cli("add", "0 * * * *", "--command", "exit 3", "--id", "bad")
    cli("run-now", "bad")
    window = ("--since", "2026-11-01T00:00Z", "--until", "2026-11-01T02:00Z")
    said = cli("backfill", "bad", *window, "--rate", "1000")
    assert said.code == 1
    assert said.out.endswith(": 2 failed\n")


@pytest.mark.parametrize(
    "args,code,words",
    [
        (("--since", "soon", "--until", "2026-11-01T03:00"), 2, "no instant"),
        (("--since", "2026-11-01", "--until", "2026-11-02", "--rate", "0"), 2, "--rate"),
        (("--since", "2026-11-02", "--until", "2026-11-01"), 2, "later than --since"),
        (("--since", "2001-11-02", "--until", "2026-11-01"), 1, "go in steps"),
        (("--since", "2026-11-01", "--until", "2026-11-02", "--rate", "nan"), 2, "--rate"),
        (("--since", "2026-11-01", "--until", "2026-11-02", "--rate", "1e-9"), 2, "--rate"),
        (("--since", "0001-01-01", "--until", "2026-11-01"), 2, "--since '0001-01-01' is no"),
        (("--since", "2026-11-02"), 2, "--until"),
    ],
)
def test_wrong_windows(cli: Cli, hourly: str, args: tuple[str, ...], code: int, words: str) -> None:
    said = cli("backfill", hourly, *args)
    assert said.code == code
    assert words in said.err


def test_a_stopped_backfill_says_how_to_go_on(cli: Cli, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    cli("add", "0 * * * *", "--command", f"touch {begun}; sleep 30", "--id", "slow")

    def interrupt() -> None:
        while not begun.exists() and not stop.wait(0.02):
            continue
        os.kill(os.getpid(), signal.SIGINT)

    stop = threading.Event()
    thread = threading.Thread(target=interrupt)
    thread.start()
    window = ("--since", "2026-11-01T00:00Z", "--until", "2026-11-01T05:00Z")
    said = cli("backfill", "slow", *window, "--rate", "1000")
    stop.set()
    thread.join()
    assert said.code == 130
    batch = said.err.split()[1]
    assert f"acron cancel {batch}" in said.err
    assert cli("cancel", batch).out == f"{batch}: 4 runs cancelled\n"
    assert cli("cancel", batch, "--json").json == {"batch": batch, "cancelled": 0}
    assert "no backfill" in cli("cancel", "b999").err
    states = [run["state"] for run in cli("runs", "slow", "--json").json]
    assert sorted(states) == ["cancelled"] * 4 + ["interrupted"]


def test_follow_ends_with_the_exit_code_of_the_run(cli: Cli) -> None:
    cli("add", "every 1h", "--command", r"printf 'one\nt\033wo'; exit 3", "--id", "bad")
    cli("run-now", "bad")
    said = cli("output", "r1", "--follow")
    assert (said.code, said.out) == (1, "one\nt\\x1bwo\n")
    assert "exit 3" in said.err
    assert cli("output", "r1").code == 0


@contextmanager
def firing(home: Path) -> Iterator[None]:
    """Another Acron at work on the same store; all that we share with it are files."""
    up, over = threading.Event(), threading.Event()

    async def fire() -> None:
        async with Acron(str(home / "jobs.json")):
            up.set()
            while not over.is_set():  # noqa: ASYNC110 (another thread sets it)
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=lambda: asyncio.run(fire()))
    thread.start()
    try:
        assert up.wait(10)
        yield
    finally:
        over.set()
        thread.join()


def test_status_names_what_a_parked_job_needs(cli: Cli, home: Path) -> None:
    cli("add", "every 1h", "--call", "remind", "--id", "chat")
    with firing(home):
        assert "chat (needs call:remind)" in cli("status").out
        assert cli("status", "--json").json["parked"] == ["chat"]
        assert "parked" in cli("list").out
        assert "remind()" in cli("list").out


def test_what_a_run_elsewhere_says_is_followed(cli: Cli, home: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = f"echo token=hunter2; while [ ! -e {gate} ]; do sleep 0.02; done; printf end"
    cli("add", "every 1h", "--command", script, "--id", "job")
    heard = threading.Event()

    def open_when_it_is_heard() -> None:
        while not heard.wait(0.02) and not list(home.glob("output/live/*.live")):
            continue
        gate.touch()

    with firing(home):
        run = cli("run-now", "job", "--json").json
        assert run["state"] == "pending"
        opener = threading.Thread(target=open_when_it_is_heard)
        opener.start()
        said = cli("output", run["id"], "--follow")
        heard.set()
        opener.join()
    assert (said.code, said.err) == (0, "")
    assert said.out == "token=***\nend\n"
    assert list(home.glob("output/live/*")) == []


def test_a_backfill_is_done_by_who_runs(cli: Cli, home: Path, hourly: str) -> None:
    window = ("--since", "2026-11-01T00:00Z", "--until", "2026-11-01T03:00Z")
    with firing(home):
        said = cli("backfill", hourly, *window, "--rate", "1000")
    assert (said.code, said.out.endswith(": 3 succeeded\n")) == (0, True)
