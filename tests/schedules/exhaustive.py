"""Every change of the clock in every zone, 2020 to 2030, against the minute walk; and 100,000
random texts. Takes some minutes: ``python -m tests.schedules.exhaustive [share]``.

``share`` such as ``1/2`` takes the first half of the zones only.
"""

from __future__ import annotations

import random
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import available_timezones

from tests.schedules import test_parse
from tests.schedules.oracle import Walk, changes
from tests.schedules.test_dst import EXPRESSIONS, assert_equal_to_walk

if TYPE_CHECKING:
    from acron.schedules.source import Fold, Gap

START, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
REACH = timedelta(hours=5)
RULES: list[tuple[Gap | None, Fold | None]] = [
    (None, None),
    ("shift", "last"),
    ("skip", "first"),
    ("shift", "both"),
]


def walk_all_zones(share: str) -> str:
    part, whole = map(int, share.split("/"))
    zones = sorted(available_timezones())[part - 1 :: whole]
    met = schedules = instants = 0
    for name in zones:
        for change in changes(name, START, END):
            walk = Walk(name, change - REACH, change + REACH)
            met += 1
            for expression in EXPRESSIONS:
                for gap, fold in RULES:
                    instants += assert_equal_to_walk(walk, expression, name, gap, fold)
                    schedules += 1
    return (
        f"{len(zones)} zones, {met} changes of the clock, {schedules} schedules walked, "
        f"{instants} instants compared, 0 differences"
    )


def nonsense(count: int) -> str:
    draw = random.Random(20_261_122)
    values = sum(test_parse.is_value(test_parse.nonsense(draw)) for _ in range(count))
    return f"{count} random texts: {values} values, {count - values} refusals, all with a hint"


if __name__ == "__main__":
    begin = time.monotonic()
    print(nonsense(100_000), f"({time.monotonic() - begin:.0f} s)", flush=True)  # noqa: T201
    print(walk_all_zones(sys.argv[1] if len(sys.argv) > 1 else "1/1"))  # noqa: T201
    print(f"{time.monotonic() - begin:.0f} s in all")  # noqa: T201
