"""How fast is a schedule: parse and next instant, beside croniter, cronsim and APScheduler.

    python -m benchmarks.schedules

Rows F1 and F2. *next*: compiled once, a fresh base each call (one thousand moments of 2026, an
aware datetime in Europe/Paris for the peers, in UTC for acron, whose instants always are; the
column "paris" gives acron the peers' bases too). *parse*: no text twice, so that no cache of whole
texts can help anyone. Each figure is the
median of five rounds, the libraries taking turns in each; the spread of a ratio is over rounds.
"""

from __future__ import annotations

import random
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from math import prod
from statistics import median
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from croniter import croniter
from cronsim import CronSim, CronSimError

from acron.schedules import parse

if TYPE_CHECKING:
    from collections.abc import Callable

ZONE = "Europe/Paris"
PARIS = ZoneInfo(ZONE)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROUNDS = 5
PATTERNS = (
    "* * * * *", "*/5 * * * *", "0 9 * * 1-5", "30 2 * * *", "0 0 29 2 *", "0 12 L * *",
    "*/10 * * * * *",
)  # fmt: skip

draw = random.Random(1)
BASES = [NOW + timedelta(seconds=draw.randrange(365 * 86_400)) for _ in range(1000)]
LOCAL = [base.astimezone(PARIS) for base in BASES]


def seconds_last(expression: str) -> str:
    fields = expression.split()
    return " ".join([*fields[1:], fields[0]]) if len(fields) > 5 else expression


def acron_next(expression: str, bases: list[datetime]) -> Callable[[], object]:
    schedule = parse(expression, tz=ZONE, now=NOW)
    return lambda: [schedule.next_after(base) for base in bases]


def croniter_next(expression: str) -> Callable[[], object]:
    schedule = croniter(seconds_last(expression), LOCAL[0])

    def run() -> None:
        for base in LOCAL[:200]:
            schedule.set_current(base, force=True)
            schedule.get_next(datetime)

    return run


def cronsim_next(expression: str) -> Callable[[], object]:
    schedule = CronSim(expression, LOCAL[0])

    def run() -> None:
        for base in LOCAL:
            # What its constructor does with a base, but for parsing again.
            schedule.dt = base.replace(microsecond=0)
            next(schedule)

    return run


def apscheduler_next(expression: str) -> Callable[[], object]:
    fields = expression.replace("1-5", "mon-fri").replace("L", "last").split()
    names = ["second", "minute", "hour", "day", "month", "day_of_week"]
    names = names if len(fields) > 5 else names[1:]
    trigger = CronTrigger(timezone=PARIS, **dict(zip(names, fields, strict=True)))

    def run() -> None:
        for base in LOCAL[:200]:
            trigger.get_next_fire_time(None, base)

    return run


def rate(run: Callable[[], object], calls: int) -> float:
    begin = time.perf_counter()
    run()
    return calls / (time.perf_counter() - begin)


def rounds(makers: dict[str, tuple[Callable[[], object], int]]) -> dict[str, list[float]]:
    """Calls a second of each library, once a round, taking turns."""
    found: dict[str, list[float]] = {name: [] for name in makers}
    for run, _ in makers.values():
        run()
    for _ in range(ROUNDS):
        for name, (run, calls) in makers.items():
            found[name].append(rate(run, calls))
    return found


def spread(mine: list[float], theirs: list[float]) -> str:
    ratios = sorted(a / b for a, b in zip(mine, theirs, strict=True))
    return f"{median(mine) / median(theirs):5.1f}x ({ratios[0]:.1f}-{ratios[-1]:.1f})"


