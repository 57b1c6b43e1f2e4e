"""``acron simulate --chaos`` as a real process with workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest


def workers_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    of_a_pool = [
        one for one in children if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()
    ]
    return list(map(int, of_a_pool))


@pytest.mark.skipif(
    not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists(), reason="needs Linux"
)
def test_stopped_it_leaves_no_process_behind(tmp_path: Path) -> None:
    acron = [sys.executable, "-m", "acron", "--home", str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*acron, "simulate", "--chaos", "--seeds", "5000"], stdout=pipe, stderr=pipe
    ) as process:
        until = time.monotonic() + 20
        while not (workers := workers_of(process.pid)):
            assert time.monotonic() < until
            time.sleep(0.05)
        process.terminate()
        try:
            # Who is left behind keeps the pipes open.
            told, _ = process.communicate(timeout=20)
        finally:
            for one in workers:
                with suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
    assert process.returncode == 143
    assert b" seeds, all invariants held" in told
