"""Puts findings into the docs: a table between two marks, a plot, and the figures as data.

A run of some benchmarks replaces the rows that it measured and leaves the others.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from html import escape
from math import log10
from typing import TYPE_CHECKING

import msgspec

from benchmarks.common import Finding  # noqa: TC001 (msgspec reads the annotations)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

BEGIN = "<!-- figures: written by python -m benchmarks -->"
END = "<!-- end of figures -->"
PLOT = "![A bar for each goal](../_static/performance.svg)"


class Measured(msgspec.Struct):
    """A finding, and where and when it was found."""

    finding: Finding
    machine: str
    date: str


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()}, Python {sys.version.split()[0]}"


def order(measured: Measured) -> int:
    return int(measured.finding.row[1:])


def write(docs: Path, findings: Iterable[Finding], date: str) -> None:
    """Write table, plot and data below ``docs``."""
    data = docs / "_static" / "performance.json"
    old = msgspec.json.decode(data.read_bytes(), type=list[Measured]) if data.exists() else []
    new = [Measured(one, machine(), date) for one in findings]
    asked = {(one.finding.row, one.finding.question) for one in new}
    kept = [one for one in old if (one.finding.row, one.finding.question) not in asked]
    everything = sorted(kept + new, key=order)
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_bytes(msgspec.json.format(msgspec.json.encode(everything), indent=1) + b"\n")
    plot = docs / "_static" / "performance.svg"
    plot.write_text(svg([one.finding for one in everything]), encoding="utf-8")
    page = docs / "explanation" / "performance.md"
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(
        f"{before}{BEGIN}\n\n{PLOT}\n\n{table(everything)}\n{END}{after}", encoding="utf-8"
    )


def table(rows: Sequence[Measured]) -> str:
    lines = []
    question = ""
    for one in rows:
        found = one.finding
        if found.question != question:
            question = found.question
            lines += [
                "",
                f"### {found.row}: {question}",
                "",
                f"`{found.command}`, {one.date}, {one.machine}. {_sentence(found.figures)}",
                "",
                "| goal | found (least and most of a round) | |",
                "| --- | --- | --- |",
            ]
        verdict = "reached" if found.reached else "**not reached**"
        lines.append(f"| {found.goal} | {found.text()} | {verdict} |")
    return "\n".join(lines).strip() + "\n"


def _sentence(figures: str) -> str:
    text = figures[:1].upper() + figures[1:]
    return f"{text}." if text else ""


# --- the plot -----------------------------------------------------------------------------------

_WIDTH, _ROW, _LEFT, _RIGHT, _TOP = 960, 22, 430, 150, 64
_LEAST, _MOST = 0.1, 10.0
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #333; }
.small { font-size: 11px; fill: #666; }
.title { font-size: 15px; font-weight: 600; }
.reached { fill: #2f7d4f; } .missed { fill: #c2571a; }
.goal { stroke: #333; stroke-width: 1.5; } .grid { stroke: #ddd; }
"""


def _x(headroom: float) -> float:
    part = (log10(max(headroom, _LEAST)) - log10(_LEAST)) / (log10(_MOST) - log10(_LEAST))
    return _LEFT + min(max(part, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT)


def svg(findings: Sequence[Finding]) -> str:
    """A bar for each goal, from the goal itself: to the right of it reached, to the left not."""
    height = _TOP + _ROW * len(findings) + 24
    bottom = height - 20
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        "<title>Goals and what was reached</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        '<text class="title" x="16" y="24">What was reached, as a multiple of the goal</text>',
    ]
    for tick in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0):
        x = _x(tick)
        kind = "goal" if tick == 1 else "grid"
        name = "goal" if tick == 1 else f"{tick:g}x"
        lines += [
            f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{bottom}"/>',
            f'<text class="small" x="{x:.1f}" y="{_TOP - 14}" text-anchor="middle">{name}</text>',
        ]
    for place, one in enumerate(findings):
        lines += _bar(one, _TOP + place * _ROW)
    return "\n".join([*lines, "</svg>", ""])


def _bar(one: Finding, y: float) -> list[str]:
    goal, end = _x(1.0), _x(one.headroom)
    if one.limit == 0:  # reached or not, and nothing between
        end = _x(_MOST if one.reached else _LEAST)
    left, width = min(goal, end), max(abs(end - goal), 1.5)
    kind = "reached" if one.reached else "missed"
    label = escape(_short(f"{one.row}  {one.goal}"))
    bar = f'x="{left:.1f}" y="{y + 2:.1f}" width="{width:.1f}" height="{_ROW - 8}"'
    right, base = _WIDTH - _RIGHT + 12, y + 13
    return [
        f'<text x="16" y="{base:.1f}">{label}</text>',
        f'<rect class="{kind}" {bar} rx="2"/>',
        f'<text class="small" x="{right}" y="{base:.1f}">{escape(one.text())}</text>',
    ]


def _short(text: str, limit: int = 66) -> str:
    text = re.sub(r"\s+", " ", text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
