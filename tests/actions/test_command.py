from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from acron.actions.command import CommandAction, environment
from acron.errors import ActionFailed, InvalidJob
from acron.model import OUTPUT_LIMIT
from acron.specs import Command
from acron.testing.contracts.actions import ActionContract, context_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from acron.abc import Action

CUT_SHORT = CommandAction(grace=0.2, linger=0.2)


class TestCommandAction(ActionContract):
    @pytest.fixture
    def action(self) -> Action:
        return CUT_SHORT

    @pytest.fixture
    def good(self) -> tuple[Any, str]:
        return Command("echo hello"), "hello\n"

    @pytest.fixture
    def bad(self) -> Any:
        return Command("exit 3")

    @pytest.fixture
    def endless(self, tmp_path: Path) -> Any:
        return Command("echo > begun; sleep 60", cwd=str(tmp_path))

    @pytest.fixture
    def begun(self, tmp_path: Path) -> Callable[[], bool]:
        return (tmp_path / "begun").exists

    @pytest.fixture
    def talkative(self) -> tuple[Any, str]:
        return Command("echo so far; exit 3"), "so far\n"

    @pytest.fixture
    def senseless(self) -> list[tuple[Any, str]]:
        return [
            (Command(""), "$.command"),
            (Command(" \n"), "$.command"),
            (Command("a\0b"), "$.command"),
            (Command("\ud800"), "$.command"),
            (Command(7), "$.command"),  # type: ignore[arg-type]
            (Command(None), "$.command"),  # type: ignore[arg-type]
            (Command(()), "$.command"),
            (Command(("", "x")), "$.command"),
            (Command(("echo", 7)), "$.command[1]"),  # type: ignore[arg-type]
            (Command(("echo", "a", "b\0c")), "$.command[2]"),
            (Command("x", cwd="a\0b"), "$.cwd"),
            (Command("x", cwd=7), "$.cwd"),  # type: ignore[arg-type]
            (Command("x", stdin=b"x"), "$.stdin"),  # type: ignore[arg-type]
            (Command("x", stdin="\ud800"), "$.stdin"),
            (Command("x", env=["A=1"]), "$.env"),  # type: ignore[arg-type]
            (Command("x", env={"A=B": "1"}), "$.env"),
            (Command("x", env={"": "1"}), "$.env"),
            (Command("x", env={7: "1"}), "$.env"),  # type: ignore[dict-item]
            (Command("x", env={"A": 1}), "$.env.A"),  # type: ignore[dict-item]
            (Command("x", env={"A": "\0"}), "$.env.A"),
        ]


async def run(command: str | tuple[str, ...], **fields: Any) -> str | None:
    spec = Command(command, **fields)
    return await CUT_SHORT.run(spec, context_of(spec))


async def failure(command: str | tuple[str, ...], **fields: Any) -> ActionFailed:
    with pytest.raises(ActionFailed) as caught:
        await run(command, **fields)
    return caught.value


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


# --- what goes in --------------------------------------------------------------------------------


async def test_a_list_meets_no_shell() -> None:
    assert await run(("echo", "$HOME; *", "a  b")) == "$HOME; * a  b\n"
    assert await run("echo $((6*7)) | cat") == "42\n"


async def test_stdin_is_the_text_or_empty() -> None:
    assert await run("cat", stdin="ä\0b\n") == "ä\0b\n"
    assert await run("cat; echo end") == "end\n"
    assert await run(("cat",), stdin="x" * 30_000) == "x" * 30_000
    assert await run("echo unread", stdin="x" * 1_000_000) == "unread\n"


async def test_the_working_directory(tmp_path: Path) -> None:
    assert await run("pwd", cwd=str(tmp_path)) == f"{tmp_path}\n"


async def test_home_may_be_written_as_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert await run("pwd", cwd="~") == f"{tmp_path}\n"


async def test_it_sees_who_it_is_and_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_TOKEN", "canary")
    monkeypatch.setenv("ACRON_POSTGRES", "canary")
    monkeypatch.setenv("LC_TIME", "de_DE.UTF-8")
    dump = python("import os, json; print(json.dumps(dict(os.environ)))")
    seen = json.loads(await run(dump, env={"GIVEN": "ä", "ACRON_RUN_ID": "forged"}) or "")
    assert "canary" not in str(seen)
    assert seen["LC_TIME"] == "de_DE.UTF-8"
    assert seen["PATH"] == os.environ["PATH"]
    assert seen["GIVEN"] == "ä"
    assert {name: seen[name] for name in seen if name.startswith("ACRON_")} == {
        "ACRON_JOB_ID": "job",
        "ACRON_RUN_ID": "r7",
        "ACRON_SCHEDULED_AT": "2026-01-01T09:00:00Z",
        "ACRON_ATTEMPT": "2",
    }


