"""What happens, a line each: ``2026-11-22T17:10:00Z started tea r12``."""

from __future__ import annotations

import contextlib
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from acron.cli.render import gist, iso, late, span, took
from acron.events import Dropped, Event, Finished, Skipped, Started
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def line(event: Event) -> str | None:
    """The line for an event; None for one that is not worth it."""
    text = _text(event)
    return None if text is None else one_line(f"{iso(event.at.replace(microsecond=0))} {text}")


def _text(event: Event) -> str | None:
    match event:
        case Started(job=job, run=run):
            how = "" if run.scheduled_at else " by hand"
            again = f" attempt {run.attempt}" if run.attempt > 1 else ""
            return f"started {job.id} {run.id}{how}{again} {late(run)}".rstrip()
        case Finished(job=job, run=run, retry=retry):
            said = f": {words}" if (words := gist(run, 200)) else ""
            again = f"; attempt {retry.attempt} at {iso(retry.due_at)}" if retry else ""
            return f"{run.state.value} {job.id} {run.id} in {span(took(run))}{said}{again}"
        case Skipped(job=job, skip=skip):
            times = f" {skip.count} times" if skip.count > 1 else ""
            return f"skipped {job.id} {iso(skip.scheduled_at)} {skip.reason.value}{times}"
        case Dropped(count=count):
            return f"{count} events are not shown"
    return None


async def print_lines(events: AsyncIterator[Event]) -> None:
    """Print each event as it comes. A reader that has gone away stops no job."""
    async for event in events:
        text = line(event)
        if text is not None:
            with contextlib.suppress(BrokenPipeError):
                print(text, flush=True)


class _Handler(logging.Handler):
    """Log records as lines on what is standard error at the time: the live view moves it."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "acron.runtime.ends":  # these are events, and shown as such
            return
        try:
            at = datetime.fromtimestamp(int(record.created), UTC)
            text = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                text = f"{text}: {type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
            job = getattr(record, "job_id", None)
            who = f" {job} {getattr(record, 'run_id', '')}" if job else ""
            print(one_line(f"{iso(at)} {record.levelname.lower()}{who} {text}"), file=sys.stderr)
        except Exception:  # noqa: BLE001 (as logging wants it: it must stop nobody)
            self.handleError(record)


@contextlib.contextmanager
def logging_to_stderr(level: int) -> Iterator[None]:
    """Show what acron logs, from ``level`` on, while the block runs; unless the program that
    ``--app`` has loaded sees to its logs itself."""
    if logging.getLogger().handlers:
        yield
        return
    logger, handler = logging.getLogger("acron"), _Handler()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
