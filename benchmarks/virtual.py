"""Row F15: a month in virtual time, and what the fixture ``acron_time`` adds to a test.

python -m benchmarks.virtual
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import Figures, Finding, Goals, Rounds, Size, in_child, main, plain
from benchmarks.subjects import ours

_TESTS = """
import asyncio
import pytest

@pytest.mark.parametrize("n", range({count}))
async def test_it({arguments}):
    await asyncio.sleep(0)
"""


async def month(days: float) -> Figures:
    """One job every minute and nine every hour, for so many days."""
    from acron.testing import virtual_time  # noqa: PLC0415 (in the child only)

    with virtual_time() as virtual:
        app = ours.make("memory://")
        app.clock = virtual.clock
        fired = 0

        @app.action
        async def work() -> None:
            nonlocal fired
            fired += 1

        async with app:
            await app.add("* * * * *", work)
            for number in range(9):
                await app.add(f"{number * 6 + 3} * * * *", work)
            begin = time.perf_counter()
            await virtual.advance(days=days)
            seconds = time.perf_counter() - begin
    return {"seconds": seconds, "fired": fired, "expected": days * 24 * 69}


def fixture(count: int) -> Figures:
    """Milliseconds that ``acron_time`` adds to each of ``count`` tests."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for arguments in ("n", "n, acron_time"):
            path = Path(folder, "test_many.py")
            path.write_text(_TESTS.format(count=count, arguments=arguments), encoding="utf-8")
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                       "-o", "asyncio_mode=auto", "--rootdir", folder, str(path)]  # fmt: skip
            begin = time.perf_counter()
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            seconds.append(time.perf_counter() - begin)
    return {"more_ms": 1e3 * (seconds[1] - seconds[0]) / count}


def run(size: Size) -> list[Finding]:
    days, tests = size.of(30, 1), size.of(300, 20)
    found = Rounds(
        {
            "month": in_child("benchmarks.virtual:month", size, days=days),
            "fixture": in_child("benchmarks.virtual:fixture", size, count=tests),
        },
        size,
    )
    goals = Goals("F15", f"virtual time, {days} days of ten jobs", "virtual")
    if found.each("month", "fired") != found.each("month", "expected"):
        raise RuntimeError(f"fired {found.each('month', 'fired')}")
    told = f"{found.middle('month', 'fired'):.0f} fires"
    goals.add("≤ 2 s", plain(found.each("month", "seconds")), at_most=2, unit=" s", figures=told)
    goals.add("a test with acron_time ≤ 10 ms more", plain(found.each("fixture", "more_ms")),
              at_most=10, unit=" ms", figures=f"mean of {tests} tests")  # fmt: skip
    return goals.findings


if __name__ == "__main__":
    main(run, __doc__)