def test_the_environment_of_a_manual_run_and_of_an_odd_id() -> None:
    spec = Command("true")
    env = environment(spec, context_of(spec, scheduled=False, job_id="a\0b\ud800"), {})
    assert env["ACRON_SCHEDULED_AT"] == ""
    assert env["ACRON_JOB_ID"] == r"ab\ud800"
    assert env["PATH"] == os.defpath


async def test_an_odd_id_does_not_stop_a_command() -> None:
    spec = Command('printf %s "$ACRON_JOB_ID"')
    assert await CUT_SHORT.run(spec, context_of(spec, job_id="a\0b\n\ud800")) == "ab\n\\ud800"


def test_the_scheduled_instant_is_told_in_utc() -> None:
    spec = Command("true")
    context = context_of(spec)
    there = datetime(2026, 1, 1, 11, 0, 0, 500, tzinfo=timezone(timedelta(hours=1)))
    context.run = msgspec.structs.replace(context.run, scheduled_at=there.astimezone(UTC))
    assert environment(spec, context)["ACRON_SCHEDULED_AT"] == "2026-01-01T10:00:00.000500Z"


# --- what comes out ------------------------------------------------------------------------------


async def test_stdout_and_stderr_come_as_they_were_written() -> None:
    assert await run("echo 1; echo 2 >&2; echo 3") == "1\n2\n3\n"


@pytest.mark.parametrize("command", ["true", "echo", "printf ' \\n\\t'"])
async def test_nothing_but_blanks_is_no_output(command: str) -> None:
    assert await run(command) is None


async def test_bytes_that_are_no_text_are_replaced() -> None:
    write = python(r"import sys; sys.stdout.buffer.write(b'a\xffb\xc3')")
    assert await run(write) == "a\ufffdb\ufffd"


async def test_characters_cut_by_a_read_are_whole() -> None:
    slowly = "import os, time\nfor b in 'ä🐞'.encode(): os.write(1, bytes([b])); time.sleep(0.01)"
    assert await run(python(slowly)) == "ä🐞"


async def test_a_flood_is_cut_to_its_head_and_tail() -> None:
    flood = "print('first'); print('x' * 5_000_000); print('last')"
    output = await run(python(flood))
    assert output is not None
    assert output.startswith("first\nxxx")
    assert output.endswith("xxx\nlast\n")
    assert "of 5,000,012 bytes left out; the rest could not be kept …]" in output
    assert len(output.encode()) <= OUTPUT_LIMIT


async def test_a_flood_of_rubbish_is_cut_as_well() -> None:
    output = await run(python(r"import sys; sys.stdout.buffer.write(b'\xff' * 500_000)"))
    assert output is not None
    assert len(output.encode()) <= OUTPUT_LIMIT


# --- how it ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command,told,output",
    [
        ("exit 3", "exit 3", None),
        ("echo one; echo ' two ' >&2; echo; exit 1", "exit 1: two", "one\n two \n\n"),
        ("kill -9 $$", "killed by SIGKILL", None),
        ("echo bye; kill -TERM $$", "killed by SIGTERM: bye", "bye\n"),
        ("kill -40 $$", "killed by signal 40", None),
        ("printf 'a\\033[31m\\n'; exit 2", r"exit 2: a\x1b[31m", "a\x1b[31m\n"),
        ("echo password=canary; exit 1", "exit 1: password=***", "password=canary\n"),
    ],
)
async def test_a_failure_tells_how_and_the_last_line(
    command: str, told: str, output: str | None
) -> None:
    error = await failure(command)
    assert str(error) == told
    assert error.output == output


async def test_a_last_line_may_be_endless() -> None:
    assert len(str(await failure(python("print('x' * 10_000); exit(1)")))) == 500


async def test_what_cannot_be_started_is_told(tmp_path: Path) -> None:
    told = [
        str(await failure(("no-such-program-here", "x"))),
        str(await failure("true", cwd=str(tmp_path / "gone"))),
        str(await failure((str(tmp_path),))),
        str(await failure(("echo", "x" * 3_000_000))),
    ]
    assert told == [
        "cannot start 'no-such-program-here': No such file or directory",
        f"cannot start in the directory '{tmp_path}/gone': No such file or directory",
        f"cannot start '{tmp_path}': Permission denied",
        "cannot start 'echo': Argument list too long",
    ]


async def test_a_spec_that_was_never_checked_is_refused() -> None:
    with pytest.raises(InvalidJob):
        await run("")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_no_descriptor_is_left_open() -> None:
    await run("true")
    before = descriptors()
    for _ in range(5):
        await run("echo", stdin="x")
        await failure(("no-such-program-here",))
        await asyncio.wait([task := asyncio.create_task(run("sleep 60"))], timeout=0.05)
        task.cancel()
        await asyncio.wait([task])
    await asyncio.sleep(0)
    assert descriptors() == before