def next_instants() -> None:
    print("F1  next instant, thousand calls a second; ratios to acron with their spread\n")
    print(f"{'':16}{'acron':>7}{'paris':>7}{'croniter':>10}{'cronsim':>9}{'APS3':>7}", end="")
    print(f"  {'to croniter':>18}  {'to the best peer':>18}")
    by_croniter, by_best = [], []
    for expression in PATTERNS:
        makers: dict[str, Any] = {
            "acron": (acron_next(expression, BASES), 1000),
            "paris": (acron_next(expression, LOCAL), 1000),
            "croniter": (croniter_next(expression), 200),
            "APS3": (apscheduler_next(expression), 200),
        }
        try:
            makers["cronsim"] = (cronsim_next(expression), 1000)
        except CronSimError as error:
            print(f"cronsim does not take {expression}: {error}", file=sys.stderr)
        found = rounds(makers)
        middle = {name: median(values) for name, values in found.items()}
        best = max(
            (name for name in found if name not in {"acron", "paris"}), key=middle.__getitem__
        )
        by_croniter.append(middle["acron"] / middle["croniter"])
        by_best.append(middle["acron"] / middle[best])
        row = "".join(
            f"{middle.get(name, 0) / 1000:{width}.0f}"
            for name, width in [
                ("acron", 7),
                ("paris", 7),
                ("croniter", 10),
                ("cronsim", 9),
                ("APS3", 7),
            ]
        )
        print(f"{expression:16}{row}  {spread(found['acron'], found['croniter']):>18}"
              f"  {spread(found['acron'], found[best]):>18} {best}")  # fmt: skip
    print(
        f"\ngeometric mean: {geometric(by_croniter):.1f}x croniter, {geometric(by_best):.1f}x the "
        f"best peer; never below {min(by_best):.1f}x the best peer\n"
    )


def geometric(ratios: list[float]) -> float:
    return prod(ratios) ** (1 / len(ratios))


def distinct_texts(kind: str) -> list[str]:
    """Expressions of which no two are equal, of the shape of ``kind``."""
    made: set[str] = set()
    numbers = count()
    while len(made) < 1000:
        n = next(numbers)
        minute, hour, day = n % 60, n // 60 % 24, n % 28 + 1
        made.add({
            "*/n": f"{n % 50}-59/{n % 7 + 2} {hour} * * *",
            "daily": f"{minute} {hour} * * *",
            "weekdays": f"{minute} {hour} * * MON-FRI",
            "lists": f"{minute},{(minute + 7) % 60} {hour} {day},{day % 28 + 1} 1-6 *",
            "last day": f"{minute} {hour} L * *",
        }[kind])  # fmt: skip
    return sorted(made)


def acron_parse(text: str) -> object:
    return parse(text, tz=ZONE, now=NOW)


def croniter_parse(text: str) -> object:
    return croniter(text, LOCAL[0])


def cronsim_parse(text: str) -> object:
    return CronSim(text, LOCAL[0])


def each(read: Callable[[str], object], texts: list[str]) -> None:
    for text in texts:
        read(text)


def parses() -> None:
    print("F2  parse, thousand calls a second, a thousand texts none of them twice\n")
    print(f"{'':12}{'acron':>7}{'croniter':>10}{'cronsim':>9}", end="")
    print(f"  {'to croniter':>18}  {'to cronsim':>18}")
    for kind in ("*/n", "daily", "weekdays", "lists", "last day"):
        texts = distinct_texts(kind)
        few = texts[:200]
        found = rounds({
            "acron": (partial(each, acron_parse, texts), 1000),
            "croniter": (partial(each, croniter_parse, few), 200),
            "cronsim": (partial(each, cronsim_parse, texts), 1000),
        })  # fmt: skip
        row = "".join(f"{median(found[n]) / 1000:{w}.0f}" for n, w in
                      [("acron", 7), ("croniter", 10), ("cronsim", 9)])  # fmt: skip
        print(f"{kind:12}{row}  {spread(found['acron'], found['croniter']):>18}"
              f"  {spread(found['acron'], found['cronsim']):>18}")  # fmt: skip
    print()


def repeat(run: Callable[[], object]) -> None:
    for _ in range(200):
        run()


def counts() -> None:
    print("A count costs no more for a long span (microseconds, warm and first)\n")
    for text in ("*/5 * * * *", "0 9 * * 1-5", "every 30s"):
        row = []
        for days in (1, 365, 3650):
            schedule = parse(text, tz=ZONE, now=NOW)
            until = NOW + timedelta(days=days)
            first = 1e6 / rate(partial(schedule.count, NOW, until), 1)
            warm = 1e6 / rate(partial(repeat, partial(schedule.count, NOW, until)), 200)
            row.append(f"{days:>5} days {warm:6.1f} ({first:6.1f})")
        print(f"{text:16}{'  '.join(row)}")


if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}, median of {ROUNDS} rounds, spread in brackets\n")
    next_instants()
    parses()
    counts()
