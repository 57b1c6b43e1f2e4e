"""Whether this process is one of several workers that a web server has started alike."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from acron.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@contextmanager
def only_worker(home: Path, environ: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Be the only worker of our supervisor that is in here, as long as this lasts.

    uvicorn, hypercorn and granian start workers with multiprocessing, gunicorn says its name in
    SERVER_SOFTWARE. How many there are, none of them tells, so we find out: each worker locks one
    byte of a file in ``home``, that of its parent's process id. The system unlocks it when the
    worker dies. A process that is nobody's worker passes. Raises ConfigError.
    """
    is_worker = multiprocessing.parent_process() is not None or environ.get(
        "SERVER_SOFTWARE", ""
    ).startswith("gunicorn")
    if not is_worker:
        yield
        return
    home.mkdir(parents=True, exist_ok=True)
    file = os.open(home / "workers.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, os.getppid())
    except (BlockingIOError, PermissionError) as error:  # POSIX allows both
        os.close(file)
        message = (
            "several workers cannot share a memory store: each would fire every job; use "
            "sqlite:///jobs.db or postgresql://…, or one worker"
        )
        raise ConfigError(message, where="store") from error
    try:
        yield
    finally:
        os.close(file)
