"""Without its framework, an integration says what to install."""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())


@pytest.mark.parametrize("framework", ["discord", "telegram", "aiogram"])
def test_it_names_the_extra(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in sys.modules if one.split(".")[0] == framework]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, framework, None)
    monkeypatch.delitem(sys.modules, f"acron.integrations.{framework}", raising=False)
    with pytest.raises(ImportError, match=rf'pip install "acron-runtime\[{framework}\]"'):
        importlib.import_module(f"acron.integrations.{framework}")
    assert framework in PROJECT["project"]["optional-dependencies"]


def test_what_needs_no_framework_imports_none() -> None:
    code = "import sys, acron.integrations.asgi, acron.integrations.slack as s; "
    code += "print([m for m in ('starlette', 'fastapi', 'slack_bolt') if m in sys.modules])"
    import subprocess

    told = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert told == "[]\n"
