"""What a run knows of itself."""

from __future__ import annotations

import logging
from collections.abc import Callable  # noqa: TC003 (whoever asks for the signature reads them)
from typing import TYPE_CHECKING

from msgspec import Struct

from acron.model import Job, Run  # noqa: TC001

if TYPE_CHECKING:
    from datetime import datetime


class Context(Struct, eq=False):
    """What a run knows of itself; handed to a function that takes ``ctx``."""

    job: Job
    run: Run
    _report: Callable[[float, float | None, str], None]

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """The logger ``acron.job``, with ``job_id`` and ``run_id`` on each record."""
        extra = {"job_id": self.job.id, "run_id": self.run.id}
        return logging.LoggerAdapter(logging.getLogger("acron.job"), extra)

    @property
    def run_id(self) -> str:
        return self.run.id

    @property
    def scheduled_at(self) -> datetime | None:
        """The instant on the schedule, UTC; None for a manual run."""
        return self.run.scheduled_at

    @property
    def attempt(self) -> int:
        return self.run.attempt

    @property
    def lateness(self) -> float:
        """Seconds between the instant it was due and its start."""
        return self.run.lateness

    @property
    def token(self) -> int:
        """The fencing token: larger than that of any earlier run of this job."""
        return self.run.token

    async def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Tell how far the run is."""
        self._report(done, total, note)
