"""Failures that look alike are one incident; a job keeps few of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acron.incidents import (
    CLOSED_LIMIT,
    OPEN_LIMIT,
    acknowledged,
    alerted,
    is_open,
    opened,
    resolved,
    signature,
)
from acron.model import Job
from acron.specs import Call

START = datetime(2026, 1, 1, tzinfo=UTC)
JOB = Job(id="tea", schedule="every 1h", action=Call("tea"))


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def fail(job: Job, error: str, minutes: float = 0.0, run: str = "r1") -> Job:
    return opened(job, "failure", error, at(minutes), run_id=run)


@pytest.mark.parametrize(
    "one,other",
    [
        ("KeyError: 'user-17'", "KeyError: 'user-18b'"),
        ("TimeoutError: no answer in 12.5 s", "TimeoutError: no answer in 300 s"),
        ("cannot reach 10.0.0.1:5432", "cannot reach 192.168.1.77:5433"),
        ("cannot reach fe80::1ff:fe23:4567:890a", "cannot reach 2001:db8:0:1:1:1:1:1"),
        ("no row deadbeef12", "no row 0123456789abcdef"),
        (
            "order 6f9619ff-8b86-d011-b42d-00c04fc964ff failed",
            "order 00000000-0000-0000-0000-000000000001 failed",
        ),
        ("<bot.Bot object at 0x7f31c0a2b3d0>", "<bot.Bot object at 0x55aa>"),
        ("no file /tmp/tmpab12cd/report.csv", "no file /var/lib/x9/report.csv"),
        ("GET https://a.example/x?id=1: 503", "GET https://b.example/y: 503"),
        ("due 2026-12-01T09:00:00Z", "due 2027-01-02T10:30:00Z"),
        ('bad body "<html>a</html>"', 'bad body "{}"'),
        ("worker-3 died", "worker-12 died"),
        ("two  blanks\tand a tab 1", "two blanks and a tab 2"),
    ],
)
def test_what_differs_by_chance_looks_alike(one: str, other: str) -> None:
    assert signature(one) == signature(other)


@pytest.mark.parametrize(
    "one,other",
    [
        ("KeyError: 'a'", "ValueError: 'a'"),
        ("no file /tmp/x/report.csv", "no file /tmp/x/users.csv"),
        ("can't open the door", "can't open the window"),
        ("template not found", "temperature not found"),
        ("refused", "refused by the bank"),
    ],
)
def test_what_differs_by_meaning_does_not(one: str, other: str) -> None:
    assert signature(one) != signature(other)


@given(st.text(max_size=300), st.lists(st.integers(0, 10**12), min_size=2, max_size=2))
def test_numbers_never_tell_failures_apart(text: str, numbers: list[int]) -> None:
    one, other = (signature(f"{text} [{number}]") for number in numbers)
    assert one == other


@given(st.text())
def test_a_signature_is_a_short_line_without_digits(text: str) -> None:
    found = signature(text)
    assert len(found) <= 200
    assert "\n" not in found
    # what is escaped, such as \x1b, has digits of our own; no others are left
    assert not re.search(r"(?<![\\\w])\d", found)
    assert found == signature(text)


@given(st.uuids(), st.uuids(), st.ip_addresses(v=4), st.ip_addresses(v=6))
def test_ids_and_addresses_do_not_count(one: object, two: object, v4: object, v6: object) -> None:
    assert signature(f"user {one} is gone") == signature(f"user {two} is gone")
    assert signature(f"from {v4} came") == "from # came"
    assert signature(f"of {one}") == "of #"
    assert str(v6) not in signature(f"from {v6} came") or not any(c.isdigit() for c in str(v6))


def test_failures_that_look_alike_are_counted() -> None:
    job = fail(JOB, "no answer in 3 s")
    job = fail(job, "no answer in 5 s", 60, "r2")
    (one,) = job.incidents
    assert (one.id, one.job_id, one.count, one.run_id) == ("tea/1", "tea", 2, "r2")
    assert (one.first_at, one.last_at, one.error) == (at(0), at(60), "no answer in 5 s")
    job = fail(job, "no such host")
    assert [one.count for one in job.incidents] == [2, 1]


def test_a_success_resolves_and_what_comes_again_is_new() -> None:
    job = alerted(fail(JOB, "a"), "tea/1")
    job = resolved(opened(job, "absence", "gone", at(1)), at(2), "failure")
    assert [one.state for one in job.incidents] == ["resolved", "detected"]
    assert job.incidents[0].closed_at == at(2)
    job = fail(job, "a", 3)
    assert [(one.id, one.state) for one in job.incidents] == [
        ("tea/1", "resolved"),
        ("tea/2", "detected"),
        ("tea/3", "detected"),
    ]


def test_with_nothing_to_resolve_it_is_the_very_same_job() -> None:
    assert resolved(JOB, at(0), "failure") is JOB
    job = resolved(fail(JOB, "a"), at(1), "failure")
    assert resolved(job, at(2), "failure") is job


def test_what_is_acknowledged_counts_on_and_alerts_no_more() -> None:
    job = acknowledged(fail(JOB, "a"), "tea/1", at(1))
    job = fail(job, "a", 2)
    (one,) = job.incidents
    assert (one.state, one.count, is_open(one)) == ("acknowledged", 2, False)
    assert alerted(job, "tea/1") is job
    over = resolved(job, at(3), "failure")
    assert acknowledged(over, "tea/1", at(4)) is over
    assert [one.state for one in fail(over, "a", 5).incidents] == ["resolved", "detected"]


def test_only_what_is_there_and_new_becomes_alerted() -> None:
    job = fail(JOB, "a")
    assert alerted(job, "tea/2") is job
    told = alerted(job, "tea/1")
    assert [one.state for one in told.incidents] == ["alerted"]
    assert alerted(told, "tea/1") is told


@given(st.lists(st.sampled_from(["ok", *"abcdefghijklmnop"]), max_size=80))
def test_a_job_keeps_few(steps: list[str]) -> None:
    job, failures = JOB, 0
    for number, step in enumerate(steps):
        if step == "ok":
            job = resolved(job, at(number), "failure")
            failures = 0
        else:
            job = fail(job, f"error {step}", number)
            failures += 1
        open_ones = [one for one in job.incidents if is_open(one)]
        assert len(open_ones) <= OPEN_LIMIT
        assert len(job.incidents) - len(open_ones) <= CLOSED_LIMIT
        assert sum(one.count for one in open_ones) == failures
        ids = [one.id for one in job.incidents]
        assert len(set(ids)) == len(ids)
