"""The programs of the guides: they are run, and opened, so that what they declare is what acron
takes."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron

if TYPE_CHECKING:
    from acron.testing import VirtualTime

DOCS = Path(__file__).parents[2] / "docs"
HOW_TO = DOCS / "how-to"
GUIDES = sorted([*HOW_TO.glob("come-from-*.md"), *HOW_TO.glob("embed-in-*.md")])
PROGRAMS = [
    pytest.param(block, id=f"{guide.stem}-{number}")
    for guide in GUIDES
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```$", guide.read_text(), re.DOTALL | re.MULTILINE)
    )
    if "from acron import" in block
]


def test_the_guides_have_programs() -> None:
    assert len(PROGRAMS) >= 11


@pytest.mark.parametrize("program", PROGRAMS)
async def test_the_program_of_a_guide_runs_and_opens(
    program: str, acron_time: VirtualTime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "guide"}
    exec(compile(program, "guide", "exec"), names)
    app = names["app"]
    assert isinstance(app, Acron)
    declared = re.findall(r"@app\.job\(.*\n(?:async )?def (\w+)", program)
    app.clock = acron_time.clock
    async with app.attached(firing=True):
        assert sorted([job.id async for job in app.jobs()]) == sorted(declared)
        for name in declared:
            assert len(await app.upcoming(name)) == 5


#: All code that pages show. What is indented belongs to a list.
CODE = [
    pytest.param(textwrap.dedent(block), id=f"{page.stem}-{number}")
    for page in sorted([*DOCS.rglob("*.md"), DOCS.parent / "README.md"])
    for number, block in enumerate(
        re.findall(r"^ *```python\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE)
    )
]


def test_the_pages_show_code() -> None:
    assert len(CODE) >= 40


@pytest.mark.parametrize("code", CODE)
def test_code_that_a_page_shows_is_python(code: str) -> None:
    compile(code, "page", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize(
    "example, most",
    [
        ("discord_reminders/bot.py", 40),
        ("telegram_briefing/bot.py", 40),
        ("fastapi_orders/orders.py", 40),
        ("llm_agent/agent.py", 60),
    ],
)
def test_an_example_is_short(example: str, most: int) -> None:
    assert len((DOCS.parent / "examples" / example).read_text().splitlines()) <= most
