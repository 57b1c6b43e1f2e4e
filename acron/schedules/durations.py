"""Lengths of time in words: ``90``, ``90s``, ``1h30m``, ``2 days``, ``PT45M``."""

from __future__ import annotations

import math
import re
from datetime import timedelta

from acron.errors import ScheduleError

HINT = "write a length of time such as 90s, 5m, 1h30m, 2 days or PT45M"

#: Microseconds in each unit.
_UNITS = {
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_WORDS = {
    word: unit
    for unit, words in {
        "ms": "ms msec msecs millisecond milliseconds",
        "s": "s sec secs second seconds",
        "m": "m min mins minute minutes",
        "h": "h hr hrs hour hours",
        "d": "d day days",
        "w": "w wk wks week weeks",
    }.items()
    for word in words.split()
}
_PIECE = re.compile(r"\s*(\d+(?:\.\d+)?|\ban?\b)\s*([a-z]+)\s*(?:,\s*|and\s+)?", re.ASCII)
_ISO = re.compile(
    r"p(?:(\d+(?:\.\d+)?)w)?(?:(\d+(?:\.\d+)?)d)?"
    r"(?:t(?=\d)(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?)?",
    re.ASCII,
)
_ISO_UNITS = ("w", "d", "h", "m", "s")

#: The longest that a ``timedelta`` holds and a calendar could need: 10,000 years.
MAX_MICROSECONDS = 10_000 * 366 * _UNITS["d"]


def microseconds(text: str) -> tuple[int, frozenset[str]] | None:
    """The length in microseconds and the units used, or None when ``text`` is not a length.

    ``text`` is in lower case. Units are ``ms s m h d w``; zero is a length.
    """
    if text.startswith("p"):
        iso = _ISO.fullmatch(text)
        if iso is None or not any(iso.groups()):
            return None
        pieces = [(n, unit) for n, unit in zip(iso.groups(), _ISO_UNITS, strict=True) if n]
    else:
        pieces, position = [], 0
        while position < len(text):
            piece = _PIECE.match(text, position)
            if piece is None or piece[2] not in _WORDS:
                return None
            pieces.append((piece[1], _WORDS[piece[2]]))
            position = piece.end()
        if not pieces or text.rstrip().endswith(","):
            return None
    units = [unit for _, unit in pieces]
    if len(set(units)) != len(units):
        return None
    return sum(_exact(number, _UNITS[unit]) for number, unit in pieces), frozenset(units)


def _exact(number: str, unit: int) -> int:
    """``number`` times ``unit``, rounded down, in integers."""
    whole, _, part = ("1" if number in {"a", "an"} else number).partition(".")
    return int(whole) * unit + (int(part) * unit // 10 ** len(part) if part else 0)


def duration(text: str | float | timedelta) -> float:
    """Seconds in ``text``: a number of seconds, a ``timedelta`` or words.

    Raises ScheduleError for what is no length, is not positive, or is beyond 10,000 years.
    """
    if isinstance(text, timedelta):
        value = text.total_seconds()
    elif isinstance(text, (int, float)) and not isinstance(text, bool):
        value = float(text) if abs(text) < MAX_MICROSECONDS else math.inf
    elif isinstance(text, str):
        value = _words(text)
    else:
        raise ScheduleError(f"{text!r} is not a length of time", text=repr(text), hint=HINT)
    if not 0 < value <= MAX_MICROSECONDS / 1e6:
        size = "too long" if value > 0 else "not longer than zero"
        raise ScheduleError(f"{str(text)[:50]!r} is {size}", text=str(text), position=0, hint=HINT)
    return value


def _words(text: str) -> float:
    lowered = text.strip().lower()
    if lowered.isascii() and re.fullmatch(r"-?\d{1,20}(\.\d{1,20})?", lowered):
        return float(lowered)
    found = microseconds(lowered) if lowered.isascii() and len(lowered) <= 100 else None
    if found is None:
        raise ScheduleError(
            f"{text[:50]!r} is not a length of time", text=text, position=0, hint=HINT
        )
    return found[0] / 1e6


def spell(length: int) -> str:
    """The shortest text of ``length`` microseconds, exact: ``1h30m``, ``2.5s``, ``48h``."""
    rest, words = length, ""
    for unit in ("h", "m"):
        n, rest = divmod(rest, _UNITS[unit])
        if n:
            words += f"{n}{unit}"
    if rest:
        whole, micro = divmod(rest, 1_000_000)
        words += f"{whole}.{micro:06d}".rstrip("0") + "s" if micro else f"{whole}s"
    return words or "0s"


def words(length: int) -> str:
    """``length`` microseconds in words: ``1 hour 30 minutes``, ``minute`` for one minute."""
    rest, said = length, []
    for unit, name in (("d", "day"), ("h", "hour"), ("m", "minute")):
        n, rest = divmod(rest, _UNITS[unit])
        if n:
            said.append((n, name))
    text = [f"{n} {name}{'s' if n > 1 else ''}" for n, name in said]
    if rest:
        amount = spell(rest)[:-1]
        text.append(f"{amount} second{'' if amount == '1' else 's'}")
    return text[0].removeprefix("1 ") if len(text) == 1 else " ".join(text)
