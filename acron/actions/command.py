"""Run a command in a process group of its own."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import signal
import tempfile
from contextlib import nullcontext, suppress
from typing import IO, TYPE_CHECKING, Any

from acron.abc import Action, Output
from acron.actions.live import LiveFile, LiveFiles
from acron.errors import ActionFailed, InvalidJob
from acron.model import OUTPUT_LIMIT
from acron.specs import Command
from acron.text import Excerpt, one_line, where_left_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from acron.abc import Context

#: What a command sees of our environment. Everything else, API keys above all, must be given to
#: it by the job's ``env``.
INHERITED = re.compile(
    r"HOME|LOGNAME|PATH|SHELL|USER|LANG|LANGUAGE|LC_\w+|TZ|TEMP|TMP|TMPDIR|XDG_\w+"
    r"|SSL_CERT_DIR|SSL_CERT_FILE"
)


class CommandAction(Action):
    """Runs a text with ``/bin/sh -c``, or an argument list without a shell.

    The output is what it writes to stdout and stderr, as it comes; of a long one the head and
    the tail, ``model.OUTPUT_LIMIT`` bytes together, and a file with all of it; None when there is
    none but blanks. Any exit status but 0 fails the run.

    Cancelled, it sends SIGTERM to all processes of the group, after ``grace`` seconds SIGKILL;
    what had been said by then is in the ``output`` of the CancelledError's cause. A command that
    ends by itself may leave processes behind (``something &``): they live on, and are heard for
    no more than ``linger`` seconds. One that has made a session of its own is out of reach.
    """

    def __init__(
        self, *, grace: float = 2.0, linger: float = 1.0, live: LiveFiles | None = None
    ) -> None:
        self._grace = grace
        self._linger = linger
        self._live = LiveFiles() if live is None else live
        self._working: set[asyncio.Task[int]] = set()

    @property
    def name(self) -> str:
        return "command"

    def check(self, spec: Command) -> None:
        check(spec)

    async def run(self, spec: Command, ctx: Context) -> str | None:
        check(spec)
        heard = self._live.of(ctx.run_id)
        group = _Group(self._grace, self._linger, heard.add)
        # In a task of its own: a process that was started is always ended and reaped.
        work = asyncio.create_task(group.run(spec, environment(spec, ctx)))
        self._working.add(work)
        work.add_done_callback(self._ended)
        try:
            await asyncio.wait({work})
            output = await _all_of(group, heard, ctx)
        except asyncio.CancelledError as cancelled:
            await group.stop(work)
            raise cancelled from ActionFailed("stopped", output=await _all_of(group, heard, ctx))
        finally:
            await heard.close()
        status = work.result()
        if status != 0:
            raise ActionFailed(_reason(status, output), output=output)
        return output

    def _ended(self, work: asyncio.Task[int]) -> None:
        self._working.discard(work)
        if not work.cancelled():
            work.exception()  # asked for, when nobody waits for it any more


def check(spec: Command) -> None:
    """Raise InvalidJob, whose ``where`` names the field, unless ``spec`` could be started."""
    command = spec.command
    if isinstance(command, str):
        _need_text("$.command", command)
        if not command.strip():
            raise InvalidJob("the command is empty", where="$.command")
    elif isinstance(command, tuple | list):
        for n, argument in enumerate(command):
            _need_text(f"$.command[{n}]", argument)
        if not command or not command[0]:
            raise InvalidJob("the command names no program", where="$.command")
    else:
        kind = type(command).__name__
        message = f"a command is a text for the shell or a list of arguments, not {kind}"
        raise InvalidJob(message, where="$.command")
    if spec.cwd is not None:
        _need_text("$.cwd", spec.cwd)
    if spec.stdin is not None:
        _need_text("$.stdin", spec.stdin, nul=True)
    _check_env({} if spec.env is None else spec.env)


def _check_env(env: Any) -> None:
    if not isinstance(env, dict):
        kind = type(env).__name__
        raise InvalidJob(f"env maps names to texts, and is not a {kind}", where="$.env")
    for name, value in env.items():
        _need_text("$.env", name)
        if not name or "=" in name:
            raise InvalidJob(f"{name!r} cannot name a variable", where="$.env")
        _need_text(f"$.env.{name}", value)


def _need_text(where: str, value: Any, *, nul: bool = False) -> None:
    if not isinstance(value, str):
        raise InvalidJob(f"a text is needed, not {type(value).__name__}", where=where)
    if not nul and "\0" in value:
        raise InvalidJob("a NUL character cannot be passed to a process", where=where)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidJob(f"is no Unicode text: {error.reason}", where=where) from None


def environment(
    spec: Command, ctx: Context, environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The whole environment of a command: what is inherited, the job's own, what acron tells."""
    inherited = {name: value for name, value in environ.items() if INHERITED.fullmatch(name)}
    told = {
        "ACRON_JOB_ID": ctx.job.id.replace("\0", "").encode(errors="backslashreplace").decode(),
        "ACRON_RUN_ID": ctx.run_id,
        "ACRON_SCHEDULED_AT": _iso(ctx.scheduled_at),
        "ACRON_ATTEMPT": str(ctx.attempt),
    }
    return {"PATH": os.defpath} | inherited | (spec.env or {}) | told


