"""The duties of a ``Schedule``, as tests. Subclass ``ScheduleContract`` and give ``make``.

    class TestMine(ScheduleContract):
        def make(self) -> list[Schedule]:
            return [MySchedule(3), MySchedule(5)]

A schedule whose text ``parse`` cannot read back (one that no kind of acron's understands) sets
``parses = False`` and gives a ``reparse`` of its own, or leaves the round trip out.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from unittest.mock import patch

from acron.schedules import Schedule, parse

#: Bases from which every schedule is looked at.
BASES = (
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2024, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 3, 29, 0, 30, tzinfo=UTC),
    datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
    datetime(2026, 11, 22, 17, 18, 46, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
)
#: How many instants are looked at from each base.
DEPTH = 25
_MICRO = timedelta(microseconds=1)


class ScheduleContract(ABC):
    """What acron relies on. Each test runs over all schedules that ``make`` gives."""

    #: Whether ``acron.schedules.parse`` reads ``str(schedule)``.
    parses = True

    @abstractmethod
    def make(self) -> list[Schedule]:
        """Some schedules of the kind, made anew at every call, in the same order."""

    def reparse(self, text: str) -> Schedule:
        """The schedule of a canonical text."""
        return parse(text, tz="Asia/Tokyo", now=datetime(2031, 5, 5, tzinfo=UTC))

    def test_next_is_strictly_later_and_in_utc(self) -> None:
        for schedule in self.make():
            for base in BASES:
                found = schedule.next_after(base)
                if found is not None:
                    assert found > base, f"{schedule} after {base} gives {found}"
                    assert found.tzinfo is UTC, f"{schedule} gives {found!r}, not UTC"

    def test_no_instant_lies_between_a_base_and_its_next(self) -> None:
        for schedule in self.make():
            for base in BASES:
                found = schedule.next_after(base)
                if found is not None and found - base > 2 * _MICRO:
                    middle = base + (found - base) / 2
                    assert schedule.next_after(middle) == found
                    assert schedule.next_after(found - _MICRO) == found

    def test_what_has_come_to_an_end_stays_so(self) -> None:
        for schedule in self.make():
            nexts = [schedule.next_after(base) for base in BASES]
            ended = [found is None for found in nexts]
            assert ended == sorted(ended), f"{schedule} begins again: {nexts}"

    def test_instants_are_in_order(self) -> None:
        for schedule in self.make():
            for base in BASES:
                found = list(islice(schedule.iterate(base), DEPTH))
                assert all(a < b for a, b in pairwise(found)), f"{schedule}: {found}"
                assert schedule.upcoming(base, DEPTH) == found

    def test_last_at_finds_each_instant_and_the_one_before(self) -> None:
        for schedule in self.make():
            for base in BASES:
                found = schedule.upcoming(base, DEPTH)
                for at in found:
                    assert schedule.last_at(at) == at
                for a, b in pairwise(found):
                    assert schedule.last_at(b - _MICRO) == a, f"{schedule} before {b}"

    def test_last_at_is_never_later(self) -> None:
        for schedule in self.make():
            for base in BASES:
                found = schedule.last_at(base)
                assert found is None or found <= base

    def test_count_equals_enumeration(self) -> None:
        for schedule in self.make():
            for base in BASES:
                found = schedule.upcoming(base, DEPTH)
                for number, at in enumerate(found, 1):
                    assert schedule.count(base, at) == number, f"{schedule} up to {at}"
                    assert schedule.count(base, at - _MICRO) == number - 1

    def test_count_does_not_enumerate(self) -> None:
        for schedule in self.make():
            kind, calls = type(schedule), 0
            next_after = kind.next_after

            def counted(self: Schedule, instant: datetime) -> datetime | None:
                nonlocal calls
                calls += 1
                return next_after(self, instant)  # noqa: B023 (called in this turn of the loop)

            with patch.object(kind, "next_after", counted):
                schedule.count(BASES[1], BASES[4])
            assert calls <= 1000, f"{schedule}: count looked at {calls} instants"

    def test_count_of_an_empty_span_is_zero(self) -> None:
        for schedule in self.make():
            for base in BASES:
                assert schedule.count(base, base) == 0
                assert schedule.count(base, BASES[0]) == 0

    def test_what_fires_at_most_once_says_so(self) -> None:
        for schedule in self.make():
            if not schedule.recurring:
                assert len(schedule.upcoming(BASES[0], 2)) <= 1

    def test_equal_by_value_and_hashable(self) -> None:
        for one, other in zip(self.make(), self.make(), strict=True):
            assert one == other
            assert hash(one) == hash(other)
            assert one != object()
            assert copy.copy(one) == one

    def test_different_schedules_differ(self) -> None:
        made = self.make()
        assert len(set(made)) == len({str(one) for one in made})

    def test_looking_does_not_change_it(self) -> None:
        for one, other in zip(self.make(), self.make(), strict=True):
            before = [one.next_after(base) for base in BASES]
            one.count(BASES[1], BASES[4])
            one.last_at(BASES[4])
            assert [one.next_after(base) for base in reversed(BASES)] == before[::-1]
            assert one == other

    def test_describe_is_one_line_of_words(self) -> None:
        for schedule in self.make():
            said = schedule.describe()
            assert said.strip()
            assert said.isprintable(), ascii(said)

    def test_text_reads_back_to_an_equal_value(self) -> None:
        if self.parses:
            for schedule in self.make():
                again = self.reparse(str(schedule))
                assert again == schedule, f"{schedule} came back as {again}"
                assert str(again) == str(schedule)
                assert again.upcoming(BASES[3], 5) == schedule.upcoming(BASES[3], 5)
