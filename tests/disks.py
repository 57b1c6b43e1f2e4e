"""Where tests keep their files: in memory, on a disk, on one that can be full or read only."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: For what real processes write.
DISK = tempfile.gettempdir()
#: Where Linux keeps files in memory.
_MEMORY = "/dev/shm"


def place() -> str:
    """For all other files. A disk that syncs takes a fifth of the suite's time and proves nothing:
    those that fail, tear and forget are made by the tests of the stores."""
    if not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < 2**30:
        return DISK
    no_programs = os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC  # as containers often have it
    return DISK if no_programs else _MEMORY


class SmallDisk:
    """A file system of 1 MB in ``place``."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._ballast = place / "ballast"

    def fill(self) -> None:
        with suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)

    def empty(self) -> None:
        self._ballast.unlink()

    def make_read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.place)], check=True)


@contextmanager
def small_disk(place: Path) -> Iterator[SmallDisk]:
    """Whoever may not mount one skips."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system is not permitted here")
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
