"""``acron serve``: a real process that answers for a store whose jobs another fires."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@contextmanager
def begun(*command: str) -> Iterator[str]:
    """A process that is told to end, and ends well: its first line."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline()
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(20)
    assert code == 0


def test_it_tells_how_another_process_is_and_fires_nothing(tmp_path: Path) -> None:
    acron = [sys.executable, "-m", "acron", "--home", str(tmp_path)]
    subprocess.run([*acron, "add", "@reboot", "--command", "true"], check=True, capture_output=True)
    with begun(*acron, "serve", "0") as said:
        url = said.split()[0]
        assert url.startswith("http://127.0.0.1:")
        assert "jobs.json are fired" in said
        assert status(url) == 503
        assert status(url.replace("healthz", "api/cron/fire")) == 404
        runs = subprocess.run([*acron, "runs", "--json"], check=True, capture_output=True)
        assert runs.stdout == b"[]\n"
        with begun(*acron, "run", "--no-live"):
            assert status(url) == 200


@pytest.mark.parametrize("verb", [["serve", "x"], ["run", "--serve", "x"]])
def test_what_is_no_address_is_wrong_usage(tmp_path: Path, verb: list[str]) -> None:
    acron = [sys.executable, "-m", "acron", "--home", str(tmp_path)]
    done = subprocess.run([*acron, *verb], capture_output=True, text=True, check=False)
    told = f"acron: 'x' is not [HOST:]PORT (see acron {verb[0]} --help)\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", told)
