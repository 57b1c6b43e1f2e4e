"""The suites of docs/how-to, and of the tutorial, as they stand there, run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "test-your-jobs.md").read_text()
TUTORIAL = (ROOT / "docs" / "tutorial" / "first-jobs.md").read_text()


AUTO = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function"


def test_the_suites_before_and_after_pass(pytester: pytest.Pytester) -> None:
    bot, before, *after = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert bot.startswith("# bot.py\n")
    assert "MagicMock" in before
    pytester.makepyfile(bot=bot, test_before=before, test_bot="\n\n".join(after))
    pytester.makeini(AUTO)
    pytester.syspathinsert()
    result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=4)


def test_the_test_of_the_tutorial_runs_in_a_clone(pytester: pytest.Pytester) -> None:
    """In which acron's own pytest settings are, and not the plugins that they are for."""
    (ini,) = re.findall(r"^```ini\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)
    test = re.findall(r"^```python\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)[-1]
    (command,) = re.findall(r"^\.venv/bin/python -m pytest (.*)$", TUTORIAL, re.MULTILINE)
    pytester.makepyprojecttoml((ROOT / "pyproject.toml").read_text())
    room = pytester.mkdir("first-jobs")
    (room / "pytest.ini").write_text(ini)
    (room / "test_bot.py").write_text(test)
    without = ("-p", "no:timeout", "-p", "no:cacheprovider")
    pytester.runpytest_inprocess(*command.split(), *without).assert_outcomes(passed=1)


def test_the_test_of_the_service_runs(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "how-to" / "embed-in-fastapi.md").read_text()
    test = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[-1]
    pytester.makepyfile(
        orders=(ROOT / "examples/fastapi_orders/orders.py").read_text(), test_orders=test
    )
    pytester.makeini(AUTO)
    pytester.syspathinsert()
    monkeypatch.setenv("DATABASE_URL", "memory://")
    result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
