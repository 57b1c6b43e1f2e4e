"""Real processes. Each test ends what it started."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from acron.cli import main
from tests.disks import DISK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: What must happen happens long before; a slow machine is no finding.
PATIENCE = 20.0


class Acron:
    """The command line on one home, as somebody in a shell would use it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("ACRON_")},
            "ACRON_HOME": str(home),
            "TZ": "UTC",
        }
        self.started: list[subprocess.Popen[str]] = []
        self._heard: dict[int, str] = {}  # of what they print

    def __call__(self, *args: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "acron", *args],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr

    def json(self, *args: str) -> Any:
        """What a reading verb tells; asked in this process, for it is asked again and again."""
        told = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(told):
            patch.setenv("ACRON_HOME", str(self.home))
            patch.setenv("TZ", "UTC")
            assert main([*args, "--json"]) == 0
        return json.loads(told.getvalue())

    def runs(self, *args: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("runs", *args)
        return found

    def start(self) -> subprocess.Popen[str]:
        """A daemon that is ready to fire."""
        process = self.begin("run")
        assert process.stdout is not None
        told = ""
        while " fires " not in (line := process.stdout.readline()):
            assert line, "it ended before it was ready"
            told += line  # a busy machine has fired before it says so
        self._heard[process.pid] = told
        return process

    def begin(self, *args: str) -> subprocess.Popen[str]:
        """A command that goes on by itself."""
        process = subprocess.Popen(
            [sys.executable, "-m", "acron", *args],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def stop(self, process: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
        """Ask it to drain; it must end well. What it printed."""
        process.send_signal(number)
        assert process.stdout is not None
        process.wait(PATIENCE)
        # Not by communicate(): it would lose what came together with the last line that was read.
        told = self._heard.pop(process.pid, "") + process.stdout.read()
        assert process.returncode == 0, told
        assert "Traceback" not in told
        return told

    def until(self, so: Callable[[], Any]) -> Any:
        end = time.monotonic() + PATIENCE
        while not (found := so()):
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.1)
        return found


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Here the disk is a real one."""
    with TemporaryDirectory(prefix="acron-", dir=DISK, ignore_cleanup_errors=True) as made:
        yield Path(made).resolve()


@pytest.fixture
def acron(tmp_path: Path) -> Iterator[Acron]:
    used = Acron(tmp_path / "home")
    yield used
    for process in used.started:
        if process.poll() is None:
            process.kill()
        process.communicate()
