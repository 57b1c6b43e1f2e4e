"""What is far away is an id, what is near a row; nobody can tell them apart."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from acron.stores import agenda as agenda_module
from acron.stores.agenda import Agenda

START = datetime(2026, 11, 22, 9, tzinfo=UTC)
NEEDS = "call:work"


class Jobs:
    """Jobs that are due at some instant, and an agenda of them."""

    def __init__(self) -> None:
        self.due: dict[str, datetime] = {}
        self.agenda = Agenda(self.row_of)

    def row_of(self, _: str, job_id: str) -> tuple[datetime, int, str, str] | None:
        due = self.due.get(job_id)
        return None if due is None else (due, 0, job_id, "")

    def put(self, job_id: str, due: datetime) -> None:
        self.due[job_id] = due
        self.agenda.push(NEEDS, (due, 0, job_id, ""))

    def holds(self, _: str, row: tuple[datetime, int, str, str]) -> bool:
        return self.due.get(row[2]) == row[0]

    def take(self, now: datetime) -> list[tuple[datetime, str]]:
        """What is due and holds, each once, as a claim would take it."""
        taken = [row for _, row in self.agenda.take(now, {NEEDS}) if self.holds(NEEDS, row)]
        once = dict.fromkeys((row[0], row[2]) for row in taken)
        for _, job_id in once:
            del self.due[job_id]
        return list(once)

    def next_after(self, after: datetime) -> datetime | None:
        return self.agenda.next_after(after, {NEEDS}, self.holds)


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


def test_the_next_instant_is_found_far_away(jobs: Jobs) -> None:
    for days in (400, 3, 30):
        jobs.put(f"in-{days}", START + timedelta(days=days))
    assert jobs.next_after(START) == START + timedelta(days=3)
    assert jobs.next_after(START + timedelta(days=3)) == START + timedelta(days=30)


def test_what_comes_after_the_look_is_still_in_order(jobs: Jobs) -> None:
    jobs.put("late", START + timedelta(days=1, minutes=5))
    assert jobs.next_after(START) == START + timedelta(days=1, minutes=5)  # its span is rows now
    jobs.put("later", START + timedelta(days=1, minutes=6))
    jobs.put("soon", START + timedelta(minutes=1))
    assert [job_id for _, job_id in jobs.take(START + timedelta(days=2))] == [
        "soon",
        "late",
        "later",
    ]


def test_a_job_that_went_away_or_moved_is_met_where_it_is_now(jobs: Jobs) -> None:
    jobs.put("gone", START + timedelta(hours=1))
    jobs.put("moved", START + timedelta(hours=2))
    jobs.put("twice", START + timedelta(hours=5))
    del jobs.due["gone"]
    jobs.put("moved", START + timedelta(hours=9))
    jobs.put("twice", START + timedelta(hours=6))
    jobs.put("twice", START + timedelta(hours=5))
    assert jobs.next_after(START) == START + timedelta(hours=5)
    assert jobs.take(START + timedelta(hours=8)) == [(START + timedelta(hours=5), "twice")]
    assert jobs.take(START + timedelta(hours=10)) == [(START + timedelta(hours=9), "moved")]
    assert jobs.agenda.size == 0


def test_a_look_back_finds_what_is_overdue_without_taking_it(jobs: Jobs) -> None:
    for hours in (3, 1, 2):
        jobs.put(f"in-{hours}", START + timedelta(hours=hours))
    early = [row[2] for _, row in jobs.agenda.earlier(START + timedelta(hours=3))]
    assert early == ["in-1", "in-2"]
    assert len(jobs.take(START + timedelta(hours=3))) == 3


def test_a_crowd_is_rows_beyond_its_limit(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agenda_module, "CROWD", 3)
    names = [f"job-{number}" for number in range(8)]
    for name in reversed(names):
        jobs.put(name, START + timedelta(hours=1))
    assert [job_id for _, job_id in jobs.take(START + timedelta(hours=1))] == names


@pytest.mark.parametrize("seed", range(5))
def test_it_takes_what_a_sorted_list_would(jobs: Jobs, seed: int) -> None:
    chance = random.Random(seed)
    now = START
    for _ in range(60):
        for _ in range(chance.randrange(6)):
            minutes = chance.choice((0, 1, 7, 45, 600, 5000)) + chance.randrange(3)
            jobs.put(f"job-{chance.randrange(40)}", now + timedelta(minutes=minutes))
        if chance.random() < 0.2 and jobs.due:
            del jobs.due[chance.choice(sorted(jobs.due))]
        later = [due for due in jobs.due.values() if due > now]
        assert jobs.next_after(now) == min(later, default=None)
        now += timedelta(minutes=chance.choice((0, 1, 20, 300)))
        due = sorted((due, job_id) for job_id, due in jobs.due.items() if due <= now)
        assert jobs.take(now) == due
