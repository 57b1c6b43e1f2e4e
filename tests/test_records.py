"""The flat form of jobs: what it takes, what it refuses, and where it says the fault lies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acron.errors import InvalidJob
from acron.model import DEFAULT_POLICY, Retry
from acron.records import check_id, job_from_record, job_json, job_to_record
from acron.specs import Call, Command, Custom

TEA = {"id": "tea", "schedule": "every 2h", "command": "kettle on"}


def refused(record: Any) -> InvalidJob:
    with pytest.raises(InvalidJob) as caught:
        job_from_record(record)
    return caught.value


def test_the_smallest_record() -> None:
    job = job_from_record(TEA)
    assert (job.id, job.name, job.tz, job.action) == ("tea", "tea", "UTC", Command("kettle on"))
    assert job.policy is DEFAULT_POLICY
    assert job_to_record(job) == TEA


@pytest.mark.parametrize(
    "fields",
    [
        {"command": ["kettle", "on"], "cwd": "/tmp", "env": {"A": "1"}, "stdin": "x"},
        {"call": "remind", "kwargs": {"chat": 1, "deep": [{"a": None}]}},
        {"call": "remind"},
        {"action": "backup", "data": {"to": "s3"}},
        {"command": "x", "timeout": 1.5, "grace": 60.0, "jitter": 3.0, "overlap": "queue"},
        {"command": "x", "retry": {"attempts": 5, "delay": 2.0, "on": ["ValueError"]}},
        {"command": "x", "until": "2027-01-01T00:00:00Z", "repeat": 3, "catch_up": "all"},
        {"command": "x", "tags": ["user:42"], "deliver": ["log", "telegram:-1"], "app": "bot"},
        {"command": "x", "paused": True, "name": "Tee ☕", "tz": "Europe/Paris"},
        {"command": "x", "paused": "holiday", "since_the_future": {"a": [1]}},
    ],
)
def test_every_kind_of_record_survives_the_round_trip(fields: dict[str, Any]) -> None:
    job = job_from_record({"id": "tea", "schedule": "every 2h", **fields})
    text = msgspec.json.encode(job_to_record(job))
    again = job_from_record(msgspec.json.decode(text))
    assert again == job
    assert msgspec.json.decode(text).items() >= {"id": "tea", "schedule": "every 2h"}.items()


def test_kinds_of_action() -> None:
    base = {"id": "tea", "schedule": "every 2h"}
    assert job_from_record({**base, "call": "f", "kwargs": {"a": 1}}).action == Call("f", {"a": 1})
    assert job_from_record({**base, "action": "x"}).action == Custom("x")


def test_durations_may_be_text_numbers_or_timedeltas() -> None:
    policy = job_from_record(
        {**TEA, "timeout": "5m", "grace": timedelta(hours=1), "jitter": 2, "retry": 4}
    ).policy
    assert (policy.timeout, policy.grace, policy.jitter) == (300.0, 3600.0, 2.0)
    assert policy.retry == Retry(attempts=4)


def test_retry_keeps_the_names_of_errors() -> None:
    job = job_from_record({**TEA, "retry": Retry(on=(ValueError, InvalidJob), delay=3)})
    assert job.policy.retry is not None
    assert job.policy.retry.on == ("ValueError", "acron.errors.InvalidJob")


def test_instants_become_utc() -> None:
    job = job_from_record({**TEA, "until": "2027-01-01T01:00+01:00"})
    assert job.policy.until == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "change, where, says",
    [
        ({"id": "../x"}, "$.id", "letters, digits"),
        ({"id": "a\0b"}, "$.id", "letters, digits"),
        ({"id": "x" * 10_000}, "$.id", "10000 characters"),
        ({"id": ""}, "$.id", "needs an id"),
        ({"id": 7}, "$.id", "expected text, got int"),
        ({"name": "a\nb"}, "$.name", "printable"),
        ({"schedule": None}, "$.schedule", "needs a schedule"),
        ({"overlap": "maybe"}, "$.overlap", "maybe"),
        ({"timeout": "soon"}, "$.timeout", "soon"),
        ({"timeout": 0}, "$.timeout", "longer than nothing"),
        ({"timeout": True}, "$.timeout", "bool"),
        ({"grace": -1}, "$.grace", ""),
        ({"repeat": 0}, "$.repeat", "at least 1"),
        ({"retry": {"attempts": "3"}}, "$.retry.attempts", "int"),
        ({"retry": "often"}, "$.retry", "attempts"),
        ({"until": "2027-01-01T00:00"}, "$.until", "no zone"),
        ({"until": "tomorrow"}, "$.until", "not an instant"),
        ({"until": "9999-12-31T23:59-14:00"}, "$.until", "beyond the years"),
        ({"deliver": [1]}, "$.deliver[0]", "str"),
        ({"deliver": "a\x1b[31m"}, "$.deliver", "printable"),
        ({"tags": "x"}, "$.tags", "array"),
        ({"env": {"A": 1}}, "$.env", "str"),
        ({"call": "f"}, "$", "command and call"),
        ({"command": None}, "$", "found none"),
        ({"kwargs": {}}, "$.kwargs", "goes with 'call'"),
    ],
)
def test_what_is_refused_and_where(change: dict[str, Any], where: str, says: str) -> None:
    error = refused({**TEA, **change})
    assert error.where.startswith(where)
    assert says in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 300


@pytest.mark.parametrize("junk", [None, 7, "tea", ["tea"], float("nan")])
def test_junk_is_no_record(junk: Any) -> None:
    assert refused(junk).where == "$"


@given(st.text(max_size=200))
def test_an_id_is_either_safe_or_refused(text: str) -> None:
    try:
        check_id(text)
    except InvalidJob:
        return
    assert "/" not in text
    assert text.isprintable()
    assert text not in {".", ".."}
    assert 0 < len(text) <= 128


def test_json_for_people_has_state_and_progress() -> None:
    shown = job_json(job_from_record({**TEA, "paused": True}))
    assert shown["state"] == "paused"
    assert shown["next_fire_at"] is None
    assert shown["revision"] == 1
