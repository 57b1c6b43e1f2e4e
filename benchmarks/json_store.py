"""Row F11: jobs.json with 10,000 jobs: loading it, and one tick that fires 100 of them.

    python -m benchmarks.json_store

The load is ``open``, beside msgspec decoding the same bytes without looking at what they mean.
The loop's lag is the longest that a task which only yields had to wait, from the tick until all
ends were durable. Such a task keeps the interpreter's lock, for which the store's thread then waits
5 ms each time it comes back from the disk: the tick is timed without it, in another process.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


async def load(store: str) -> Figures:
    import msgspec  # noqa: PLC0415 (measured, like the next one, in the child only)

    from acron.clock import SystemClock  # noqa: PLC0415
    from acron.stores import open_store  # noqa: PLC0415

    content = Path(store).read_bytes()  # noqa: ASYNC240 (nothing else runs)
    begin = time.perf_counter()
    decoded = msgspec.json.decode(content)
    floor = time.perf_counter() - begin
    del decoded
    keeper = open_store(store, Path())
    begin = time.perf_counter()
    await keeper.open(SystemClock().now())
    seconds = time.perf_counter() - begin
    await keeper.close()
    return {"open": 1e3 * seconds, "decode": 1e3 * floor}


async def tick(store: str, jobs: int, due: int, *, watched: bool = False) -> Figures:
    """Fire ``due`` of ``jobs`` jobs in one tick; ``watched``: with an eye on the loop's lag."""
    from benchmarks.subjects import ours  # noqa: PLC0415 (in the child only)

    ended = 0
    all_ended = asyncio.Event()

    def count(more: int) -> None:
        nonlocal ended
        ended += more
        if ended >= due:
            all_ended.set()

    app = ours.make(ours.counting(store, count))

    @app.action
    async def work() -> None:
        pass

    at = time.time() + 0.5 + jobs * ours.COST

    def rows() -> Iterator[dict[str, Any]]:
        for number, row in enumerate(ours.far("once", jobs)):
            yield {**row, "schedule": ours.spell(at)} if number < due else row

    async with app.attached(firing=True):
        await app.add_many(rows())
        definitions = written(store)
        await asyncio.sleep(max(at - time.time(), 0.0) + 0.01)
        watch = asyncio.create_task(lag(all_ended)) if watched else None
        await asyncio.sleep(0)
        begin = time.perf_counter()
        started = await app.tick()
        seconds = time.perf_counter() - begin
        await all_ended.wait()
        whole = time.perf_counter() - begin
        rewritten = written(store) != definitions
        return {
            "tick": 1e3 * seconds,
            "whole": 1e3 * whole,
            "lag": 0.0 if watch is None else 1e3 * await watch,
            "started": started,
            "rewritten": float(rewritten),
        }


def written(store: str) -> int:
    return Path(store).stat().st_mtime_ns


async def lag(until: asyncio.Event) -> float:
    worst, last = 0.0, time.perf_counter()
    while not until.is_set():
        await asyncio.sleep(0)
        now = time.perf_counter()
        worst, last = max(worst, now - last), now
    return worst


def run(size: Size) -> list[Finding]:
    jobs, due = size.of(10_000, 300), size.of(100, 10)
    goals = Goals("F11", f"jobs.json with {jobs:,} jobs", "json_store")
    with Places() as places:

        def ticking(*, watched: bool) -> Callable[[], Figures]:
            def run() -> Figures:
                target, store = "benchmarks.json_store:tick", places.fresh("json")
                return run_child(target, size, store=store, jobs=jobs, due=due, watched=watched)

            return run

        full = places.fresh("json")
        run_child("benchmarks.subjects.ours:fill", size, store=full, jobs=jobs)
        found = Rounds(
            {
                "load": in_child("benchmarks.json_store:load", size, store=full),
                "tick": ticking(watched=False),
                "watched": ticking(watched=True),
            },
            size,
        )
    times = [a / b for a, b in zip(found.each("load", "open"), found.each("load", "decode"),
                                   strict=True)]  # fmt: skip
    told = f"open {found.middle('load', 'open'):.1f} ms, "
    told += f"decode {found.middle('load', 'decode'):.1f} ms"
    goals.add("load ≤ 2x msgspec decoding it", plain(times), at_most=2, figures=told)
    told = f"{due} fired, until the last end is durable {found.middle('tick', 'whole'):.1f} ms; "
    told += "jobs.json rewritten" if any(found.each("tick", "rewritten")) else "no rewrite"
    if set(found.each("tick", "started")) != {due}:
        raise RuntimeError(f"not all {due} were fired: {found.each('tick', 'started')}")
    goals.add("tick ≤ 10 ms", plain(found.each("tick", "tick")), at_most=10, unit=" ms",
              figures=told)  # fmt: skip
    goals.add("loop lag ≤ 5 ms", plain(found.each("watched", "lag")), at_most=5, unit=" ms",
              figures=told)  # fmt: skip
    return goals.findings


if __name__ == "__main__":
    main(run, __doc__)
