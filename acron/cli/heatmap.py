"""The map of a forecast: days down, hours across, the more fires the hotter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console

    from acron.forecast import Day

#: From more days than these on, rows are weekdays, and cells their averages.
MANY_DAYS = 31
DIM, NOTE = "bright_black", "yellow"

#: Backgrounds from few fires to many, each with the ink that reads well on it.
_HEAT = (
    ("#a9bfd4", "#1b3550"),
    ("#d2eaf3", "#155e75"),
    ("#eafffa", "#0f8074"),
    ("#06210c", "#4fb35e"),
    ("#2b2c00", "#c5c93b"),
    ("#331c00", "#fb9f34"),
    ("#ffffff", "#d9432f"),
)
_SHADES, _ASCII = "░▒▓█", ":+*#"
#: Columns of a row's name, of what stands at its end, and of a cell that holds a number.
_LABEL, _ENDING, _NUMBER = 7, 8, 3
#: A load that differs by no more than this part of itself is even.
_EVEN = 0.02


@dataclass(frozen=True)
class _Row:
    label: Text
    cells: Sequence[float | None]
    fires: float


class HeatMap:
    """The lines of the map, as wide as ``console`` and with its colours. Without, the cells are
    shades, and the numbers stand at the end of the rows."""

    def __init__(self, days: Sequence[Day], console: Console) -> None:
        self._averaged = len(days) > MANY_DAYS
        self._rows = list(_weekdays(days) if self._averaged else map(_day, days))
        cells = sorted(cell for row in self._rows for cell in row.cells if cell) or [1.0]
        # What goes on all the time is the ground from which the heat is measured.
        self._low, self._top = cells[len(cells) // 10], cells[-1]
        self._colored = console.color_system is not None and not console.no_color
        plain = console.options.ascii_only
        self._none, shades = (".", _ASCII) if plain else ("·", _SHADES)
        self._levels = [*_HEAT] if self._colored else [*shades]
        room = (console.width - 1 - _LABEL) // 24
        ending = (console.width - 1 - _LABEL - _ENDING) // 24
        self._wide = max(min(room, _NUMBER + 1) if self._colored else min(ending, 2), 1)
        self._ends = ending >= self._wide

    def lines(self) -> Iterator[Text]:
        """Hours, days, and what the colours mean."""
        yield self._scale()
        for row in self._rows:
            line = Text().append_text(row.label)
            shown = False
            for cell in row.cells:
                # Before the window a row is empty; in its middle an hour is one that is skipped.
                line.append_text(self._cell(cell, "x" if shown else " "))
                shown = shown or cell is not None
            if self._ends:
                line.append(f"{short(row.fires, 5):>{_ENDING}}", style=DIM)
            yield line
        yield Text()
        yield self._legend()

    def _scale(self) -> Text:
        step = 1 if self._wide >= _NUMBER else 3 if self._wide == 2 else 6
        hours = [f"{hour:02}".center(self._wide) for hour in range(0, 24, step)]
        line = "".join(hour.ljust(self._wide * step) for hour in hours)
        end = f"{'average' if self._averaged else 'fires':>{_ENDING}}" if self._ends else ""
        return Text(f"{'':{_LABEL}}{line}{end}", style=DIM)

    def _cell(self, fires: float | None, nothing: str) -> Text:
        wide = self._wide
        if fires is None:
            return Text(f"{nothing:^{wide}}", style=NOTE)
        if not fires:
            return Text(f"{self._none:^{wide}}", style=DIM)
        level = self._level(fires)
        return self._painted(level, short(fires, _NUMBER) if wide >= _NUMBER else "", wide)

    def _painted(self, level: int, words: str, wide: int) -> Text:
        look = self._levels[level]
        if isinstance(look, str):
            return Text(look * wide)
        ink, ground = look
        return Text(f"{words:^{wide}}", style=f"{ink} on {ground}")

    def _level(self, fires: float) -> int:
        """By the logarithm, so that a peak does not hide all else."""
        if self._top - self._low < _EVEN * self._top:
            return len(self._levels) // 2
        share = math.log(max(fires / self._low, 1.0)) / math.log(self._top / self._low)
        return min(int(share * len(self._levels)), len(self._levels) - 1)

    def _legend(self) -> Text:
        """``░ 1-2  ▒ 3-9 …``: only what occurs."""
        found: dict[int, list[float]] = {}
        for cell in sorted(cell for row in self._rows for cell in row.cells if cell):
            found.setdefault(self._level(cell), []).append(cell)
        line = Text(" " * _LABEL)
        for level, cells in found.items():
            low, high = short(cells[0], 5), short(cells[-1], 5)
            line.append_text(self._painted(level, "", 2))
            line.append(f" {low}" if low == high else f" {low}-{high}", style=DIM).append("  ")
        return line.append(f"{'on average ' if self._averaged else ''}an hour", style=DIM)


def _day(day: Day) -> _Row:
    """``Mon 23``, and ``Dec  1`` on the first of a month."""
    first = day.date.day == 1
    style = NOTE if day.length != 24 else "bold" if first else ""
    style = style or (DIM if day.date.weekday() >= 5 else "")
    name = f"{day.date:%b}" if first else f"{day.date:%a}"
    return _Row(Text(f"{name} {day.date.day:>2} ", style=style), day.hours, day.fires)


def _weekdays(days: Sequence[Day]) -> Iterable[_Row]:
    for number in range(7):
        same = [day for day in days if day.date.weekday() == number]
        cells: list[float | None] = []
        for hour in range(24):
            known = [fires for day in same if (fires := day.hours[hour]) is not None]
            cells.append(sum(known) / len(known) if known else None)
        label = Text(f"{same[0].date:%a}".ljust(_LABEL), style=DIM if number >= 5 else "")
        yield _Row(label, cells, sum(filter(None, cells)))


def short(number: float, room: int) -> str:
    """A number in at most ``room`` (3 or more) columns: ``0.4``, ``37``, ``2k``, ``13M``."""
    if number < 9.95 and number != int(number):
        return f"{number:.1f}"
    shown = round(number)
    for unit in ("", "k", "M", "G"):
        text = f"{shown}{unit}"
        if len(text) <= room:
            return text
        shown = round(shown / 1000)
    return text