# --- the whole group -----------------------------------------------------------------------------


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # gone before, or while it was read
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (a process cannot set an event)
            await asyncio.sleep(0.01)


async def written(path: Path) -> int:
    """The number that a process writes to a file."""
    await until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())  # noqa: ASYNC240


async def test_cancelling_ends_grandchildren_too(tmp_path: Path) -> None:
    pids = "sleep 60 & echo $! > {0}/child; (sleep 60 & echo $! > {0}/grandchild; wait); wait"
    task = asyncio.create_task(run(pids.format(tmp_path)))
    child, grandchild = await written(tmp_path / "child"), await written(tmp_path / "grandchild")
    assert alive(child)
    assert alive(grandchild)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not alive(child) and not alive(grandchild))


async def test_a_command_may_clean_up_when_cancelled(tmp_path: Path) -> None:
    tidy = (
        f"trap 'echo tidied; exit 0' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.01; done"
    )
    action, spec = CommandAction(grace=10), Command(tidy)
    task = asyncio.create_task(action.run(spec, context_of(spec)))
    await written(tmp_path / "pid")
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await task
    cause = cancelled.value.__cause__
    assert isinstance(cause, ActionFailed)
    assert "tidied\n" in str(cause.output)


async def test_one_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    stubborn = f"trap '' TERM; (echo $$ > {tmp_path}/pid; sleep 60); sleep 60"
    task = asyncio.create_task(run(stubborn))
    pid = await written(tmp_path / "pid")
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not alive(pid)


async def test_a_stopped_process_is_killed(tmp_path: Path) -> None:
    task = asyncio.create_task(run(f"echo $$ > {tmp_path}/pid; kill -STOP $$; sleep 60"))
    pid = await written(tmp_path / "pid")
    task.cancel()
    await asyncio.wait([task])
    assert not alive(pid)


async def test_cancelled_once_more_it_leaves_at_once_and_the_process_dies(tmp_path: Path) -> None:
    action = CommandAction(grace=60)
    spec = Command(f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.01; done")
    task = asyncio.create_task(action.run(spec, context_of(spec)))
    pid = await written(tmp_path / "pid")
    task.cancel()
    await asyncio.wait([task], timeout=0.1)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await until(lambda: not alive(pid))
    await until(lambda: not action._working)


@pytest.mark.parametrize("steps", range(8))
async def test_cancelled_while_it_starts_it_leaves_no_process(steps: int, tmp_path: Path) -> None:
    task = asyncio.create_task(run(("sleep", "61.25")))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await until(lambda: not children())


def children() -> list[str]:
    """The ids of our child processes, zombies included."""
    me = os.getpid()
    return Path(f"/proc/{me}/task/{me}/children").read_text().split()


async def test_processes_left_behind_do_not_hold_up_the_run(tmp_path: Path) -> None:
    output = await run(f"sleep 60 & echo $! > {tmp_path}/pid; echo done")
    assert output == "done\n"
    pid = await written(tmp_path / "pid")
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


async def test_what_is_left_behind_is_heard_for_a_while() -> None:
    action, spec = CommandAction(linger=10), Command("(sleep 0.05; echo late) & echo done")
    assert await action.run(spec, context_of(spec)) == "done\nlate\n"


async def test_cancelled_while_it_lingers_it_ends_those_left_behind(tmp_path: Path) -> None:
    action = CommandAction(linger=60, grace=0.2)
    spec = Command(f"echo $$ > {tmp_path}/shell; sleep 60 & echo $! > {tmp_path}/pid")
    task = asyncio.create_task(action.run(spec, context_of(spec)))
    pid, shell = await written(tmp_path / "pid"), await written(tmp_path / "shell")
    await until(lambda: not alive(shell))
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await until(lambda: not alive(pid))


def test_a_loop_that_ends_kills_and_reaps(tmp_path: Path) -> None:
    """The host leaves asyncio.run with a command under way: every task is cancelled at once."""

    async def host() -> int:
        spec = Command(f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.01; done")
        host.task = asyncio.create_task(CommandAction().run(spec, context_of(spec)))  # type: ignore[attr-defined]
        return await written(tmp_path / "pid")

    pid = asyncio.run(host())
    assert not alive(pid)
    assert host.task.cancelled()  # type: ignore[attr-defined]
    assert str(pid) not in children()


async def test_under_virtual_time_a_command_takes_none(acron_time: Any) -> None:
    before = acron_time.now()
    assert await run("sleep 0.05; echo hello") == "hello\n"
    assert acron_time.now() == before
