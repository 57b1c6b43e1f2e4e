"""Rows F6 and F8: how fast jobs are added, one at a time and many at once.

    python -m benchmarks.add

Each scheduler is running meanwhile. One-shots are all due at different instants of 2099; crons
have the 1,440 minutes of a day. On SQLite each add of one caller is a commit of its own; callers
who add at the same time share commits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.common import Figures, Finding, Goals, Rounds, Size, aps4, in_child, main, run_child
from benchmarks.places import Places, sqlite_mode

if TYPE_CHECKING:
    from collections.abc import Callable

OURS, APS3 = "benchmarks.subjects.ours:add", "benchmarks.subjects.aps3:add"


def in_memory(size: Size, kind: str) -> list[Finding]:
    jobs = size.of(20_000, 200)
    subjects = {
        "add": in_child(OURS, size, jobs=jobs, kind=kind),
        "add_many": in_child(OURS, size, jobs=jobs, kind=kind, many=True),
        "APS3": in_child(APS3, size, jobs=size.of(10_000, 200), kind=kind),
        "APS4": aps4(size, "add", jobs=size.of(5000, 100), kind=kind),
    }
    if kind == "once":
        subjects["bare"] = in_child("benchmarks.subjects.bare:add", size, jobs=jobs)
    found = Rounds(subjects, size)
    goals = Goals("F6", f"adds of {kind} jobs, memory store", "add")
    told = found.table("rate", "jobs/s")
    for verb, limit in (("add", 2), ("add_many", 6)):
        got = found.ratio("rate", verb, "APS3")
        goals.add(f"{verb}, {kind}, ≥ {limit}x APS3", got, at_least=limit, figures=told)
    return goals.findings


def on_sqlite(size: Size, places: Places) -> list[Finding]:
    jobs = size.of(1000, 30)
    modes: dict[str, str] = {}

    def ours(callers: int) -> Callable[[], Figures]:
        def run() -> Figures:
            path = places.file("jobs.db")
            load: dict[str, Any] = {"jobs": jobs * min(callers, 5), "kind": "once"}
            figures = run_child(OURS, size, **load, callers=callers, store=f"sqlite:///{path}")
            modes["acron"] = sqlite_mode(path)
            return figures

        return run

    def theirs(journal: str) -> Callable[[], Figures]:
        def run() -> Figures:
            path = places.file("aps3.db")
            figures = run_child(APS3, size, jobs=jobs, kind="once", path=path, journal=journal)
            modes[f"APS3 {journal}"] = sqlite_mode(path)
            return figures

        return run

    found = Rounds(
        {
            "acron": ours(1),
            "acron, 100 callers": ours(100),
            "APS3 wal": theirs("wal"),
            "APS3 delete": theirs("delete"),
        },
        size,
    )
    goals = Goals("F8", "SQLite, single adds", "add")
    told = found.table("rate", "adds/s")
    told += "; " + ", ".join(f"{name}: {mode}" for name, mode in modes.items())
    for peer in ("APS3 wal", "APS3 delete"):
        if peer in found:
            for who in ("acron", "acron, 100 callers"):
                got = found.ratio("rate", who, peer)
                goals.add(f"{who}: add ≥ 10x {peer}", got, at_least=10, figures=told)
    return goals.findings


def run(size: Size) -> list[Finding]:
    with Places() as places:
        return in_memory(size, "once") + in_memory(size, "cron") + on_sqlite(size, places)


if __name__ == "__main__":
    main(run, __doc__)
