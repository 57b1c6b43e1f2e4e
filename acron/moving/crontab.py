"""Jobs out of a crontab, as crontab(5) of Vixie cron and cronie has it."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePath
from typing import Any, NamedTuple

from acron.moving import Draft, Found, LeftOut, made_id

_VARIABLE = re.compile(r"""\s*("[^"]*"|'[^']*'|[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*""")
_SPECIAL = re.compile(r"-?(@\w+)\s+(.*)", re.DOTALL)
#: What FreeBSD's cron has besides, in the words of all others.
_NICKNAMES = {"@every_minute": "* * * * *"}
_PERCENT = re.compile(r"\\%|%")
_NO_MAIL = "output is kept, not mailed; set ACRON_SMTP_URL, and edit a job: --deliver email:{}"


class _Entry(NamedTuple):
    schedule: str
    user: str | None
    command: str


def read_crontab(text: str, *, user: str, home: str, system: bool = False) -> Found:
    """The entries of a crontab. ``system``: the form of /etc/crontab, with a column for the user.

    ``user`` is who acron runs as, and ``home`` where cron starts that user's commands. Entries of
    other users are left out: acron does not change users.
    """
    found = Found([], [])
    variables: dict[str, str] = {}
    ids: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        where = f"line {number}"
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if (assigned := _VARIABLE.fullmatch(line)) is not None:
            name, value = _unquoted(assigned[1]), _unquoted(assigned[2])
            variables[name] = value
            _tell(found, where, name, value)
            continue
        entry = _entry(line.lstrip(), system=system)
        if entry is None:
            why = "no schedule, user and command" if system else "no schedule and command"
            found.left_out.append(LeftOut(where, line.strip(), why))
        elif entry.user is not None and entry.user != user:
            why = f"it runs as {entry.user}, and acron here as {user}; import it there"
            found.left_out.append(LeftOut(where, line.strip(), why))
        else:
            found.drafts.append(Draft(where, _record(entry, variables, home, ids)))
    return found


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _tell(found: Found, where: str, name: str, value: str) -> None:
    """What of a variable has no equivalent."""
    shown = f"{name}={value}"
    if name == "MAILTO" and value:
        found.left_out.append(LeftOut(where, shown, _NO_MAIL.format(value)))
    elif name == "TZ":
        why = "commands see it; the zone of the schedules is --tz, or CRON_TZ in the file"
        found.left_out.append(LeftOut(where, shown, why))


def _entry(line: str, *, system: bool) -> _Entry | None:
    special = _SPECIAL.fullmatch(line)
    if special is not None:
        schedule, rest = special[1].lower(), special[2]
    else:
        # A leading minus keeps some crons from logging.
        parts = line.removeprefix("-").split(None, 5)
        if len(parts) < 6:
            return None
        schedule, rest = " ".join(parts[:5]), parts[5]
    user = None
    if system:
        words = rest.split(None, 1)
        if len(words) < 2:
            return None
        user, rest = words
    return _Entry(_NICKNAMES.get(schedule, schedule), user, rest) if rest.strip() else None


def _record(
    entry: _Entry, variables: dict[str, str], home: str, ids: dict[str, int]
) -> dict[str, Any]:
    env = {
        name: value
        for name, value in variables.items()
        if name not in {"CRON_TZ", "MAILTO", "LOGNAME", "USER"}
    }
    command, stdin = _split(entry.command)
    shell = env.get("SHELL", "/bin/sh")
    record: dict[str, Any] = {
        "schedule": entry.schedule,
        "command": command if shell == "/bin/sh" else [shell, "-c", command],
        "cwd": env.get("HOME", home),
    }
    if "CRON_TZ" in variables:
        record["tz"] = variables["CRON_TZ"]
    if env:
        record["env"] = env
    if stdin is not None:
        record["stdin"] = stdin
    if variables.get("MAILTO") == "":
        record["deliver"] = []
    made = made_id(_program(command), *(f"{key}={value}" for key, value in record.items()))
    ids[made] = ids.get(made, 0) + 1
    return {"id": made if ids[made] == 1 else f"{made}-{ids[made]}", **record}


def _split(text: str) -> tuple[str, str | None]:
    r"""A command, and what follows the first ``%``: its input, in which every further ``%`` is
    a line break; ``\%`` is a percent sign."""
    parts, start = [""], 0
    for sign in _PERCENT.finditer(text):
        parts[-1] += text[start : sign.start()]
        if sign[0] == "%":
            parts.append("")
        else:
            parts[-1] += "%"
        start = sign.end()
    parts[-1] += text[start:]
    command, *lines = parts
    if not lines:
        return command.strip(), None
    stdin = "\n".join(lines)
    return command.strip(), stdin if not stdin or stdin.endswith("\n") else stdin + "\n"


def _program(command: str) -> str:
    """The name of what a command starts, for the job's id."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    names = [PurePath(word).stem for word in words if "=" not in word]
    return next(filter(None, names), "cron")
