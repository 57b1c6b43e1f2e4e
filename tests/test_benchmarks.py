"""The benchmarks run, at tiny sizes and in this process: they cannot rot unseen."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

pytest.importorskip("apscheduler")

from benchmarks.__main__ import NAMES
from benchmarks.common import Finding, Goals, Ratio, Rounds, Size, SkippedError, ratio
from benchmarks.page import BEGIN, END, svg, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TINY = Size(rounds=1, quick=True, inline=True)
ROWS = {
    "herd": {"F3"},
    "fire": {"F4", "F5", "F8", "F13"},
    "add": {"F6", "F8"},
    "scale": {"F7", "F10"},
    "json_store": {"F11"},
    "uvloop_timers": {"F12"},
    "idle": {"F14"},
    "virtual": {"F15"},
    "startup": {"F16"},
    "nats": {"F17", "F18", "F19"},
}


@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_finds_something_for_each_of_its_rows(name: str) -> None:
    if name == "uvloop_timers":
        pytest.importorskip("uvloop")
    findings = import_module(f"benchmarks.{name}").run(TINY)
    assert {one.row for one in findings} == ROWS[name]
    assert all(one.figures and one.command == f"python -m benchmarks.{name}" for one in findings)


def finding(row: str, value: float, *, at_most: bool = True, goal: str = "≤ 2x bare") -> Finding:
    got = Ratio(value, value - 0.1, value + 0.1)
    question = f"what of {row} & <more>?"
    return Finding(row=row, question=question, goal=goal, limit=2, at_most=at_most, got=got)


def test_a_goal_is_reached_at_its_limit_and_headroom_grows_with_quality() -> None:
    assert finding("F3", 2).reached
    assert not finding("F3", 2.01).reached
    assert not finding("F3", 1.99, at_most=False).reached
    assert finding("F3", 1).headroom == 2
    assert finding("F3", 1, at_most=False).headroom == 0.5


def test_a_ratio_is_of_medians_and_its_spread_over_rounds() -> None:
    assert ratio([4, 6, 8], [1, 3, 2]) == Ratio(3.0, 2.0, 4.0)


def test_subjects_take_turns_and_one_that_is_missing_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    turns: list[str] = []

    def subject(name: str) -> Callable[[], dict[str, float]]:
        def run() -> dict[str, float]:
            turns.append(name)
            if name == "peer":
                raise SkippedError("not installed")
            return {"s": float(len(turns))}

        return run

    found = Rounds({name: subject(name) for name in ("bare", "peer", "acron")}, Size(rounds=2))
    assert turns == ["bare", "peer", "acron", "bare", "acron"]
    assert "peer" not in found
    assert found.each("acron", "s") == [3.0, 5.0]
    assert "skipped peer: not installed" in capsys.readouterr().err


def test_a_goal_without_a_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="has a limit"):
        Goals("F3", "q", "herd").add("fast", Ratio(1, 1, 1))


def test_what_cannot_be_compared_is_left_out_and_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    goals = Goals("F13", "q", "fire")
    goals.add("fast", ratio([float("nan")], [1.0]), at_most=2)
    goals.add("fast", ratio([1.0], [0.0]), at_most=2)
    assert goals.findings == []
    assert capsys.readouterr().err.count("nothing to compare") == 2


def test_a_run_replaces_its_own_rows_on_the_page(tmp_path: Path) -> None:
    page = tmp_path / "explanation" / "performance.md"
    page.parent.mkdir()
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n", encoding="utf-8")
    write(tmp_path, [finding("F14", 3), finding("F3", 1)], "2026-01-01")
    write(tmp_path, [finding("F14", 1.5)], "2026-01-02")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("above\n")
    assert text.endswith("below\n")
    assert "old" not in text
    assert text.index("F3") < text.index("F14")
    assert "| ≤ 2x bare | 1.50x (1.40 to 1.60) | reached |" in text
    assert "not reached" not in text


def test_the_plot_tells_what_was_reached_from_what_was_not() -> None:
    nothing = replace(finding("F6", 3), limit=0)
    found = [finding("F3", 1), finding("F4", 4), finding("F5", 1e9), nothing]
    root = ET.fromstring(svg(found))
    bars = [one for one in root.iter() if one.get("class") in {"reached", "missed"}]
    goal = next(one for one in root.iter() if one.get("class") == "goal")
    at = float(goal.get("x1", "0"))
    assert [one.get("class") for one in bars] == ["reached", *["missed"] * 3]
    assert float(bars[0].get("x", "0")) == pytest.approx(at)
    assert all(float(one.get("x", "0")) < at for one in bars[1:])
