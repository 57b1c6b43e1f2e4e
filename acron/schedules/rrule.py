"""RFC 5545 rules: ``RRULE:FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9``, through python-dateutil.

dateutil walks from DTSTART; here it is started near the moment that is asked for, a whole number
of steps of the rule later, so that an old rule answers as fast as a new one.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from acron.schedules import zones
from acron.schedules.wall import WallClock
from acron.schedules.zones import DAY, zone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dateutil.rrule import rrule

    from acron.schedules.source import Fold, Gap, Source
    from acron.schedules.zones import Zone

EXAMPLES = ("RRULE:FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9",)

_TEXT = re.compile(
    r"(?:DTSTART(?:;TZID=(?P<zone>[^:;\s]+))?[:=](?P<start>\d{8}T\d{6}Z?)[\s;]+)?"
    r"(?:RRULE:)?(?P<rule>[A-Z0-9=;,+-]+)",
    re.ASCII,
)
_PART = re.compile(r"([A-Z]+)=([A-Z0-9,+-]+)", re.ASCII)
_FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")
_STEPS = {"WEEKLY": 7 * DAY, "DAILY": DAY, "HOURLY": 3600, "MINUTELY": 60, "SECONDLY": 1}
_SUBDAILY = frozenset({"HOURLY", "MINUTELY", "SECONDLY"})
_NUMBERS = {
    "INTERVAL": (1, 100_000),
    "COUNT": (1, 100_000),
    "BYSECOND": (0, 59),
    "BYMINUTE": (0, 59),
    "BYHOUR": (0, 23),
    "BYMONTHDAY": (-31, 31),
    "BYYEARDAY": (-366, 366),
    "BYWEEKNO": (-53, 53),
    "BYMONTH": (1, 12),
    "BYSETPOS": (-366, 366),
}
_LISTS = frozenset(_NUMBERS) - {"INTERVAL", "COUNT"}
_DAY = re.compile(r"(?:[+-]?[1-5]?\d)?(?:MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_SUBDAILY_HORIZON = 400
_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # the rule itself runs on wall time


class RRule(WallClock):
    """A recurrence rule on the wall clock of ``zone``. ``start`` is its DTSTART, a naive wall
    time; ``rule`` the parts in canonical order. Hourly and finer rules follow the clock."""

    __slots__ = ("_parts", "_walls", "rule", "start")

    def __init__(
        self, rule: str, start: datetime, place: Zone, gap: Gap | None, fold: Fold | None
    ) -> None:
        self.rule = rule
        self.start = start
        self._parts = dict(part.split("=") for part in rule.split(";"))
        self._walls: tuple[int, ...] | None = None
        WallClock.__init__(self, place, gap, fold, self._parts["FREQ"] in _SUBDAILY)

    def after(self, wall: int) -> int | None:
        if "COUNT" in self._parts:
            return next((at for at in self._counted() if at > wall), None)
        frequency, at = self._parts["FREQ"], max(wall, _wall(self.start) - 1)
        if frequency in _SUBDAILY:
            return self._after_by_days(at)
        return _first(self._near(at), at, self._end())

    def _after_by_days(self, wall: int) -> int | None:
        """For hourly and finer rules: the days that may match, then the times within each."""
        end, day = self._end(), wall // DAY
        for _ in range(_SUBDAILY_HORIZON):
            found = self._next_day(day)
            if found is None or found * DAY > end:
                return None
            low = max(wall, found * DAY - 1)
            hit = _first(self._near(low), low, min(end, found * DAY + DAY - 1))
            if hit is not None:
                return hit
            day = found + 1
        return None

    def _next_day(self, day: int) -> int | None:
        """The first day from ``day`` on that the day parts of the rule allow."""
        parts = _day_parts(self._parts)
        if not parts:
            return day if day * DAY <= zones.MAX else None
        found = _first(_made(f"FREQ=DAILY;{parts}", _read(day * DAY)), day * DAY - 1, zones.MAX)
        return None if found is None else found // DAY

    def until(self, wall: int) -> int | None:
        if "COUNT" in self._parts:
            return max((at for at in self._counted() if at <= wall), default=None)
        end = min(wall, self._end())
        span, floor = DAY, _wall(self.start)
        while end >= floor:
            low = max(end - span, floor - 1)
            found = list(self._walk(low, end))
            if found:
                return found[-1]
            end, span = low, min(span * 8, 400 * 366 * DAY)
        return None

    def between(self, low: int, high: int) -> int:
        if "COUNT" in self._parts:
            return sum(low <= at < high for at in self._counted())
        return sum(1 for _ in self._walk(low - 1, high - 1))

    def _walk(self, after: int, until: int) -> Iterator[int]:
        """The readings in ``(after, until]``; only for rules without COUNT."""
        at = self.after(after)
        if self._parts["FREQ"] in _SUBDAILY:
            while at is not None and at <= until:
                yield at
                at = self.after(at)
            return
        if at is None or at > until:
            return
        for found in self._near(at).xafter(_read(at), inc=True):
            wall = _wall(found)
            if wall > min(until, self._end()):
                return
            yield wall

    def _counted(self) -> tuple[int, ...]:
        """All readings of a rule with COUNT, which must be walked from its start."""
        if self._walls is None:
            self._walls = tuple(_wall(at) for at in _made(self.rule, self.start))
        return self._walls

    def _end(self) -> int:
        text = self._parts.get("UNTIL")
        if text is None:
            return zones.MAX
        at = _wall(_stamp(text))
        return at + self.place.offset(at) if text.endswith("Z") else at

    def _near(self, wall: int) -> rrule:
        """The rule without its ends, started at a step of its own shortly before ``wall``."""
        parts = {k: v for k, v in self._parts.items() if k not in {"UNTIL", "COUNT"}}
        start, steps = self.start, int(parts.get("INTERVAL", "1"))
        frequency = parts["FREQ"]
        if frequency in _STEPS:
            length = steps * _STEPS[frequency]
            begin = _wall(start)
            start = _read(begin + max((wall - begin) // length - 1, 0) * length)
        else:
            _imply(parts, start)
            months = steps * (12 if frequency == "YEARLY" else 1)
            then = _read(min(max(wall, _wall(start)), zones.MAX))
            gone = (then.year - start.year) * 12 + then.month - start.month
            turns = max(gone // months - 1, 0)
            if turns:
                month = start.year * 12 + start.month - 1 + turns * months
                first = 1 if frequency == "YEARLY" else month % 12 + 1
                start = start.replace(year=month // 12, month=first, day=1)
        text = ";".join(f"{name}={value}" for name, value in parts.items())
        return _made(text, start)

    def describe(self) -> str:
        return f"by the rule {self.rule} from {self.start:%Y-%m-%d %H:%M:%S} ({self.zone})"

    def __str__(self) -> str:
        return f"{self.prefix()}DTSTART:{self.start:%Y%m%dT%H%M%S} RRULE:{self.rule}"

    def __repr__(self) -> str:
        return f"<RRule {self}>"

    def _key(self) -> tuple[object, ...]:
        return self.rule, self.start, self.place.name, self.gap, self.fold

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, RRule) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())


def _day_parts(parts: dict[str, str]) -> str:
    """The parts that choose days."""
    names = ("BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYDAY")
    return ";".join(f"{name}={parts[name]}" for name in names if name in parts)


def _imply(parts: dict[str, str], start: datetime) -> None:
    """Write down what a yearly or monthly rule takes from its start, before that is moved."""
    days = {"BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYDAY"}
    if days.isdisjoint(parts):
        parts["BYMONTHDAY"] = str(start.day)
        if parts["FREQ"] == "YEARLY":
            parts.setdefault("BYMONTH", str(start.month))


@lru_cache(maxsize=256)
def _made(rule: str, start: datetime) -> rrule:
    from dateutil.rrule import rrulestr  # noqa: PLC0415  # 10 ms, only for rules

    return rrulestr(rule, dtstart=start)  # type: ignore[return-value]  # one rule, no set


def _first(rule: rrule, after: int, until: int) -> int | None:
    """The first reading later than ``after`` and not later than ``until``."""
    if after >= until:
        return None
    bounded = rule.replace(until=_read(min(until, zones.MAX)))
    found = bounded.after(_read(after))
    return None if found is None else _wall(found)


def _wall(read: datetime) -> int:
    delta = read - _NAIVE_EPOCH
    return delta.days * DAY + delta.seconds


def _read(wall: int) -> datetime:
    return _NAIVE_EPOCH + timedelta(0, max(wall, zones.MIN))


def _stamp(text: str) -> datetime:
    """``20261201T090000`` or ``20261201``, its Z left aside."""
    return datetime.strptime(f"{text[:8]}{text[8:15] or 'T000000'}", "%Y%m%dT%H%M%S")  # noqa: DTZ007


def parse(source: Source) -> RRule | None:
    """A rule, with or without its DTSTART; None for a text that is none."""
    text = source.text.upper()
    if not text.startswith(("RRULE:", "DTSTART", "FREQ=")):
        return None
    match = _TEXT.fullmatch(text)
    if match is None:
        raise source.error(
            "that is not one DTSTART and one RRULE",
            "write 'DTSTART:20261201T090000 RRULE:FREQ=DAILY'; several rules are joined by '|', "
            "exceptions by 'except 2026-12-25'",
        )
    rule = _canonical(source, match["rule"])
    place = zone(source.tz)
    stamp = match["start"]
    try:
        start = _midnight(source, place) if stamp is None else _stamp(stamp)
    except ValueError:
        raise source.error(
            f"there is no moment {stamp}", "write '20261201T090000'", at=stamp
        ) from None
    if match["zone"] is not None:
        try:
            place = zone(match["zone"])
        except LookupError:
            raise source.error(
                f"there is no time zone {match['zone']!r}",
                zones.hint(match["zone"]),
                at=match["zone"],
            ) from None
    elif stamp is not None and stamp.endswith("Z"):
        place = zone("UTC")
    if stamp is None and "COUNT=" in rule:
        raise source.error(
            "COUNT counts from a DTSTART, and there is none",
            "write 'DTSTART:20261201T090000 RRULE:…;COUNT=5', or 'repeat' of the job",
            at="COUNT",
        )
    made = RRule(rule, start, place, source.gap, source.fold)
    _check(source, made)
    return made


def _midnight(source: Source, place: Zone) -> datetime:
    """Without a DTSTART a rule starts today at 00:00, so that BYHOUR=9 means 09:00:00."""
    at = zones.seconds(source.now)
    return _read((at + place.offset(at)) // DAY * DAY)


def _canonical(source: Source, text: str) -> str:
    """The parts of a rule, each known, each once, FREQ first. Raises ScheduleError."""
    found: dict[str, str] = {}
    for part in text.strip(";").split(";"):
        match = _PART.fullmatch(part)
        if match is None or match[1] in found or not _fits(match[1], match[2]):
            raise source.error(
                f"{part[:60]!r} is not a part of a rule that is understood",
                "a rule has parts such as FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR;BYHOUR=9;UNTIL=…",
                at=part,
            )
        found[match[1]] = match[2]
    if "FREQ" not in found:
        raise source.error("a rule needs a FREQ", "write 'FREQ=DAILY' or 'FREQ=WEEKLY;BYDAY=MO'")
    if "COUNT" in found and "UNTIL" in found:
        raise source.error("a rule has COUNT or UNTIL, not both", "take one away", at="UNTIL")
    _suits(source, found)
    found.pop("INTERVAL") if found.get("INTERVAL") == "1" else None
    order = ["FREQ", *sorted(name for name in found if name != "FREQ")]
    return ";".join(f"{name}={found[name]}" for name in order)


def _suits(source: Source, found: dict[str, str]) -> None:
    """Refuse parts that mean nothing at the frequency of the rule, and that dateutil ignores."""
    frequency = found["FREQ"]
    if frequency in _SUBDAILY | {"DAILY"} and ("BYSETPOS" in found or "BYWEEKNO" in found):
        part, least = ("BYSETPOS" if "BYSETPOS" in found else "BYWEEKNO"), "weeks"
    elif frequency not in {"MONTHLY", "YEARLY"} and re.search(r"\d", found.get("BYDAY", "")):
        part, least = "BYDAY", "months"
    else:
        return
    raise source.error(
        f"{part}={found[part]} needs a FREQ of {least} or more",
        f"write {EXAMPLES[0]!r}",
        at=part,
    )


def _fits(name: str, value: str) -> bool:
    if name == "FREQ":
        return value in _FREQUENCIES
    if name == "BYDAY":
        return all(_DAY.fullmatch(item) for item in value.split(","))
    if name == "WKST":
        return value in {"MO", "TU", "WE", "TH", "FR", "SA", "SU"}
    if name == "UNTIL":
        try:
            return bool(re.fullmatch(r"\d{8}(T\d{6}Z?)?", value) and _stamp(value))
        except ValueError:
            return False
    if name not in _NUMBERS:
        return False
    low, high = _NUMBERS[name]
    items = value.split(",") if name in _LISTS else [value]
    return all(
        re.fullmatch(r"[+-]?\d{1,6}", item) and low <= int(item) <= high and (int(item) or not low)
        for item in items
    )


def _check(source: Source, made: RRule) -> None:
    """Refuse a rule that dateutil refuses, and one that never fires."""
    start = _wall(made.start) - 1
    days = _day_parts(dict(part.split("=") for part in made.rule.split(";")))
    try:
        # dateutil tries every turn up to the year 9999, so ask first whether such days exist.
        exist = not days or _first(_made(f"FREQ=YEARLY;{days}", made.start), start, zones.MAX)
        first = None if exist is None else made.after(start)
    except (ValueError, TypeError, OverflowError) as error:
        raise source.error(f"the rule cannot be used: {error}", f"write {EXAMPLES[0]!r}") from None
    if first is None:
        raise source.error(
            f"{source.text[:60]!r} never fires",
            "choose a day that exists, and an UNTIL after the DTSTART",
        )
