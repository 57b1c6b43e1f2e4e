"""The command line. Each verb opens the store, does one thing and prints it.

Exit codes: 0 done, 1 refused or unhealthy, 2 usage, 130 and 143 stopped by SIGINT and SIGTERM.
What is wrong is one line on standard error.
"""

from __future__ import annotations

import os
import sys
import traceback
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer

from acron.cli.base import VALUED, Usage, app
from acron.errors import AcronError, InvalidJob, JobNotFound
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: All verbs, in the order of ``--help``: of the process, of jobs, of runs, of schedules, of stores.
VERBS = (
    *("run", "status", "doctor", "tick", "nodes", "drain", "serve", "mcp"),
    *("add", "list", "show", "edit", "pause", "resume", "remove"),
    *("run-now", "backfill", "cancel", "runs", "output", "deliveries", "incidents"),
    *("next", "explain", "simulate", "demo"),
    *("export", "import"),
)
#: The verbs that tell what there is.
_LISTING = {"job": "list", "incident": "incidents --all"}
#: The modules that declare them.
_MODULES = {
    "backfill": ("backfill",),
    "calendar": ("next", "explain"),
    "daemon": ("run", "status", "tick"),
    "demo": ("demo",),
    "doctor": ("doctor",),
    "forecast": ("simulate",),
    "incidents": ("incidents",),
    "jobs": ("add", "list", "show", "edit"),
    "mcp": ("mcp",),
    "moving": ("export", "import"),
    "nodes": ("nodes", "drain"),
    "pausing": ("pause", "resume", "remove"),
    "serve": ("serve",),
    "runs": ("run-now", "cancel", "runs", "output", "deliveries"),
}


def declare(args: Sequence[str]) -> None:
    """Import the module of the verb in ``args``, or of all verbs when it is not plain which that
    is: to import them all takes longer than most verbs."""
    verb = _verb(args)
    for module, verbs in _MODULES.items():
        if verb is None or verb in verbs:
            import_module(f"acron.cli.{module}")
    app.registered_commands.sort(key=lambda one: VERBS.index(one.name or ""))


def _verb(args: Sequence[str]) -> str | None:
    """The verb that stands behind the global options, if it is one."""
    left = iter(args)
    for arg in left:
        if arg in VALUED:
            next(left, None)
        elif not arg.startswith("--") or arg.partition("=")[0] not in VALUED:
            return arg if arg in VERBS else None
    return None


@lru_cache(maxsize=1)
def _command(_: int) -> Callable[..., Any]:
    """What parses and does; made once for so many verbs as have been declared."""
    return typer.main.get_command(app).main


def main(args: Sequence[str] | None = None) -> int:
    """Do what ``args`` (default: the process's) say; the exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # whoever started us has closed it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):  # what the terminal cannot show is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if args is None else args)
    try:
        _refuse_bytes(given)
        declare(given)
        command = _command(len(app.registered_commands))
        code = command(args=given, prog_name="acron", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        return _unheard()
    except SystemExit as ending:
        if isinstance(ending.__context__, BrokenPipeError):  # typer has seen it first
            return _unheard()
        raise
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:  # noqa: BLE001 (the last frame: else it is a traceback)
        return _report(error)
    return code if isinstance(code, int) else 0


def _unheard() -> int:
    """Whoever read has had enough. Python would complain once more when it flushes at exit."""
    sys.stdout = sys.__stdout__
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0


def _refuse_bytes(args: Sequence[str]) -> None:
    for arg in args:
        try:
            arg.encode()
        except UnicodeEncodeError:
            raise Usage(f"the argument {arg[:80]!r} is not UTF-8") from None


def _report(error: Exception) -> int:
    """Say what is wrong in one line; the exit code."""
    if os.environ.get("ACRON_DEBUG"):
        traceback.print_exception(error)
    code, hint = 1, ""
    if isinstance(error, InvalidJob):
        field = error.where.removeprefix("$").removeprefix(".")
        text = f"{field}: {error}" if field and field not in str(error) else str(error)
    elif isinstance(usage := getattr(error, "exit_code", None), int):
        # Ours, or one of typer's: their class is not the same in every version of it.
        code, context = usage, getattr(error, "ctx", None)
        text = str(getattr(error, "format_message", error.__str__)())
        command = "acron" if context is None else context.command_path
        hint = f" (see {command} --help)"
    elif isinstance(error, AcronError):
        text = str(error)
        if isinstance(error, JobNotFound):
            hint = f" (see acron {_LISTING.get(error.kind, 'runs')})"
    else:
        text = f"{type(error).__name__}: {error}"
        hint = " (set ACRON_DEBUG=1 for the traceback)"
    print(f"acron: {one_line(text, 1000)}{hint}", file=sys.stderr)
    return code
