"""docs/explanation/faults.md names tests that are there, and leaves no fault out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "faults.md").read_text()
ROWS = dict(re.findall(r"^\| (\d+) \|.*\| (.+?) \|$", PAGE, re.MULTILINE))


@cache
def _functions(path: Path) -> frozenset[str]:
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_every_fault_has_its_row() -> None:
    assert [*map(int, ROWS)] == [*range(1, 54)]


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_row_names_tests_that_are_there_or_says_why_not(row: str) -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
    assert named or re.match(r"\*(not yet|partly)\*: \w", row)
    for file, name in named:
        places = [ROOT / "tests" / file, ROOT / "acron" / "testing" / "contracts" / file]
        assert any(name in _functions(path) for path in places if path.exists()), (file, name)
