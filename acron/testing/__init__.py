"""Tests of scheduled code: a month in a blink, the same way each time.

`virtual_time` (as a pytest fixture: ``acron_time``) makes the event loop's time and the wall
clock virtual; `RecordingAdapter` keeps what would have been sent; ``acron.testing.contracts``
has a suite for each of acron's contracts; `rehearse` runs a whole app. Nothing here but the
plugin needs pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acron.testing.adapters import RecordingAdapter
    from acron.testing.clock import START, VirtualClock, clock_change
    from acron.testing.harness import VirtualTime, virtual_time
    from acron.testing.kill import Crashed, crash
    from acron.testing.loop import HoldDropped, VirtualTimeError, WaitsForever
    from acron.testing.rehearsal import Rehearsal, rehearse
    from acron.testing.story import timeline

# Imported on first use: pytest loads our plugin in every project where acron is installed.
_MODULE_OF = {
    "START": "clock",
    "Crashed": "kill",
    "HoldDropped": "loop",
    "RecordingAdapter": "adapters",
    "Rehearsal": "rehearsal",
    "VirtualClock": "clock",
    "VirtualTime": "harness",
    "VirtualTimeError": "loop",
    "WaitsForever": "loop",
    "clock_change": "clock",
    "crash": "kill",
    "rehearse": "rehearsal",
    "timeline": "story",
    "virtual_time": "harness",
}

__all__ = [
    "START",
    "Crashed",
    "HoldDropped",
    "RecordingAdapter",
    "Rehearsal",
    "VirtualClock",
    "VirtualTime",
    "VirtualTimeError",
    "WaitsForever",
    "clock_change",
    "crash",
    "rehearse",
    "timeline",
    "virtual_time",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value
