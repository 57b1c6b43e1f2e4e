"""Measure acron and its peers: all, or the benchmarks named.

    python -m benchmarks                # all, into the docs
    python -m benchmarks herd idle
    python -m benchmarks --quick        # tiny sizes; writes nothing

Each prints its findings as they come. With ACRON_BENCH_APS4, the Python of an environment that
has APScheduler 4, that peer takes part; ACRON_BENCH_DIR says on which disk the stores lie.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from datetime import UTC, datetime
from importlib import import_module

from benchmarks.common import ROOT, Finding, arguments, size_of
from benchmarks.page import write

#: In the order of their rows. F1 and F2 are ``benchmarks.schedules``, which prints tables.
NAMES = (
    "herd", "fire", "add", "scale", "json_store", "uvloop_timers", "idle", "virtual", "startup",
    "nats",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    arguments(parser)
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"no benchmark is named {', '.join(sorted(unknown))}")
    size = size_of(given)
    findings: list[Finding] = []
    failed: list[str] = []
    for name in given.names or NAMES:
        try:
            found = import_module(f"benchmarks.{name}").run(size)
        except Exception:  # noqa: BLE001 (the others are worth their half hour all the same)
            traceback.print_exc()
            failed.append(name)
            continue
        findings += found
        if not size.quick:  # what is measured is kept, whatever becomes of the rest
            write(ROOT / "docs", found, datetime.now(UTC).date().isoformat())
    missed = sum(not one.reached for one in findings)
    print(f"{len(findings)} goals, {missed} of them not reached", file=sys.stderr)
    if failed:
        sys.exit(f"could not be measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
