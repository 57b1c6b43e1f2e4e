from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from acron.clock import Clock
from acron.testing import START, VirtualClock


def test_it_is_a_clock_and_stands_still() -> None:
    clock = VirtualClock()
    assert isinstance(clock, Clock)
    assert clock.now() == clock.now() == START == datetime(2026, 1, 1, tzinfo=UTC)
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() == clock.monotonic() > 0


def test_both_times_move_together() -> None:
    clock = VirtualClock()
    began = clock.monotonic()
    clock.move_to(began + 90.5)
    assert clock.now() == START + timedelta(seconds=90.5)
    with pytest.raises(ValueError, match="run back"):
        clock.move_to(began)


def test_the_wall_clock_alone_may_be_set_and_jump() -> None:
    clock = VirtualClock()
    began = clock.monotonic()
    clock.jump(-3600)
    assert clock.now() == START - timedelta(hours=1)
    paris = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    clock.set(paris)
    assert clock.now() == paris
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() == began


def test_naive_instants_are_refused() -> None:
    with pytest.raises(ValueError, match="tzinfo=UTC"):
        VirtualClock(datetime(2026, 1, 1))  # noqa: DTZ001 (that is the fault)


def test_its_end_is_the_calendar_s() -> None:
    clock = VirtualClock()
    clock.move_to(clock.end)
    assert clock.now().year == 9999
