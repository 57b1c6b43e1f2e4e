"""The live view: ``draw`` turns a board into something that rich can print; ``watch`` keeps one
on the terminal while an app runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.constrain import Constrain
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from acron.cli.board import keep_planned
from acron.cli.render import countdown, does, local, many, span
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from rich.console import RenderableType

    from acron.app import Acron
    from acron.cli.board import Board, Going, Past
    from acron.events import Event

#: Seconds between two pictures while something runs; without, once a second will do.
REFRESH = 0.25
_NEXT, _RUNNING, _RECENT = 6, 8, 8
_STYLES = {
    "succeeded": ("✓", "green"),
    "failed": ("✗", "red"),
    "timed_out": ("✗", "red"),
    "skipped": ("-", "yellow"),
    "ok": ("●", "green"),
    "failing": ("●", "red"),
}
_OTHER = ("●", "yellow")


def draw(board: Board, now: datetime, height: int = 40) -> RenderableType:
    """The picture of ``board`` at ``now``, in no more than about ``height`` lines."""
    room = max(height - 12, 3)
    parts: list[RenderableType] = [_state(board, now)]
    if board.jobs == 0 and not board.recent:
        parts += [Text(), Text("No jobs yet. Add one:", style="bold"), Text(f"  {board.hint}")]
    if board.upcoming:
        parts += [_title("next"), _upcoming(board, now, min(_NEXT, room))]
        room -= min(len(board.upcoming), _NEXT)
    if board.running:
        parts += [_title("running"), _running(board, now, min(_RUNNING, max(room, 1)))]
        room -= min(len(board.running), _RUNNING)
    if board.recent:
        parts += [_title("recent"), _recent(board, now, min(_RECENT, max(room, 1)))]
    title = Text.assemble((" acron ", "bold"))
    return Panel(
        Group(*parts),
        title=title,
        title_align="left",
        subtitle=_counts(board),
        subtitle_align="right",
        border_style="bright_black",
        padding=(0, 1),
    )


def _state(board: Board, now: datetime) -> RenderableType:
    mark, style = _STYLES.get(board.state, _OTHER)
    up = span(int((now - board.since).total_seconds()))
    words = [board.state, f"up {up}", board.provider, many(board.jobs or 0, "job"), board.tz]
    text = Text.assemble((f"{mark} ", style), (words[0], f"bold {style}"))
    for word in filter(None, words[1:]):
        text.append(" · ", style="bright_black").append(word)
    text.append(" · ", style="bright_black").append(one_line(board.store), style="cyan")
    text.no_wrap, text.overflow = True, "ellipsis"
    if not board.error or board.state == "ok":
        return text
    return Group(text, Text(one_line(board.error, 400), style="red"))


def _title(word: str) -> Text:
    return Text(f"\n{word}", style="bright_black")


def _grid(*styles: str) -> Table:
    """Columns in ``styles``; the last takes the room that is left."""
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for i, style in enumerate(styles):
        last = i == len(styles) - 1
        grid.add_column(style=style, no_wrap=True, overflow="ellipsis", ratio=1 if last else None)
    return grid


def _upcoming(board: Board, now: datetime, room: int) -> Table:
    grid = _grid("bold", "green", "", "cyan", "bright_black")
    for job in board.upcoming[:room]:
        if job.next_fire_at is not None:
            left, when = countdown(job.next_fire_at, now), local(job.next_fire_at, job.tz)
            clock = when[4:] if job.next_fire_at.date() != now.date() else when[-8:]
            what = Text(one_line(job.schedule, 32)), Text(does(job.action))
            grid.add_row(one_line(job.id, 24), left, clock, *what)
    return grid


def _running(board: Board, now: datetime, room: int) -> Table:
    grid = _grid("bold", "bright_black", "cyan", "", "")
    going = list(board.running.values())
    for one in going[:room]:
        elapsed = span((now - (one.run.started_at or now)).total_seconds())
        bar, told = _progress(one)
        grid.add_row(one_line(one.job.id, 24), one.run.id, elapsed, bar, told)
    if len(going) > room:
        grid.add_row(f"and {len(going) - room} more")
    return grid


def _progress(one: Going) -> tuple[RenderableType, RenderableType]:
    told = Text(one_line(one.note, 80))
    if one.done is None or not one.total:
        return Text("" if one.done is None else f"{one.done:g}"), told
    bar = ProgressBar(total=one.total, completed=one.done, width=24, complete_style="cyan")
    return bar, Text.assemble(f"{min(one.done / one.total, 1):.0%}  ", told)


def _recent(board: Board, now: datetime, room: int) -> Table:
    grid = _grid("", "bold", "bright_black", "", "bright_black", "bright_black", "")
    for past in list(board.recent)[:room]:
        grid.add_row(*_past(past, now))
    return grid


def _past(past: Past, now: datetime) -> tuple[RenderableType, ...]:
    mark, style = _STYLES.get(past.word, _OTHER)
    ago = f"{span(int((now - past.at).total_seconds()))} ago"
    lasted = "" if past.seconds is None else span(past.seconds)
    return (
        Text(mark, style=style),
        one_line(past.job_id, 24),
        past.run_id,
        Text(past.word.replace("_", " "), style=style),
        lasted,
        ago,
        Text(past.said),
    )


def _counts(board: Board) -> Text:
    counts = (f"{count} {word.replace('_', ' ')}" for word, count in board.counts.most_common())
    return Text(" · ".join(counts) or "nothing has run yet", style="bright_black")


# --- following an app ---


async def watch(app: Acron, board: Board, events: AsyncIterator[Event], console: Console) -> None:
    """Keep ``board`` up to date and on the terminal until the app is closed."""
    others = [
        asyncio.create_task(keep_planned(app, board)),
        asyncio.create_task(keep_drawn(app, board, console)),
    ]
    try:
        await board.follow(events)
    finally:
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def keep_drawn(app: Acron, board: Board, console: Console) -> None:
    """Keep ``board`` on the terminal until cancelled; the last picture stays."""

    def drawn() -> RenderableType:
        # The terminal writes "^C" behind the picture: that must not begin a line of its own.
        return Constrain(draw(board, app.clock.now(), console.height), console.width - 2)

    with Live(console=console, auto_refresh=False) as live:
        try:
            while True:
                live.update(drawn(), refresh=True)
                await asyncio.sleep(REFRESH if board.running else 4 * REFRESH)
        finally:
            live.update(drawn(), refresh=True)
