"""What strangers add to acron, in examples/: built, installed and tested as its author would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*args: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *args],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(120)
def test_a_strangers_provider_is_installed_found_and_passes_its_suite(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "examples" / "usr1_provider", source)
    site = tmp_path / "site"
    pip = ("pip", "--disable-pip-version-check", "install", "--quiet", "--no-index")
    run(*pip, "--no-deps", "--no-build-isolation", "--target", str(site), str(source))
    assert [one.name for one in site.glob("*.dist-info")] == ["acron_usr1-1.0.dist-info"]
    told = run(
        *("pytest", "-q", "-p", "no:cacheprovider", str(source / "test_usr1.py")),
        PYTHONPATH=os.pathsep.join([str(site), str(ROOT)]),
    )
    assert " passed" in told
    assert "skipped" not in told


@pytest.mark.timeout(120)
def test_a_strangers_parts_pass_their_suites() -> None:
    place = ROOT / "examples" / "third_party"  # with settings of its own, as its README says
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:timeout")
    told = run(*("pytest", *options, str(place)), PYTHONPATH=str(ROOT))
    assert " passed" in told
