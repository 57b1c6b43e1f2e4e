"""The only place that reads time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Clock(Protocol):
    """What the wall clock says, and how long something took."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from some fixed point; never goes back, whatever the wall clock does."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


SYSTEM = SystemClock()


def clock_of(loop: Any) -> Clock:
    """The clock that goes with the time of an event loop: the machine's, or that of a test in
    virtual time (acron.testing)."""
    found: Clock | None = getattr(loop, "acron_clock", None)
    return found or SYSTEM
