"""The grammar around single schedules: zone prefixes, ``|``, ``except``, ``starting``, ``until``.

    text   = part ("|" part)*
    part   = [rules] (kind | "(" text ")") suffix*
    suffix = " except " days | " starting " moment | " until " moment
    rules  = ("CRON_TZ=" zone | "TZ=" zone | "GAP=" gap | "FOLD=" fold)+

The rules of the first part hold for later parts that have none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from acron.errors import ScheduleError
from acron.schedules import calendars, moments
from acron.schedules.calendars import Calendar
from acron.schedules.combine import any_of, bounded, without
from acron.schedules.zones import hint, zone

if TYPE_CHECKING:
    from collections.abc import Callable

    from acron.schedules.base import Schedule
    from acron.schedules.source import Fold, Gap, Source

    Kind = Callable[[Source], Schedule]

_SUFFIX = re.compile(r"\s(except|starting|until)(?=\s|$)", re.IGNORECASE)
_RULE = re.compile(r"(CRON_TZ|TZ|GAP|FOLD)=(\S*)\s*", re.IGNORECASE)
_CHOICES = {"gap": ("shift", "skip"), "fold": ("first", "last", "both")}
_BAR = re.compile(r"\|")
_DEEPEST = 20


def composed(text: str) -> bool:
    """Whether ``text`` is more than one kind's: worth a look at this grammar."""
    if "|" in text or "=" in text or "(" in text or ")" in text:
        return True
    lowered = text.lower()
    return "except" in lowered or "until" in lowered or "starting" in lowered


def parse(source: Source, kind: Kind, depth: int = 0) -> Schedule:
    """The schedule of a whole text. ``kind`` reads what has none of the marks of this grammar."""
    if depth > _DEEPEST:
        raise source.error("too many brackets", "write the schedules one by one, joined by |")
    cuts = _outside(source, _BAR)
    bounds = [0, *(m.end() for m in cuts)], [*(m.start() for m in cuts), len(source.text)]
    parts = [source.part(a, b) for a, b in zip(*bounds, strict=True)]
    rules = (source.tz, source.gap, source.fold)
    found = []
    for number, part in enumerate(parts):
        if not part.text:
            raise part.error("a part is missing around '|'", "write '0 9 * * 1-5 | 0 12 * * 6'")
        inner, own = _rules(part)
        if own is None:
            inner = part.part(0, rules=rules)
        elif number == 0:
            rules = own
        found.append(_part(inner, kind, depth))
    return any_of(*found)


def _outside(source: Source, mark: re.Pattern[str]) -> list[re.Match[str]]:
    """The places of ``mark`` outside of all brackets."""
    depth, levels = 0, []
    for at, letter in enumerate(source.text):
        levels.append(depth)
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            raise source.error("a bracket closes that was not opened", "take it away", at=at)
    if depth:
        raise source.error("a bracket is not closed", "write ')'", at=len(source.text))
    return [match for match in mark.finditer(source.text) if levels[match.start()] == 0]


def _rules(source: Source) -> tuple[Source, tuple[str, Gap | None, Fold | None] | None]:
    """The source after its rules, and the rules; None when it has none."""
    tz, gap, fold, at = source.tz, source.gap, source.fold, 0
    while match := _RULE.match(source.text, at):
        key, value = match[1].lower(), match[2]
        if key in _CHOICES:
            if value.lower() not in _CHOICES[key]:
                choices = " or ".join(f"{key.upper()}={choice}" for choice in _CHOICES[key])
                raise source.error(f"{value!r} is no {key} rule", f"write {choices}", at=at)
            if key == "gap":
                gap = value.lower()  # type: ignore[assignment]
            else:
                fold = value.lower()  # type: ignore[assignment]
        else:
            tz = zone_named(source, value, match.start(2))
        at = match.end()
    if at == 0:
        return source, None
    if at == len(source.text):
        raise source.error(
            "a zone, and no schedule after it", "write 'CRON_TZ=Europe/Paris 0 9 * * *'"
        )
    rules = (tz, gap, fold)
    return source.part(at, rules=rules), rules


def zone_named(source: Source, name: str, at: int) -> str:
    """The proper name of a zone. Raises ScheduleError for one that does not exist."""
    try:
        return zone(name).name
    except LookupError:
        shown = name if len(name) < 60 else name[:60] + "…"
        raise source.error(f"there is no time zone {shown!r}", hint(name), at=at) from None


def _part(source: Source, kind: Kind, depth: int) -> Schedule:
    cuts = _outside(source, _SUFFIX)
    end = cuts[0].start() if cuts else len(source.text)
    core = source.part(0, end)
    if core.text.startswith("(") and core.text.endswith(")") and _encloses(core.text):
        found = parse(core.part(1, len(core.text) - 1), kind, depth + 1)
    else:
        inner, rules = _rules(core)
        if rules is not None:
            return _part(inner, kind, depth)
        found = kind(core)
    for number, cut in enumerate(cuts):
        stop = cuts[number + 1].start() if number + 1 < len(cuts) else len(source.text)
        rest = source.part(cut.end(), stop)
        found = _suffixed(source, found, cut[1].lower(), rest)
    return found


def _encloses(text: str) -> bool:
    """Whether the first bracket closes at the very end."""
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return at == len(text) - 1
    return False


def _suffixed(source: Source, schedule: Schedule, word: str, rest: Source) -> Schedule:
    if word == "except":
        return _fires(source, without(schedule, _days_off(rest), source.tz))
    moment = moments.parse(rest)
    if moment is None:
        raise rest.error(f"{rest.text!r} is not a moment", moments.HINT)
    start, until = (moment.at, None) if word == "starting" else (None, moment.at)
    try:
        return _fires(source, bounded(schedule, start, until))
    except ScheduleError as error:
        if error.position is not None:
            raise
        raise rest.error(error.message, error.hint) from None
    except OverflowError:
        raise rest.error("that is outside the years 1 to 9999", moments.HINT) from None


def _fires(source: Source, schedule: Schedule) -> Schedule:
    """``schedule``, unless nothing is left of it. Raises ScheduleError."""
    never = schedule.next_after(source.now) is None and schedule.last_at(source.now) is None
    if never and not schedule.on_start:
        raise source.error(
            f"{source.text[:60]!r} never fires: nothing is left of it",
            "take away a bound or an exception",
        )
    return schedule


def _days_off(source: Source) -> list[Calendar]:
    """The calendars of ``except holidays:FR, works, 2026-12-25``: named, or written out."""
    known = {name.casefold(): calendar for name, calendar in (source.calendars or {}).items()}
    found: list[Calendar] = []
    written: list[str] = []
    for item in source.text.split(","):
        name = item.strip()
        calendar = known.get(name.casefold())
        if calendar is not None:
            found.append(calendar)
            continue
        try:
            written += Calendar([name]).items
        except ScheduleError as error:
            names = f"; calendars: {', '.join(sorted(known))}" if known else ""
            message = error.message if name else "a day is missing"
            raise source.error(message, (error.hint or calendars.HINT) + names, at=name) from None
    return [*found, Calendar(written)] if written else found
