"""Lists of job records, of acron's own kind and of agents' schedulers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, Command, Prompt
from acron.errors import AcronError
from acron.moving import Report
from acron.moving.plant import plant
from acron.moving.seed import read_records

if TYPE_CHECKING:
    from acron.testing import VirtualTime

CRON = {"kind": "cron", "expr": "0 9 * * *", "display": "daily"}


def read(*records: Any) -> Any:
    return read_records(json.dumps({"jobs": list(records)}).encode())


def one(**fields: Any) -> dict[str, Any]:
    found = read({"id": "a", "command": "true", "schedule": CRON} | fields)
    assert found.left_out == []
    (draft,) = found.drafts
    record: dict[str, Any] = draft.record
    return record


@pytest.mark.parametrize(
    "schedule,text",
    [
        (CRON, "0 9 * * *"),
        ({"kind": "interval", "minutes": 30}, "every 1800s"),
        ({"kind": "interval", "minutes": 0.5}, "every 30s"),
        ({"kind": "once", "run_at": "2027-02-03T14:00:00+00:00"}, "2027-02-03T14:00:00+00:00"),
        ("weekdays at 9am", "weekdays at 9am"),
    ],
)
def test_schedules(schedule: Any, text: str) -> None:
    assert one(schedule=schedule)["schedule"] == text


def test_an_interval_stays_on_its_lattice() -> None:
    found = one(
        schedule={"kind": "interval", "minutes": 30}, next_run_at="2026-12-01T10:10:00+01:00"
    )
    assert found["schedule"] == "every 30m from 2026-12-01T08:40Z"


def test_what_maps_to_what() -> None:
    full = {
        "name": "Tea",
        "enabled": False,
        "paused_reason": "no leaves",
        "repeat": {"times": 5, "completed": 2},
        "deliver": "origin, local",
        "origin": {"platform": "telegram", "chat_id": -100, "thread_id": 7},
        "workdir": "/srv",
        "last_run_at": "2026-01-01T00:00:00Z",
        "prompt": "",
        "skills": [],
    }
    assert one(**full) == {
        "id": "a",
        "name": "Tea",
        "command": "true",
        "schedule": "0 9 * * *",
        "paused": "no leaves",
        "repeat": 3,
        "deliver": ["origin", " local"],
        "origin": "telegram:-100:7",
        "cwd": "/srv",
    }
    assert one(enabled=False)["paused"] == "disabled where it came from"
    assert "paused" not in one(enabled=True)
    assert one(repeat=4)["repeat"] == 4
    assert "repeat" not in one(repeat={"times": None, "completed": 3})


def test_a_script_alone_is_a_command() -> None:
    found = read({"id": "a", "script": "watch.sh", "no_agent": True, "schedule": CRON})
    assert found.drafts[0].record["command"] == "watch.sh"


def test_a_prompt_asks_the_agent_with_what_goes_before_it() -> None:
    plain = one(command=None, prompt="Say hello", deliver="local")
    assert plain == {
        "id": "a",
        "prompt": "Say hello",
        "schedule": "0 9 * * *",
        "deliver": ["local"],
    }
    full = one(command=None, prompt="Sum up", script="fetch.sh", context_from="self")
    assert (full["prompt"], full["script"]) == ("Sum up", "fetch.sh")
    assert full["context_from"] == ["self"]
    assert one(command=None, prompt="x", context_from=["b", "c"])["context_from"] == ["b", "c"]
    alone = one(command=None, prompt="unused", script="watch.sh", no_agent=True)
    assert alone["command"] == "watch.sh"
    assert "prompt" not in alone
    assert "prompt" not in one(prompt="a command wins")


@pytest.mark.parametrize(
    "fields,why",
    [
        ({"prompt": 7, "command": None}, "no prompt"),
        ({"script": 7, "command": None}, "no text"),
        ({"command": None}, "no prompt, command"),
        ({"schedule": None}, "no schedule"),
        ({"schedule": {"kind": "moon"}}, "no known kind"),
        ({"schedule": {"kind": "interval", "minutes": 0}, "next_run_at": "2026-12-01T10:00Z"}, "0"),
        ({"schedule": {"kind": "interval", "minutes": 1e300}}, "no interval"),
        ({"repeat": {"times": 2, "completed": 2}}, "all its 2 times"),
        ({"repeat": "often"}, "no number"),
        ({"state": "completed"}, "completed"),
        ({"deliver": 7}, "no list of targets"),
    ],
)
def test_what_has_no_equivalent_is_listed(fields: dict[str, Any], why: str) -> None:
    record = {"id": "a", "command": "true", "schedule": CRON} | fields
    found = read(record, {"id": "b", "command": "true", "schedule": CRON})
    assert [draft.record["id"] for draft in found.drafts] == ["b"]
    (left,) = found.left_out
    assert (left.where, left.what) == ("jobs[0]", "a")
    assert why in left.why


def test_unknown_fields_are_kept_and_told() -> None:
    found = read({"id": "a", "command": "true", "schedule": CRON, "model": "m", "base": None})
    assert found.drafts[0].record["model"] == "m"
    assert "base" not in found.drafts[0].record
    (left,) = found.left_out
    assert left.what == "a: model"


def test_ids_that_are_none_are_made() -> None:
    records: list[dict[str, Any]] = [
        {"name": "My tea!", "command": "true", "schedule": CRON},
        {"id": "../x"},
    ]
    records[1] |= {"command": "true", "schedule": CRON}
    first, second = (draft.record["id"] for draft in read(*records).drafts)
    assert first.startswith("my-tea-")
    assert second.startswith("x-")
    assert [draft.record["id"] for draft in read(*records).drafts] == [first, second]


@pytest.mark.parametrize("data", [b"", b"{", b"3", b'{"jobs": 3}', b"[" * 9999, b'{"job": []}'])
def test_what_is_no_list_is_refused(data: bytes) -> None:
    with pytest.raises(AcronError):
        read_records(data)


async def test_records_are_planted(acron_time: VirtualTime) -> None:
    good = {"id": "good", "command": "true", "schedule": "every 2h", "enabled": False}
    past = {
        "id": "past",
        "command": "x",
        "schedule": {"kind": "once", "run_at": "2001-01-01T00:00Z"},
    }
    ask = {"id": "ask", "prompt": "Say hello", "schedule": CRON, "context_from": ["self"]}
    seen = {"id": "seen", "prompt": "Say\u200b hello", "schedule": CRON}
    bare = {"id": "bare", "command": "true", "schedule": "30m"}
    timed = {"id": "timed", "command": "true", "schedule": "every 1h", "timeout": "soon"}
    twice = {"id": "good", "command": "other", "schedule": "every 2h"}
    async with Acron("memory://", clock=acron_time.clock) as app:
        report = Report()
        await plant(app, read(good, past, bare, timed, twice, "junk", ask, seen), report)
        asks, job = [job async for job in app.jobs()]
        assert asks.action == Prompt("Say hello", context_from=("self",))
        assert (job.id, job.action, job.state) == ("good", Command("true"), "paused")
        why = {one.where: one.why for one in report.left_out}
        assert "in the past" in why["jobs[1]"]
        assert "in 30m" in why["jobs[2]"]
        assert why["jobs[3]"].startswith("timeout: ")
        assert "taken above" in why["jobs[4]"]
        assert "object" in why["jobs[5]"]
        assert "U+200B" in why["jobs[7]"]
        assert report.added == 2
