"""docs/how-to/test-your-jobs.md: the bot and its suites, as they stand there, really run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "test-your-jobs.md").read_text()


def test_the_suites_before_and_after_pass(pytester: pytest.Pytester) -> None:
    bot, before, *after = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert bot.startswith("# bot.py\n")
    assert "MagicMock" in before
    pytester.makepyfile(bot=bot, test_before=before, test_bot="\n\n".join(after))
    lines = ("asyncio_mode = auto", "asyncio_default_fixture_loop_scope = function")
    pytester.makeini("\n".join(["[pytest]", *lines]))
    pytester.syspathinsert()
    result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=4)
