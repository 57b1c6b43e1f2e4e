"""Row F14: the CPU of doing nothing, with 100,000 jobs due far in the future.

    python -m benchmarks.idle

Beside a process that does nothing but wake up once a second.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.common import Finding, Goals, Rounds, Size, in_child, main, run_child
from benchmarks.places import Places
from benchmarks.subjects import ours


async def in_memory(jobs: int, seconds: float) -> dict[str, float]:
    """The same with the memory store, which must be filled by the process that idles."""
    from acron.stores import open_store  # noqa: PLC0415 (in the child only)

    store = open_store("memory://", Path())
    app = ours.make(store)
    async with app.attached():
        await ours.add_all(app, ours.far("once", jobs))
    return await ours.idle(seconds, store)


def run(size: Size) -> list[Finding]:
    jobs, seconds = size.of(100_000, 300), size.seconds(30)
    goals = Goals("F14", f"idle with {jobs:,} far-future jobs", "idle")
    idle = "benchmarks.subjects.ours:idle"
    with Places() as places:
        durable = {kind: places.fresh(kind) for kind in ("json", "sqlite")}
        for store in durable.values():
            run_child("benchmarks.subjects.ours:fill", size, store=store, jobs=jobs)
        subjects = {
            "once a second": in_child("benchmarks.subjects.bare:idle", size, seconds=seconds),
            "memory": in_child("benchmarks.idle:in_memory", size, jobs=jobs, seconds=seconds),
            **{kind: in_child(idle, size, seconds=seconds, store=store)
               for kind, store in durable.items()},
        }  # fmt: skip
        found = Rounds(subjects, size)
    told = found.table("cpu_ms_per_s", "ms/s")
    for kind in ("memory", "json", "sqlite"):
        got = found.ratio("cpu_ms_per_s", kind, "once a second")
        goals.add(f"{kind} ≤ 2x waking once a second", got, at_most=2, figures=told)
    return goals.findings


if __name__ == "__main__":
    main(run, __doc__)
