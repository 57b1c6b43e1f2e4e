"""What ``simulate --app`` prints: what a program's jobs would send, and when."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import typer

from acron.cli.logs import logging_to_stderr
from acron.cli.render import local, many, print_json, table
from acron.testing.page import WIDTH
from acron.testing.rehearsal import rehearse
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from acron.app import Acron
    from acron.testing.rehearsal import JobCount, Rehearsal

#: From so many jobs of one kind, added by the program itself, they share a line.
_ALIKE = 3
#: Lines of a timeline; ``--json`` has all.
_LINES = 200


def tell_rehearsal(
    app: Acron, days: int, start: datetime | None, place: str, *, as_json: bool
) -> None:
    """Rehearse and print it; exit code 1 when a run failed. What functions print goes to
    standard error."""
    with contextlib.redirect_stdout(sys.stderr), logging_to_stderr(logging.CRITICAL):
        found = rehearse(app, days, start=start, width=_width())
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        typer.echo("\n".join(_told(found, place)))
    if found.failures:
        raise typer.Exit(1)


def _told(found: Rehearsal, place: str) -> list[str]:
    span = f"{local(found.start, place)} to {local(found.until, place)} ({place})"
    attempts = sum(job.attempts for job in found.jobs)
    counts = (
        many(attempts, "run"),
        many(len(found.sent), "message"),
        f"{len(found.failures)} failed",
    )
    lines = [f"{span}: {', '.join(counts)}"]
    if found.jobs:
        head = ("JOB", "SCHEDULE", "RUNS", "FAILED", "SKIPPED", "SENT")
        lines += ["", table(head, list(_jobs(found.jobs)))]
    if found.parked:
        lines += ["", f"the program cannot run: {', '.join(map(one_line, found.parked))}"]
    if found.missing:
        lines += ["", f"the program has no adapter here for: {', '.join(found.missing)}"]
    if found.sent:
        rows = [
            (local(one.at, place), one.target, one.job_id, one_line(one.text, 100))
            for one in found.sent[:_LINES]
        ]
        lines += ["", table(("SENT", "TARGET", "JOB", "TEXT"), rows), *_more(len(found.sent))]
    if found.failures:
        ends = [
            (local(one.at, place), one.state.value, one.job_id, one_line(one.error, 100))
            for one in found.failures[:_LINES]
        ]
        titles = ("FAILED", "STATE", "JOB", "ERROR")
        lines += ["", table(titles, ends, paint=1), *_more(len(found.failures))]
    return [*lines, "", found.timeline]


def _jobs(counts: Sequence[JobCount]) -> Iterator[tuple[str, ...]]:
    """A row for each job; those of one kind that the program added as it went share one."""
    alike = Counter(_kind(job) for job in counts)
    shared: dict[object, list[JobCount]] = {}
    for job in counts:
        kind = _kind(job)
        shared.setdefault(kind if alike[kind] >= _ALIKE else job.id, []).append(job)
    for jobs in shared.values():
        name = jobs[0].id if len(jobs) == 1 else f"{jobs[0].does} ({len(jobs):,} jobs)"
        numbers = ([job.attempts, job.failed, job.skipped, job.sent] for job in jobs)
        yield name, jobs[0].schedule, *map(_some, map(sum, zip(*numbers, strict=True)))


def _kind(job: JobCount) -> object:
    return (job.does, job.schedule) if job.added else job.id


def _width() -> int:
    """Of a drawing: that of the terminal, within what is good to read."""
    columns = shutil.get_terminal_size((WIDTH, 0)).columns
    return min(max(columns, 60), 140)


def _some(number: int) -> str:
    return str(number) if number else ""


def _more(count: int) -> list[str]:
    return [f"… and {count - _LINES} more (--json has all)"] if count > _LINES else []
