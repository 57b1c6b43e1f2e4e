"""How the command line starts: only the verb that was asked for is imported."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from acron.cli import _MODULES, VERBS, _verb

if TYPE_CHECKING:
    from pathlib import Path


def test_every_verb_is_declared_by_one_module() -> None:
    declared = [verb for verbs in _MODULES.values() for verb in verbs]
    assert sorted(declared) == sorted(VERBS)


@pytest.mark.parametrize(
    "line, verb",
    [
        ("list", "list"),
        ("--store list runs --json", "runs"),
        ("--home=list --app x:y show list", "show"),
        ("", None),
        ("--help list", None),
        ("--store list", None),
        ("lst", None),
    ],
)
def test_the_verb_stands_behind_the_global_options(line: str, verb: str | None) -> None:
    assert _verb(line.split()) == verb


def test_a_verb_imports_no_other() -> None:
    code = (
        "import sys; from acron.cli import main; main(['explain', 'every 1h'])\n"
        "sys.exit('acron.cli.demo' in sys.modules or 'acron.cli.calendar' not in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("closed", [1, 2])
def test_a_stream_that_is_closed_is_no_reason_to_fail(closed: int, tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m acron --home {tmp_path} tick {closed}>&-"
    done = subprocess.run(command, shell=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
