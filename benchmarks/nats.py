"""Rows F17 to F19: NATS as a trigger, with two consumers.

    python -m benchmarks.nats

A nats-server of our own, the jobs in PostgreSQL, and nats-py taking the same messages beside it.
nats-py alone is late by up to 250 ms: so often does the server look at its schedules. acron asks
for a trigger a second before, and waits here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.common import (
    Figures,
    Finding,
    Goals,
    Rounds,
    Size,
    in_child,
    main,
    plain,
    run_child,
)
from benchmarks.places import Places
from tests.nats_server import nats_servers

if TYPE_CHECKING:
    from collections.abc import Callable

SUBJECT = "benchmarks.subjects.by_nats"


def run(size: Size) -> list[Finding]:
    kind = "memory" if size.inline else "postgresql"

    def fires(places: Places, jobs: int, gap: float, lead: float) -> Callable[[], Figures]:
        def once() -> Figures:
            with nats_servers() as (nats,):
                load: dict[str, Any] = {"jobs": jobs, "gap": gap, "lead": lead}
                return run_child(
                    f"{SUBJECT}:fires", size, nats=nats.url, store=places.fresh(kind), **load
                )

        return once

    with nats_servers() as (nats,), Places() as places:
        herd: dict[str, Any] = {
            "jobs": size.of(2000, 20),
            "gap": 0.0,
            "lead": 0.6 if size.inline else 5.0,
        }
        jobs, seconds = size.of(2000, 40), size.seconds(10)
        steady: dict[str, Any] = {"jobs": jobs, "gap": seconds / jobs, "lead": herd["lead"]}
        many = size.of(50_000, 200)
        at_once = Rounds(
            {
                "acron": fires(places, **herd),
                "nats-py": in_child(f"{SUBJECT}:raw_fires", size, nats=nats.url, **herd),
            },
            size,
        )
        spread = Rounds(
            {
                "acron": fires(places, **steady),
                "nats-py": in_child(f"{SUBJECT}:raw_fires", size, nats=nats.url, **steady),
            },
            size,
        )
        armed = Rounds(
            {
                "acron": in_child(f"{SUBJECT}:arms", size, nats=nats.url, jobs=many),
                "nats-py": in_child(f"{SUBJECT}:raw_arms", size, nats=nats.url, jobs=many),
            },
            size,
        )
    return _herd(at_once, int(herd["jobs"])) + _steady(spread) + _arms(armed)


def _herd(found: Rounds, jobs: int) -> list[Finding]:
    goals = Goals("F17", f"NATS: {jobs:,} due at one instant, two nodes, PostgreSQL", "nats")
    told = found.table("last", "s")
    got = plain(found.each("acron", "last"))
    goals.add("all begun within 1 s", got, at_most=1, unit=" s", figures=told)
    got = found.ratio("last", "acron", "nats-py")
    goals.add("≤ 3x nats-py, which claims nothing", got, at_most=3, figures=told)
    got = plain(found.each("acron", "lost"))
    goals.add("none lost", got, at_most=0, unit="", figures=told)
    return goals.findings


def _steady(found: Rounds) -> list[Finding]:
    goals = Goals("F18", "NATS: 200 fires/s, two nodes, PostgreSQL", "nats")
    told = found.table("p99_ms", "ms p99")
    got = plain(found.each("acron", "p99_ms"))
    goals.add("lateness p99 ≤ 25 ms", got, at_most=25, unit=" ms", figures=told)
    got = found.ratio("p99_ms", "acron", "nats-py")
    goals.add("≤ 0.2x nats-py", got, at_most=0.2, figures=told)
    return goals.findings


def _arms(found: Rounds) -> list[Finding]:
    goals = Goals("F19", "NATS: instants armed by two nodes, each acknowledged", "nats")
    told = found.table("rate", "/s")
    got = plain(found.each("acron", "rate"))
    goals.add("≥ 5,000 a second", got, at_least=5000, unit="/s", figures=told)
    got = found.ratio("rate", "acron", "nats-py")
    goals.add("≥ half of nats-py", got, at_least=0.5, figures=told)
    return goals.findings


if __name__ == "__main__":
    main(run, __doc__)