async def _all_of(group: _Group, heard: LiveFile, ctx: Context) -> str | None:
    """The output; with the file of all that was said when it is cut, and is the run's own."""
    output = group.output
    if output is None or not group.cut or not isinstance(ctx.job.action, Command):
        return output
    whole = await heard.whole()
    if whole is None:
        return where_left_out(output, "the rest could not be kept")
    return Output(output, whole=whole)


def _iso(instant: datetime | None) -> str:
    return "" if instant is None else instant.isoformat().replace("+00:00", "Z")


class _Group(asyncio.Protocol):
    """The processes of one run, and our end of the pipe that they all write to."""

    def __init__(self, grace: float, linger: float, hear: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        self._grace = grace
        self._linger = linger
        self._hear = hear
        self._pid: int | None = None  # of the first process, and so of the group
        self._stopping: asyncio.Future[None] = loop.create_future()
        self._silent: asyncio.Future[None] = loop.create_future()
        self._said = Excerpt(OUTPUT_LIMIT)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def cut(self) -> bool:
        """Whether ``output`` is not all that was said."""
        return self._said.cut

    @property
    def output(self) -> str | None:
        text = str(self._said)
        return text if text.strip() else None

    async def run(self, spec: Command, env: dict[str, str]) -> int:
        """Start, listen and wait; the exit status as ``subprocess`` has it."""
        loop = asyncio.get_running_loop()
        read, write = os.pipe()
        try:
            ear, _ = await loop.connect_read_pipe(lambda: self, os.fdopen(read, "rb", 0))
            try:
                process = await _start(spec, env, write)
            except BaseException:
                ear.close()
                raise
        finally:
            os.close(write)
        self._pid = process.pid
        try:
            return await self._attend(process)
        except asyncio.CancelledError:  # the host ends its loop
            self._signal(signal.SIGKILL)
            await process.wait()
            raise
        finally:
            ear.close()

    async def _attend(self, process: asyncio.subprocess.Process) -> int:
        exited = asyncio.create_task(process.wait())
        await _first(exited, self._stopping)
        if not self._stopping.done():
            await _first(self._silent, self._stopping, within=self._linger)
        if self._stopping.done():
            self._signal(signal.SIGTERM)
            ends: list[asyncio.Future[Any]] = [exited, self._silent]
            await asyncio.wait(ends, timeout=self._grace)
            self._signal(signal.SIGKILL)
        return await exited

    async def stop(self, work: asyncio.Task[int]) -> None:
        """End all processes and wait for ``work``; cancelled once more, kill them and leave."""
        if not self._stopping.done():
            self._stopping.set_result(None)
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError:
            self._signal(signal.SIGKILL)
            raise

    def _signal(self, number: signal.Signals) -> None:
        if self._pid is not None:
            with suppress(ProcessLookupError, PermissionError):  # gone, or not ours to end
                os.killpg(self._pid, number)

    def data_received(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        self._said.add(text)
        self._hear(text)

    def connection_lost(self, _: Exception | None) -> None:
        self._said.add(self._decoder.decode(b"", final=True))
        if not self._silent.done():
            self._silent.set_result(None)


async def _first(*futures: asyncio.Future[Any], within: float | None = None) -> None:
    await asyncio.wait(futures, timeout=within, return_when=asyncio.FIRST_COMPLETED)


async def _start(spec: Command, env: dict[str, str], output: int) -> asyncio.subprocess.Process:
    argv = ("/bin/sh", "-c", spec.command) if isinstance(spec.command, str) else spec.command
    cwd = None if spec.cwd is None else _expanded(spec.cwd)
    null = nullcontext(asyncio.subprocess.DEVNULL)
    with null if spec.stdin is None else _file(spec.stdin) as stdin:
        try:
            return await asyncio.create_subprocess_exec(
                *argv,
                stdin=stdin,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env=env,
                start_new_session=True,
            )
        except OSError as error:
            where = f"in the directory {cwd!r}" if error.filename == cwd else f"{argv[0]!r}"
            raise ActionFailed(f"cannot start {where}: {error.strerror or error}") from error


def _expanded(directory: str) -> str:
    return os.path.expanduser(directory)  # noqa: PTH111 (Path's raises where there is no home)


def _file(text: str) -> IO[bytes]:
    """A file, not a pipe: nobody has to feed it, and nothing breaks when it is not read."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 (the caller's to close)
    file.write(text.encode())
    file.seek(0)
    return file


def _reason(status: int, output: str | None) -> str:
    if status < 0:
        try:
            how = f"killed by {signal.Signals(-status).name}"
        except ValueError:  # a real-time signal has no name
            how = f"killed by signal {-status}"
    else:
        how = f"exit {status}"
    lines = (output or "").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return one_line(f"{how}: {last}" if last else how, 500)
