"""Rows F7 and F10: what a job weighs, and whether start and lateness grow with their number.

    python -m benchmarks.scale

F7 is resident memory per job, measured around adding them. F10 opens an SQLite store with none,
100,000 and a million jobs, until the first clean tick. Last, the lateness of a small load among
up to a million other jobs on SQLite: it has no goal of its own and must not grow.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.common import (
    Finding,
    Goals,
    Rounds,
    Size,
    aps4,
    in_child,
    main,
    plain,
    run_child,
)
from benchmarks.places import Places

OURS, APS3 = "benchmarks.subjects.ours", "benchmarks.subjects.aps3"


def weight(size: Size) -> list[Finding]:
    jobs = size.of(100_000, 1000)
    findings = []
    if size.inline:  # what a process let go of before would be used again
        size = replace(size, inline=False)
    for kind in ("once", "cron"):
        subjects = {
            "acron": in_child(f"{OURS}:memory", size, jobs=jobs, kind=kind),
            "APS3": in_child(f"{APS3}:memory", size, jobs=jobs, kind=kind),
            "APS4": aps4(size, "memory", jobs=size.of(10_000, 200), kind=kind),
        }
        if kind == "once":
            subjects["bare"] = in_child("benchmarks.subjects.bare:memory", size, jobs=jobs)
        found = Rounds(subjects, size)
        goals = Goals("F7", f"memory per {kind} job at {jobs:,}, memory store", "scale")
        told = found.table("bytes", "B")
        if kind == "once":
            got = found.ratio("bytes", "acron", "bare")
            goal = "one-shot ≤ 1.5x a slots record, dict and heap"
            goals.add(goal, got, at_most=1.5, figures=told)
        else:
            got = found.ratio("bytes", "acron", "APS3")
            goals.add("cron ≤ 1/5 of APS3", got, at_most=0.2, figures=told)
        findings += goals.findings
    return findings


def ready(size: Size, stores: dict[int, str]) -> list[Finding]:
    subjects = {
        f"{jobs:,}": in_child(f"{OURS}:ready", size, store=store) for jobs, store in stores.items()
    }
    found = Rounds(subjects, size)
    goals = Goals("F10", "ready after start, SQLite", "scale")
    told = f"{found.table('ms', 'ms')}; {found.table('mb', 'MB')}"
    none = found.each("0", "ms")
    for name in list(found.found)[1:]:
        more = plain([a - b for a, b in zip(found.each(name, "ms"), none, strict=True)])
        goals.add(f"{name} jobs: ≤ 20 ms more than none", more, at_most=20, unit=" ms",
                  figures=told)  # fmt: skip
        pairs = zip(found.each(name, "mb"), found.each("0", "mb"), strict=True)
        # "Flat": a page cache and a plan, but nothing for each job.
        goals.add(f"{name} jobs: ≤ 5 MB more than none", plain([a - b for a, b in pairs]),
                  at_most=5, unit=" MB", figures=told)  # fmt: skip
    return goals.findings


def growth(size: Size, stores: dict[int, str]) -> None:
    """Print the lateness of 100 fires a second beside the jobs that each store holds."""
    steady = partial(in_child, f"{OURS}:steady", size)
    load: dict[str, Any] = {"jobs": size.of(100, 20), "period": 0.2 if size.quick else 1.0,
            "seconds": size.seconds(10)}  # fmt: skip
    subjects = {
        f"{jobs:,} on SQLite": steady(store=store, **load) for jobs, store in stores.items()
    }
    found = Rounds(subjects, size)
    print(f"     lateness among many, p99: {found.table('p99_ms', 'ms')}")


def run(size: Size) -> list[Finding]:
    findings = weight(size)
    counts = (0, 200, 400) if size.quick else (0, 1000, 100_000, 1_000_000)
    with Places() as places:
        stores = {count: places.fresh("sqlite") for count in counts}
        for count, store in stores.items():
            run_child(f"{OURS}:fill", size, store=store, jobs=count)
        goals = {count: stores[count] for count in counts if count != 1000}
        findings += ready(size, goals)
        if not size.quick:
            growth(size, stores)
    return findings


if __name__ == "__main__":
    main(run, __doc__)
