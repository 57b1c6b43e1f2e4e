"""What all benchmarks share: runs in turns, ratios with their spread, findings against goals."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from benchmarks.child import call

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
#: The Python of an environment that has APScheduler 4, a pre-release that excludes APScheduler 3.
APS4 = os.environ.get("ACRON_BENCH_APS4")
#: Where files are made for the durable stores; say another place to measure another disk.
PLACE = os.environ.get("ACRON_BENCH_DIR")

Figures = dict[str, float]


class SkippedError(Exception):
    """A subject that cannot be measured here."""


@dataclass(frozen=True)
class Size:
    """How much to measure. ``inline`` measures in this process, which is fast and rough."""

    rounds: int = 3
    quick: bool = False
    inline: bool = False

    def of(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def seconds(self, full: float) -> float:
        return 0.4 if self.quick else full  # a few periods: a busy machine misses one


class Ratio(Struct, frozen=True):
    """The median of one thing over that of another, and the least and the largest of a round."""

    value: float
    low: float
    high: float


class Finding(Struct, frozen=True, kw_only=True):
    """One goal of a row, and what was reached. ``unit`` "x" is a ratio."""

    row: str
    question: str
    goal: str
    limit: float
    at_most: bool
    got: Ratio
    unit: str = "x"
    figures: str = ""
    command: str = ""

    @property
    def reached(self) -> bool:
        return self.got.value <= self.limit if self.at_most else self.got.value >= self.limit

    @property
    def headroom(self) -> float:
        """How many times better than the goal."""
        # Below a hundredth of a unit there is nothing to compare.
        value = max(self.got.value, 0.01)
        return self.limit / value if self.at_most else value / self.limit

    def text(self) -> str:
        got = self.got
        return f"{number(got.value)}{self.unit} ({number(got.low)} to {number(got.high)})"


def number(value: float) -> str:
    """Three digits that count."""
    if value != value or abs(value) >= 100:  # noqa: PLR0124 (not a number)
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def ratio(mine: Sequence[float], theirs: Sequence[float]) -> Ratio:
    rounds = [a / b for a, b in zip(mine, theirs, strict=True) if b]
    if not rounds:
        return Ratio(float("inf"), float("inf"), float("inf"))
    return Ratio(median(mine) / (median(theirs) or float("nan")), min(rounds), max(rounds))


def plain(values: Sequence[float]) -> Ratio:
    return Ratio(median(values), min(values), max(values))


def run_child(
    target: str, size: Size, *, python: str | None = None, timeout: float = 900, **options: Any
) -> Figures:
    """What ``module:function`` gives in a process of its own. Raises SkippedError."""
    with tempfile.TemporaryDirectory(prefix="acron-bench-home-") as home:
        if size.inline and python is None:
            figures = call(target, options)
        else:
            environ = {key: one for key, one in os.environ.items() if not key.startswith("ACRON_")}
            done = subprocess.run(
                [python or sys.executable, "-m", "benchmarks.child", target, json.dumps(options)],
                cwd=ROOT,
                env=environ | {"ACRON_HOME": home},
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"{target} {options}:\n{done.stderr[-2000:]}")
            figures = json.loads(done.stdout.splitlines()[-1])
    if "skipped" in figures:
        raise SkippedError(f"{target}: {figures['skipped']}")
    return figures


def in_child(
    target: str, size: Size, *, python: str | None = None, **options: Any
) -> Callable[[], Figures]:
    return lambda: run_child(target, size, python=python, **options)


def aps4(size: Size, function: str, **options: Any) -> Callable[[], Figures]:
    """APScheduler 4 in its own environment."""

    def run() -> Figures:
        if APS4 is None or size.inline:
            raise SkippedError("APScheduler 4: ACRON_BENCH_APS4 names no Python")
        return run_child(f"benchmarks.subjects.aps4:{function}", size, python=APS4, **options)

    return run


class Rounds:
    """Figures of each subject, once a round, the subjects taking turns.

    A subject that cannot be measured is named on standard error, and is then missing.
    """

    def __init__(self, subjects: Mapping[str, Callable[[], Figures]], size: Size) -> None:
        self.found: dict[str, list[Figures]] = {name: [] for name in subjects}
        missing: set[str] = set()
        for _ in range(size.rounds):
            for name, run in subjects.items():
                if name in missing:
                    continue
                try:
                    self.found[name].append(run())
                except SkippedError as why:
                    print(f"skipped {name}: {why}", file=sys.stderr)
                    missing.add(name)
                    del self.found[name]

    def __contains__(self, name: str) -> bool:
        return name in self.found

    def each(self, name: str, key: str) -> list[float]:
        return [one[key] for one in self.found[name]]

    def middle(self, name: str, key: str) -> float:
        return median(self.each(name, key))

    def ratio(self, key: str, mine: str, theirs: str) -> Ratio:
        return ratio(self.each(mine, key), self.each(theirs, key))

    def table(self, key: str, unit: str) -> str:
        """``bare 12 ms, acron 20 ms``."""
        return ", ".join(f"{name} {number(self.middle(name, key))} {unit}" for name in self.found)


class Goals:
    """Collects the findings of one row, and prints each."""

    def __init__(self, row: str, question: str, command: str) -> None:
        self.row = row
        self.question = question
        self.command = f"python -m benchmarks.{command}"
        self.findings: list[Finding] = []

    def add(
        self,
        goal: str,
        got: Ratio,
        *,
        at_most: float | None = None,
        at_least: float | None = None,
        unit: str = "x",
        figures: str = "",
    ) -> None:
        if not all(map(isfinite, (got.value, got.low, got.high))):
            print(f"skipped {self.row} {goal}: nothing to compare  [{figures}]", file=sys.stderr)
            return
        limit = at_most if at_most is not None else at_least
        if limit is None:
            raise ValueError(f"{goal}: a goal has a limit")
        finding = Finding(
            row=self.row,
            question=self.question,
            goal=goal,
            limit=limit,
            at_most=at_most is not None,
            got=got,
            unit=unit,
            figures=figures,
            command=self.command,
        )
        self.findings.append(finding)
        verdict = "reached    " if finding.reached else "NOT REACHED"
        print(f"{self.row:4} {verdict} {goal}: {finding.text()}  [{figures}]", flush=True)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, help="how often each subject is measured (3)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work at all?")


def size_of(given: argparse.Namespace) -> Size:
    return Size(rounds=given.rounds or (1 if given.quick else 3), quick=given.quick)


def main(run: Callable[[Size], list[Finding]], doc: str | None) -> None:
    """Run one file by itself: its findings are printed, and written nowhere."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments(parser)
    run(size_of(parser.parse_args()))
