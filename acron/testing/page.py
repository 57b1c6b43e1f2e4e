"""A story on a page: a line an event, time down the left, a lane for each thing that goes on."""

from __future__ import annotations

import textwrap
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime, tzinfo

#: Columns of a page, and of the longest name.
WIDTH, NAME = 100, 24
#: Lines of a page; of a story that is longer, its first ones and its last.
LINES, FIRST = 60, 15
#: From so many lines in a row that may be left out, of jobs that have just had one, they are
#: folded.
CALM = 3
#: Things that go on at the same time and have a lane each; the others share one more.
LANES = 8

_SIGNS = {"begins": "╭", "ends": "╰", "at once": "●", "not": "○", "waits": "◌"}
_GOES_ON = str.maketrans("╭╰●○◌", "│    ")
_STAMP, _GAP = 12, 9
_MARGIN = 2 + _STAMP + _GAP + 2


class Mark(NamedTuple):
    """An event: when, of which of the things that go on, and whose. A ``calm`` one is as it was
    meant to be, and may be left out among its like; one that comes ``again`` where the page would
    be too long for all."""

    at: datetime
    kind: Literal["begins", "ends", "at once", "not", "waits", "now"]
    thing: str
    name: str
    text: str
    calm: bool = False
    again: bool = False


def draw(marks: Sequence[Mark], now: datetime, place: tzinfo, width: int = WIDTH) -> list[str]:
    """The lines of a page of ``marks``, in the order of time, by the clock of ``place``, with the
    lanes of what goes on ``now``. ``width`` is in columns, 60 or more."""
    later = next((i for i, mark in enumerate(marks) if mark.at > now), len(marks))
    rows = _with_lanes([*marks[:later], Mark(now, "now", "", "", "now"), *marks[later:]])
    wide = max(len(lanes) for _, lanes in rows)
    names = min(max((len(mark.name) for mark in marks), default=0), NAME)
    lines, day, before = [], "", None
    shown = list(_folded(rows))
    if len(shown) > LINES:
        shown = list(_folded(_told_before(rows)))
    for row in _cut(shown):
        if isinstance(row, str):
            told = textwrap.wrap(row, width - _MARGIN - wide - 1)
            lines += [f"{'':{_MARGIN}}{'┊':{wide}} {one}" for one in told]
            continue
        mark, lanes = row
        here = mark.at.astimezone(place)
        if day != (day := f"{here:%a %Y-%m-%d}"):
            lines.append(f"  {day}")
        since = 0.0 if before is None else (mark.at - before).total_seconds()
        before = mark.at
        name = "" if mark.kind == "now" else f"{mark.name[:NAME]:{names}}  "
        room = width - _MARGIN - wide - 1 - len(name)
        first, *more = textwrap.wrap(mark.text, room, max_lines=3, placeholder=" …")
        lines.append(line(clock(here), since, f"{lanes:{wide}} {name}{first}"))
        under = f"{lanes.translate(_GOES_ON):{wide}} {'':{len(name)}}"
        lines += [f"{'':{_MARGIN}}{under}{one}" for one in more]
    return lines


def line(stamp: str, since: float, text: str) -> str:
    """An event on its page, ``since`` seconds after the one before."""
    gap = f"+{span(since)}" if since >= 1 else ""
    return f"  {stamp:{_STAMP}}{gap:>{_GAP}}  {text}".rstrip()


def clock(at: datetime) -> str:
    """``09:00:00``, or ``09:00:00.250``."""
    return f"{at:%H:%M:%S}" + (f".{at.microsecond // 1000:03}" if at.microsecond >= 1000 else "")


def span(seconds: float) -> str:
    """``2s``, ``3m 20s``, ``5h 10m``, ``12d``: the two largest units, or the one that matters."""
    left = round(seconds)
    for unit, size, smaller, part in (("d", 86_400, "h", 3600), ("h", 3600, "m", 60)):
        if left >= size:
            rest = left % size // part
            return f"{left // size}{unit}" + (f" {rest}{smaller}" if rest else "")
    minutes, rest = divmod(left, 60)
    return " ".join([f"{minutes}m"] * bool(minutes) + [f"{rest}s"] * bool(rest or not minutes))


_Row = tuple[Mark, str]


def _with_lanes(marks: Sequence[Mark]) -> list[_Row]:
    """Each mark with what the lanes look like at it."""
    lanes: list[str] = []  # what goes on in each; "" is free
    rows = []
    for mark in marks:
        looked_for = mark.thing if mark.kind == "ends" and mark.thing in lanes else ""
        lane = lanes.index(looked_for) if looked_for in lanes else len(lanes)
        signs = ["│" if one else " " for one in lanes]
        if mark.kind != "now":
            signs[lane : lane + 1] = [_SIGNS[mark.kind]]
        rows.append((mark, "".join(signs).rstrip()))
        if mark.kind == "begins" and lane < LANES:
            lanes[lane : lane + 1] = [mark.thing]
        elif mark.kind == "ends" and lane < len(lanes):
            lanes[lane] = ""
    return rows


def _told_before(rows: Sequence[_Row]) -> list[_Row]:
    """The rows, with a mark on what a job has done before in the same words."""
    words: dict[tuple[str, str], list[str]] = {}
    for mark, _ in rows:
        words.setdefault((mark.name, mark.thing), []).append(mark.text)
    first: dict[tuple[str, ...], str] = {}
    marked = []
    for mark, lanes in rows:
        tale = (mark.name, *words[mark.name, mark.thing])
        again = mark.kind != "now" and first.setdefault(tale, mark.thing) != mark.thing
        marked.append((mark._replace(again=again), lanes))
    return marked


def _folded(rows: Sequence[_Row]) -> Iterator[_Row | str]:
    """What went well, or as before, again and again, told in a line."""
    for calm, some in groupby(rows, key=lambda row: row[0].calm or row[0].again):
        stretch = list(some)
        first = {mark.name: mark.thing for mark, _ in reversed(stretch)}
        kept = {*first.values(), stretch[-1][0].thing}
        for keep, few in groupby(stretch, key=lambda row: row[0].thing in kept):
            alike = list(few)
            if not calm or keep or len(alike) < CALM:
                yield from alike
            else:
                ends = [mark for mark, _ in alike if mark.kind != "begins"]
                well = _told("went well", (mark.name for mark in ends if mark.calm))
                again = _told("as before", (mark.name for mark in ends if not mark.calm))
                yield "; ".join(filter(None, (well, again)))


def _told(how: str, names: Iterable[str]) -> str:
    counts = Counter(names).most_common()
    told = ", ".join(f"{name} ({count:,})" for name, count in counts[:4])
    more = f" and {len(counts) - 4} more jobs" if counts[4:] else ""
    return f"{how}: {told}{more}" if told else ""


def _cut(rows: list[_Row | str]) -> list[_Row | str]:
    if len(rows) <= LINES:
        return rows
    last = LINES - FIRST
    return [*rows[:FIRST], f"{len(rows) - LINES} lines more", *rows[-last:]]
