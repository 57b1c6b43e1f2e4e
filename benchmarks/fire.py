"""Rows F4, F5, F8, F9, F13: what a fire costs, how many a second, and how late they are.

    python -m benchmarks.fire

F4 twice: 2,000 jobs due together at each whole second, and evenly spread, where waking up (which
everybody must) is most of the cost. F8 and F9 are herds: due at one instant, timed until the last
end is committed. Every load counts what should have fired and did not: on a machine that starves
it, acron skips an instant that the job's next one has overtaken, and its ledger says so.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.common import (
    Figures,
    Finding,
    Goals,
    Rounds,
    Size,
    SkippedError,
    aps4,
    in_child,
    main,
    plain,
    run_child,
)
from benchmarks.places import Places, postgres_mode, sqlite_mode

if TYPE_CHECKING:
    from collections.abc import Callable

BARE, OURS = "benchmarks.subjects.bare", "benchmarks.subjects.ours"
APS3, RAW = "benchmarks.subjects.aps3", "benchmarks.subjects.raw"


def cpu(size: Size) -> list[Finding]:
    found_all = []
    jobs, seconds, period = size.of(10_000, 40), size.seconds(10), 0.2 if size.quick else 5.0
    grains = {"together at whole seconds": min(period, 1.0), "evenly spread": 0.0}
    for how, grain in list(grains.items())[: 1 if size.quick else 2]:
        load: dict[str, Any] = {"jobs": jobs, "period": period, "seconds": seconds, "grain": grain}
        asked = f"CPU per fire, {jobs:,} interval jobs at {jobs / period:,.0f} fires/s, {how}"
        goals = Goals("F4", asked, "fire")
        found = Rounds(
            {
                "bare": in_child(f"{BARE}:steady", size, **load),
                "acron": in_child(f"{OURS}:steady", size, **load),
                "APS3": in_child(f"{APS3}:steady", size, **load),
                "APS4": aps4(size, "steady", **load),
            },
            size,
        )
        told = f"{found.table('cpu_us', 'µs')}; {_lost(found)}"
        goals.add("≤ 2x bare", found.ratio("cpu_us", "acron", "bare"), at_most=2, figures=told)
        for peer, limit in (("APS3", 2.2), ("APS4", 8)) if grain else ():
            if peer in found:
                got = found.ratio("cpu_us", peer, "acron")
                goals.add(f"below {peer} by ≥ {limit}x", got, at_least=limit, figures=told)
        found_all += goals.findings
    return found_all


def saturation(size: Size) -> list[Finding]:
    jobs, seconds, period = size.of(20_000, 40), size.seconds(15), 0.2 if size.quick else 1.0
    load: dict[str, Any] = {"jobs": jobs, "period": period, "seconds": seconds}
    goals = Goals("F5", f"{jobs / period:,.0f} fires/s for {seconds} s, memory store", "fire")
    subjects = {
        "bare": in_child(f"{BARE}:steady", size, **load),
        "acron": in_child(f"{OURS}:steady", size, **load),
    }
    found = Rounds(subjects, size)
    told = f"{found.table('p99_ms', 'ms p99')}; {_lost(found)}"
    goals.add("none lost", plain(found.each("acron", "lost")), at_most=0, unit="", figures=told)
    got = found.ratio("p99_ms", "acron", "bare")
    goals.add("lateness p99 ≤ 2x bare", got, at_most=2, figures=told)
    return goals.findings


def _lost(found: Rounds) -> str:
    """``lost 0``, or of all rounds how many the ledger tells of as skipped."""
    lost, skips = (sum(found.each("acron", key)) for key in ("lost", "skips"))
    return f"lost {lost:.0f}" + (f", {skips:.0f} of them told as skips" if lost else "")


def lateness(size: Size, places: Places) -> list[Finding]:
    jobs, seconds, period = size.of(5000, 40), size.seconds(10), 0.2 if size.quick else 5.0
    few: dict[str, Any] = {"jobs": jobs // 5, "period": period, "seconds": seconds}
    load: dict[str, Any] = {**few, "jobs": jobs}

    def on(kind: str) -> Callable[[], Figures]:
        target = f"{OURS}:steady"
        return lambda: run_child(target, size, store=places.fresh(kind), **load)

    def on_postgres_4() -> Figures:
        return aps4(size, "steady", url=places.database(), **few)()

    subjects = {
        "bare": in_child(f"{BARE}:steady", size, **load),
        "memory": on("memory"),
        "json": on("json"),
        "sqlite": on("sqlite"),
        "postgresql": on("postgresql"),
        "APS3 memory": in_child(f"{APS3}:steady", size, **load),
        "APS3 sqlite at a fifth": lambda: run_child(
            f"{APS3}:steady", size, path=places.file("aps3.db"), **few
        ),
        "APS4 memory": aps4(size, "steady", **load),
        "APS4 postgresql at a fifth": on_postgres_4,
    }
    if size.inline:
        subjects = {name: subjects[name] for name in ("bare", "sqlite")}
    elif size.quick:
        del subjects["APS3 memory"], subjects["APS4 memory"]
    found = Rounds(subjects, size)
    goals = Goals("F13", f"lateness at {jobs / period:,.0f} fires/s, p99", "fire")
    told = found.table("p99_ms", "ms")
    lost = [f"{name} {n:.0f}" for name in found.found if (n := found.middle(name, "lost"))]
    told += f"; lost: {', '.join(lost) or 'none'}"
    # The goals for databases are milliseconds where bare has a p99 of 1.1.
    for kind, times in (("memory", 1.5), ("sqlite", 5 / 1.1), ("postgresql", 10 / 1.1)):
        if kind in found:
            got = found.ratio("p99_ms", kind, "bare")
            goals.add(f"{kind} ≤ {times:.2g}x bare", got, at_most=times, figures=told)
    return goals.findings


def on_sqlite(size: Size, places: Places) -> list[Finding]:
    jobs = size.of(10_000, 200)
    few = size.of(1000, 50)
    modes: dict[str, str] = {}

    def ours() -> Figures:
        path = places.file("jobs.db")
        figures = run_child(f"{OURS}:herd", size, jobs=jobs, store=f"sqlite:///{path}")
        modes["acron"] = sqlite_mode(path)
        return figures

    def theirs(journal: str) -> Callable[[], Figures]:
        def run() -> Figures:
            path = places.file("aps3.db")
            figures = run_child(f"{APS3}:herd", size, jobs=few, path=path, journal=journal)
            modes[f"APS3 {journal}"] = sqlite_mode(path)
            return figures

        return run

    subjects = {"acron": ours, "APS3 wal": theirs("wal"), "APS3 delete": theirs("delete")}
    if size.inline:
        del subjects["APS3 delete"]
    found = Rounds(subjects, size)
    goals = Goals("F8", f"SQLite, durable fire end to end ({jobs:,} at one instant)", "fire")
    told = found.table("rate", "fires/s")
    told += "; " + ", ".join(f"{name}: {mode}" for name, mode in modes.items())
    for peer in ("APS3 wal", "APS3 delete"):
        if peer in found:
            got = found.ratio("rate", "acron", peer)
            goals.add(f"≥ 30x {peer}", got, at_least=30, figures=told)
    return goals.findings


def cluster(size: Size, store: str, nodes: int, jobs: int) -> Figures:
    """``nodes`` processes share a herd on ``store``."""
    lead = size.of(5, 3) + jobs * 5e-4
    at = round(time.time() + lead, 1)
    run_child(f"{OURS}:add_herd", size, store=store, jobs=jobs, at=at)
    with ThreadPoolExecutor(nodes) as pool:
        quiet = 0.5 if size.quick else 3.0
        one = in_child(f"{OURS}:node", size, store=store, at=at, quiet=quiet)
        figures = [future.result() for future in [pool.submit(one) for _ in range(nodes)]]
    if any(one["late"] > 0 for one in figures):
        raise RuntimeError(f"{nodes} nodes were not ready in time: {figures}")
    seconds = max(one["last"] for one in figures) - at
    started = sum(one["started"] for one in figures)
    ended = sum(one["ended"] for one in figures)
    return {
        "rate": ended / seconds,
        "double": max(started - jobs, 0.0),
        "lost": max(jobs - ended, 0.0),
        "least": min(one["ended"] for one in figures) / (jobs / nodes),
    }


def on_postgres(size: Size, places: Places) -> list[Finding]:
    jobs = size.of(20_000, 200)
    try:
        mode = postgres_mode(places.database())
    except SkippedError as why:
        print(f"skipped F9: {why}")
        return []

    def nodes(many: int) -> Callable[[], Figures]:
        return lambda: cluster(size, places.fresh("postgresql"), many, jobs)

    url = places.database()
    found = Rounds(
        {
            "one node": nodes(1),
            "four nodes": nodes(4),
            "raw asyncpg": in_child(f"{RAW}:claim_and_complete", size, url=url, jobs=jobs),
            "APS4": aps4(size, "herd", url=url, jobs=size.of(1000, 50)),
        },
        size,
    )
    goals = Goals("F9", f"PostgreSQL, durable fire end to end ({jobs:,} at one instant)", "fire")
    told = f"{found.table('rate', 'fires/s')}; {mode}"
    if "APS4" in found:
        got = found.ratio("rate", "one node", "APS4")
        goals.add("one node ≥ 25x APS4", got, at_least=25, figures=told)
    got = found.ratio("rate", "one node", "raw asyncpg")
    goals.add("one node ≥ 1/3 of raw batches of 500", got, at_least=1 / 3, figures=told)
    got = found.ratio("rate", "four nodes", "one node")
    goals.add("four nodes ≥ one node", got, at_least=1, figures=told)
    shares = f"{told}; four nodes, the least busy: {found.middle('four nodes', 'least'):.2f}"
    got = plain(found.each("four nodes", "least"))
    goals.add("no node under half its share", got, at_least=0.5, unit="", figures=shares)
    wrong = [
        median(found.each(name, "double")) + median(found.each(name, "lost"))
        for name in ("one node", "four nodes")
    ]
    goals.add("no double, none lost", plain(wrong), at_most=0, unit="", figures=told)
    return goals.findings


def run(size: Size) -> list[Finding]:
    with Places() as places:
        findings = cpu(size) + saturation(size) + on_sqlite(size, places)
        if not size.inline:  # those need more than one process
            findings += on_postgres(size, places)
        return findings + lateness(size, places)


if __name__ == "__main__":
    main(run, __doc__)
