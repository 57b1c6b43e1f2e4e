"""What every kind of schedule is parsed from: a piece of text and all that surrounds it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from acron.errors import ScheduleError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from acron.schedules.calendars import Calendar

Gap = Literal["shift", "skip"]
Fold = Literal["first", "last", "both"]

#: Longer texts are refused before anything looks at them.
MAX_LENGTH = 4096

_BLANK = re.compile(r"\s+")


class Source:
    """A schedule text (or a part of one) with the zone, rules and names that hold for it.

    ``text`` has no blanks around it; ``offset`` is where it starts in ``whole``, so that an
    error in a part still points into what was typed.
    """

    __slots__ = ("calendars", "fold", "gap", "job_id", "now", "offset", "text", "tz", "whole")

    def __init__(
        self,
        text: str,
        tz: str,
        now: datetime,
        job_id: str | None,
        gap: Gap | None,
        fold: Fold | None,
        calendars: Mapping[str, Calendar] | None,
    ) -> None:
        self.whole = text
        self.text = text.strip()
        self.offset = 0 if self.text == text else len(text) - len(text.lstrip())
        self.tz = tz
        self.now = now
        self.job_id = job_id
        self.gap = gap
        self.fold = fold
        self.calendars = calendars

    def part(
        self,
        start: int,
        end: int | None = None,
        *,
        rules: tuple[str, Gap | None, Fold | None] | None = None,
    ) -> Source:
        """``text[start:end]`` as a source of its own, under ``rules`` (zone, gap, fold) if any."""
        tz, gap, fold = rules or (self.tz, self.gap, self.fold)
        part = Source(self.text[start:end], tz, self.now, self.job_id, gap, fold, self.calendars)
        part.offset += self.offset + start
        part.whole = self.whole
        return part

    def reworded(self, text: str) -> Source:
        """The same rules around another text."""
        return Source(text, self.tz, self.now, self.job_id, self.gap, self.fold, self.calendars)

    def lowered(self) -> str:
        """The text in lower case with single blanks. Offsets in it are those of ``text`` only
        where ``text`` has single blanks too; see ``find``."""
        return _BLANK.sub(" ", self.text.lower())

    def word(self, number: int) -> int:
        """Where the ``number``-th word of the text starts (0 is the first)."""
        starts = [match.start() for match in re.finditer(r"\S+", self.text)]
        return starts[number] if number < len(starts) else 0

    def error(self, message: str, hint: str, *, at: str | int | None = None) -> ScheduleError:
        """The refusal to raise. ``at`` is an offset in ``text``, or the offending word in it."""
        position = self.offset
        if isinstance(at, int):
            position += at
        elif at:
            position += max(self.text.lower().find(at.lower()), 0)
        return ScheduleError(message, text=self.whole, position=position, hint=hint)
