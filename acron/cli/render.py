"""How things read on a terminal: instants, lengths of time, tables, JSON.

All that jobs and strangers wrote goes through ``one_line`` before it is shown.
"""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any
from unicodedata import combining, east_asian_width
from zoneinfo import ZoneInfo

import typer

from acron.schedules.zones import zone
from acron.specs import Call, Command, Http, Prompt
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from acron.model import Run
    from acron.specs import ActionSpec

COLORS = {
    "succeeded": "green",
    "ok": "green",
    "scheduled": "green",
    "failed": "red",
    "failing": "red",
    "error": "red",
    "timed_out": "red",
    "stalled": "red",
    "blocked loop": "red",
    "detected": "red",
    "alerted": "red",
    "not running": "red",
    "running": "cyan",
}


def iso(instant: datetime) -> str:
    """``2026-11-22T17:10:00Z``, with as many digits of the second as it has."""
    return instant.isoformat().replace("+00:00", "Z")


def local(instant: datetime, tz: str) -> str:
    """``Sun 2026-11-22 18:10:00`` on the wall clock of ``tz``."""
    try:
        place = ZoneInfo(zone(tz).name)
    except LookupError:
        return iso(instant)
    return instant.astimezone(place).strftime("%a %Y-%m-%d %H:%M:%S")


def span(seconds: float) -> str:
    """``30ms``, ``4.2s``, ``12s``, ``3m 20s``, ``5h 10m``, ``12d 3h``; never negative. Of a
    whole number no more is shown than it holds: ``4s``."""
    whole = max(int(seconds), 0)
    if seconds < 10 and not isinstance(seconds, int):
        return f"{seconds:.1f}s" if seconds >= 1 else f"{max(seconds, 0) * 1000:.0f}ms"
    for unit, smaller, size, part in (("d", "h", 86400, 3600), ("h", "m", 3600, 60)):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // part}{smaller}"
    return f"{whole // 60}m {whole % 60}s" if whole >= 60 else f"{whole}s"


def late(run: Run) -> str:
    """``3h 0m late``; empty for what began within a second of when it was due."""
    return f"{span(run.lateness)} late" if run.lateness >= 1 else ""


def countdown(instant: datetime, now: datetime) -> str:
    """``in 12s``, or ``now`` for what is due."""
    seconds = (instant - now).total_seconds()
    return "now" if seconds <= 0 else f"in {span(math.ceil(seconds))}"


def many(count: int, thing: str) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def does(spec: ActionSpec, limit: int = 48) -> str:
    """What a job does, in one short line."""
    if isinstance(spec, Command):
        words = spec.command if isinstance(spec.command, str) else " ".join(spec.command)
        return one_line(f"$ {words}", limit)
    if isinstance(spec, Http):
        return one_line(f"{spec.method} {spec.url}", limit)
    if isinstance(spec, Prompt):
        return one_line(f"“{spec.prompt}”", limit)
    return one_line(f"{spec.name}()" if isinstance(spec, Call) else spec.action, limit)


def took(run: Run) -> float:
    """Seconds from a run's start to its end."""
    if run.started_at is None or run.finished_at is None:
        return 0.0
    return (run.finished_at - run.started_at).total_seconds()


def gist(run: Run, limit: int = 80) -> str:
    """What to say of a run's end: the reason of its failure, else its first line of output."""
    text = run.error or next((line for line in (run.output or "").splitlines() if line.strip()), "")
    return one_line(text.strip(), limit)


def color(word: str, text: str | None = None) -> str:
    """``text``, or ``word`` itself, in the colour of ``word``."""
    shown = word.replace("_", " ") if text is None else text
    return typer.style(shown, fg=COLORS.get(word, "yellow"))


def print_json(value: Any) -> None:
    """Machines read it: plain ASCII, so that no terminal can be fooled by what is in it."""
    typer.echo(json.dumps(value, indent=2))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, paint: int | None = None) -> str:
    """Columns under ``head``; those that are empty are left out. The words of column ``paint``
    get their colour."""
    keep = [i for i in range(len(head)) if any(row[i] for row in rows)]
    cells = [[one_line(row[i]) for i in keep] for row in rows]
    titles = [head[i] for i in keep]
    widths = [max(map(_width, column)) for column in zip(titles, *cells, strict=True)]
    lines = [typer.style(_join(titles, widths), dim=True)]
    for line in cells:
        padded = [_padded(text, size) for text, size in zip(line, [*widths[:-1], 0], strict=True)]
        if paint in keep:
            at = keep.index(paint)
            padded[at] = color(rows[len(lines) - 1][paint], padded[at])
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def note(text: str) -> None:
    """One line beside the output."""
    print(f"acron: {one_line(text, 1000)}", file=sys.stderr)


def _padded(text: str, size: int) -> str:
    return text + " " * (size - _width(text))


def _join(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(_padded(cell, size) for cell, size in zip(cells, widths, strict=True)).rstrip()


def _width(text: str) -> int:
    """How many columns of a terminal ``text`` takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)
