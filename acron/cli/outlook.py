"""A forecast as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from acron.cli.heatmap import DIM, NOTE, HeatMap
from acron.cli.render import local, many
from acron.schedules.zones import zone
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from rich.console import Console, RenderableType

    from acron.forecast import Change, Collision, Forecast, Load, Resting

#: Rows of a list, collisions among them, and names in a row.
ROWS, COLLISIONS, NAMES = 8, 4, 5
_BAR = 12


def draw(found: Forecast, console: Console) -> RenderableType:
    """The picture of a forecast, as wide as ``console``, with its colours or without."""
    parts: list[RenderableType] = [*_head(found)]
    if found.jobs:
        parts += [Text(), *HeatMap(found.days, console).lines(), _title("jobs"), _jobs(found.jobs)]
        parts += _more(found.jobs[ROWS:])
    elif not found.resting:
        parts.append(Text("\nno jobs: nothing will fire"))
    if found.collisions:
        parts.append(_title("collisions", "several jobs in one minute"))
        parts += [_collision(one, found.tz) for one in found.collisions[:COLLISIONS]]
    if found.changes:
        parts.append(_title("clocks", "what their changes do"))
        parts += [_change(one) for one in found.changes[:ROWS]]
        parts += _more(found.changes[ROWS:])
    if found.resting:
        parts += [_title("at rest", "no fire in these days"), _resting(found)]
        parts += _more(found.resting[ROWS:])
    notes: list[RenderableType] = [_hanging(Text(note, style=DIM)) for note in _notes(found)]
    return Group(*parts, *([_title("notes"), *notes] if notes else []))


def _head(found: Forecast) -> Iterator[Text]:
    first, last = found.days[0].date, found.days[-1].date
    begin = f"{first:%a} {first.day} {first:%b}"
    begin += f" {first.year}" if first.year != last.year else ""
    end = f"{last:%a} {last.day} {last:%b} {last.year}"
    head = Text.assemble((many(found.fires, "fire"), "bold green"))
    for word in (
        many(len(found.jobs) + len(found.resting), "job"),
        end if first == last else f"{begin} to {end}",
        found.tz,
    ):
        head.append(" · ", style=DIM).append(word)
    yield head
    peaks = {"hour": found.busiest_hour, "minute": found.busiest_minute}
    told = [(unit, peak) for unit, peak in peaks.items() if peak is not None]
    if told:
        line = Text()
        for unit, peak in told:
            line.append(f" · {unit} " if line else f"busiest {unit} ", style=DIM)
            line.append(_minute(peak.at, found.tz)).append(f" ({many(peak.fires, 'fire')})")
        yield line


def _title(word: str, says: str = "") -> Text:
    return Text.assemble((f"\n{word}", "bold"), (f"  {says}" if says else "", DIM))


def _minute(at: datetime, tz: str) -> str:
    here = at.astimezone(zone(tz).info)
    return f"{here:%a} {here.day} {here:%b %H:%M}"


def _more(rest: Sequence[object]) -> list[RenderableType]:
    return [Text(f"  and {len(rest):,} more", style=DIM)] if rest else []


def _names(ids: Sequence[str]) -> str:
    """``a, b, c and 7 more``."""
    shown = ", ".join(one_line(one, 32) for one in ids[:NAMES])
    return shown if len(ids) <= NAMES else f"{shown} and {len(ids) - NAMES:,} more"


def _hanging(text: RenderableType, indent: int = 2) -> Padding:
    return Padding(text, (0, 0, 0, indent))


def _grid(*styles: str) -> Table:
    """Columns in ``styles``; the last takes the room that is left."""
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for i, style in enumerate(styles):
        last = i == len(styles) - 1
        grid.add_column(style=style, no_wrap=True, overflow="ellipsis", ratio=1 if last else None)
    return grid


def _jobs(jobs: Sequence[Load]) -> RenderableType:
    grid = _grid("bold", "", "green", "cyan")
    grid.columns[1].justify = "right"
    top = max(job.fires for job in jobs)
    for job in jobs[:ROWS]:
        bar = "━" * max(round(_BAR * job.fires / top), 1)
        about = "parked: " if job.parked else ""
        grid.add_row(
            Text(one_line(job.id, 24)),
            f"{job.fires:,}",
            bar,
            Text(about, style=NOTE).append(one_line(job.schedule), style="cyan"),
        )
    return _hanging(grid)


def _collision(one: Collision, tz: str) -> RenderableType:
    times = "once" if one.times == 1 else f"{one.times:,} times"
    head = Text.assemble(
        (many(len(one.jobs), "job"), "bold"),
        (f"  {times}, first ", DIM),
        _minute(one.at, tz),
        "  ",
        (_names(one.jobs), "cyan"),
    )
    return Group(_hanging(head), _hanging(Text(one.hint, style=DIM), 4))


def _change(change: Change) -> RenderableType:
    lines: list[RenderableType] = [_hanging(Text(change.says))]
    for effect in change.effects[:ROWS]:
        line = Text.assemble((_names(effect.jobs), "cyan"), (f": {effect.says}", NOTE))
        lines.append(_hanging(line, 4))
    rest = change.untold + sum(len(effect.jobs) for effect in change.effects[ROWS:])
    if rest:
        lines.append(_hanging(Text(f"{many(rest, 'more job')} too", style=NOTE), 4))
    if change.untouched:
        word = "other job" if change.effects else "job"
        lines.append(_hanging(Text(f"{many(change.untouched, word)}: not touched", style=DIM), 4))
    return Group(*lines)


def _resting(found: Forecast) -> RenderableType:
    grid = _grid("bold", NOTE, "")
    for job in found.resting[:ROWS]:
        grid.add_row(Text(one_line(job.id, 24)), job.state, _why(job, found.tz))
    return _hanging(grid)


def _why(job: Resting, tz: str) -> Text:
    if job.next is not None:
        return Text(f"next {local(job.next, tz)[:-3]}")
    return Text(one_line(job.reason) or one_line(job.schedule))


def _notes(found: Forecast) -> Iterator[str]:
    if parked := [job.id for job in found.jobs if job.parked]:
        yield f"parked, no running acron can run them now: {_names(parked)}"
    if found.steady:
        yield f"too frequent to be told as collisions: {_names(found.steady)}"
    if hourly := sum(job.counted == "hourly" for job in found.jobs):
        yield f"counted by the hour, not by the instant: {many(hourly, 'job')}"
    if spread := sum(job.counted == "spread" for job in found.jobs):
        yield f"spread evenly over the hours, an estimate: {many(spread, 'job')}"
