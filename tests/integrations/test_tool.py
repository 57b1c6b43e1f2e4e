from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, ConfigError, Context, InvalidJob, StoreUnavailable
from acron.integrations import tool
from acron.integrations.request import Request
from acron.specs import Command, Prompt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from acron.model import Job
    from acron.testing import VirtualTime

CHAT = "telegram:1"
SUNDAY = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAILY = {"action": "create", "schedule": "every day at 9am", "prompt": "Brief me"}


@asynccontextmanager
async def opened(acron_time: VirtualTime) -> AsyncIterator[Acron]:
    acron_time.set(SUNDAY)
    app = Acron("memory://", clock=acron_time.clock, tz="Europe/Paris")

    @app.agent
    async def agent(prompt: str) -> str:
        return f"said: {prompt}"

    @app.action
    async def remind(chat: int, text: str) -> str:
        return f"{chat}: {text}"

    async with app:
        yield app


async def say(app: Acron, origin: str = CHAT, /, **arguments: Any) -> str:
    return await tool.call(app, arguments, origin=origin)


async def only(app: Acron) -> Job:
    (job,) = [job async for job in app.jobs()]
    return job


async def test_a_confirmation_states_the_next_instants_and_the_zone(
    acron_time: VirtualTime,
) -> None:
    async with opened(acron_time) as app:
        said = await tool.call(app, DAILY | {"name": "morning"}, origin=CHAT, deliver="origin")
        job = await only(app)
        assert said == (
            f"Created job {job.id} ('morning'): at 09:00 every day (Europe/Paris).\n"
            "Next (Europe/Paris): Mon 2026-11-23 09:00 +01:00, Tue 2026-11-24 09:00 +01:00, "
            "Wed 2026-11-25 09:00 +01:00."
        )
        assert job.action == Prompt("Brief me")
        assert (job.tags, job.deliver) == ((f"origin:{CHAT}",), ("origin",))
        assert job.origin == CHAT
        await acron_time.advance(days=1)
        assert [run.output for run in await app.runs(job.id)] == ["said: Brief me"]


async def test_all_seven_actions(acron_time: VirtualTime) -> None:
    async with opened(acron_time) as app:
        once = {"schedule": "in 20m", "prompt": "tea", "name": "Tea", "tz": "Asia/Tokyo"}
        created = await tool.call(app, json.dumps({"action": "create", **once}), origin=CHAT)
        assert "Next (Asia/Tokyo): Sun 2026-11-22 21:20 +09:00; then no more." in created
        job = await only(app)
        listed = await say(app, action="list")
        assert listed.splitlines() == [
            "1 of at most 20 jobs:",
            f"- {job.id} ('Tea'): in 20m (Asia/Tokyo), next Sun 2026-11-22 21:20 +09:00: tea",
        ]
        updated = await say(app, action="update", job="tea", schedule="every 2h", repeat=2)
        assert "Mon 2026-11-23 01:00 +09:00; then no more" in updated
        wrong = await say(app, action="pause", job=job.id, until="someday")
        assert wrong.startswith("Error: until: ")
        paused = await say(app, action="pause", job=job.id, until="in 3 days", reason="away")
        assert paused.startswith(f"Paused job {job.id}")
        assert (await only(app)).paused == "away"
        assert (await only(app)).paused_until == SUNDAY + timedelta(days=3)
        assert "paused until Wed 2026-11-25 21:00 +09:00" in await say(app, action="list")
        assert (await say(app, action="resume", job="Tea")).startswith("Resumed job")
        assert "runs once now" in await say(app, action="run", job="TEA")
        await acron_time.settle()
        assert [run.output for run in await app.runs(job.id)] == ["said: tea"]
        assert (await say(app, action="remove", job="Tea")).startswith(f"Removed job {job.id}")
        assert await say(app, action="list") == "You have no jobs; you may have 20."


@pytest.mark.parametrize(
    "arguments, told",
    [
        ("{", "the arguments are not JSON"),
        ("[1]", "the arguments are an object"),
        ({}, "action must be one of create, list, update"),
        ({"action": "delete"}, "action must be one of create, list, update"),
        ({"action": "list", "jobb": "x"}, "did you mean job?"),
        ({"action": "list", "job": "x"}, "list takes no job"),
        (DAILY | {"job": "mine"}, "give the new job a name"),
        ({"action": "create", "prompt": "x"}, "create needs a schedule"),
        ({"action": "create", "schedule": "in 1h"}, "create needs a prompt"),
        (DAILY | {"schedule": "30m"}, "schedule: "),
        (DAILY | {"schedule": "30m"}, "'every 30m'"),
        (DAILY | {"schedule": 5}, "Expected str"),
        (DAILY | {"tz": "Europe/Pari"}, "use an IANA name"),
        (DAILY | {"repeat": 0}, "repeat: must be at least 1"),
        (DAILY | {"prompt": "x" * 10_001}, "10001 characters"),
        (DAILY | {"function": "remind"}, "not both"),
        ({"action": "create", "schedule": "in 1h", "function": "rm"}, "allowed: remind"),
        ({"action": "create", "schedule": "in 1h", "arguments": {"a": 1}}, "go with function"),
        (
            {"action": "create", "schedule": "in 1h", "function": "remind", "arguments": {"x": 1}},
            "'x'",
        ),
        ({"action": "pause"}, "pause needs job"),
        ({"action": "remove", "job": "no\nsuch"}, "you have no job 'no\\nsuch'"),
    ],
)
async def test_a_mistake_is_answered_in_words(
    acron_time: VirtualTime, arguments: Any, told: str
) -> None:
    async with opened(acron_time) as app:
        said = await tool.call(app, arguments, origin=CHAT, functions=["remind"])
        assert said.startswith("Error: ")
        assert told in said
        assert "\n" not in said
        assert [job async for job in app.jobs()] == []


@pytest.mark.parametrize("char", ["\u200b", "\u202e", "\U000e0041", "\u2066", "\ufeff"])
async def test_what_people_cannot_see_is_refused_and_placed(
    acron_time: VirtualTime, char: str
) -> None:
    async with opened(acron_time) as app:
        hidden = f"fine{char}text"
        call = {"action": "create", "schedule": "in 1h", "function": "remind"}
        for arguments, what in (
            (DAILY | {"prompt": f"first\n{hidden}"}, "prompt"),
            (DAILY | {"name": hidden}, "name"),
            (DAILY | {"schedule": f"in{char} 1h"}, "schedule"),
            (call | {"arguments": {"chat": 1, "text": [{"a": hidden}]}}, "arguments"),
        ):
            said = await tool.call(app, arguments, origin=CHAT, functions=["remind"])
            assert f"the {what} has an invisible character, U+{ord(char):04X}" in said
            assert f"line {2 if what == 'prompt' else 1}, column" in said
            assert char not in said
        assert [job async for job in app.jobs()] == []


async def test_a_function_of_the_allow_list(acron_time: VirtualTime) -> None:
    async with opened(acron_time) as app:
        arguments = {"chat": 1, "text": "tea"}
        asked = {"action": "create", "schedule": "in 1h", "function": "remind"}
        said = await tool.call(
            app, asked | {"arguments": arguments}, origin=CHAT, functions=["remind"]
        )
        assert said.startswith("Created")
        await acron_time.advance(hours=1)
        assert [run.output for run in await app.runs()] == ["1: tea"]
        names = tool.schema(["remind"])["parameters"]["properties"]["function"]["enum"]
        assert names == ["remind"]


async def test_an_origin_sees_and_changes_only_its_own(acron_time: VirtualTime) -> None:
    async with opened(acron_time) as app:
        await app.add("in 1h", Command("true"), id="hosts-own")
        await tool.call(app, DAILY | {"name": "secret plan"}, origin="telegram:2")
        (theirs,) = [job async for job in app.jobs(tag="origin:telegram:2")]
        before = [job async for job in app.jobs()]
        assert await say(app, action="list") == "You have no jobs; you may have 20."
        for ref in (theirs.id, "secret plan", "hosts-own"):
            for action in ("update", "pause", "resume", "run", "remove"):
                said = await say(app, action=action, job=ref)
                assert said == f"Error: you have no job {ref!r}; your jobs: none"
        assert [job async for job in app.jobs()] == before


async def test_a_quota_of_jobs_holds_for_calls_at_once(acron_time: VirtualTime) -> None:
    async with opened(acron_time) as app:
        limits = tool.Limits(jobs=2)
        calls = (tool.call(app, DAILY, origin=CHAT, limits=limits) for _ in range(5))
        said = await asyncio.gather(*calls)
        assert [text.startswith("Created") for text in said] == [True, True, False, False, False]
        assert said[-1] == "Error: you have 2 jobs, and 2 are allowed; remove one first"
        assert (await say(app, "telegram:2", **DAILY)).startswith("Created")


async def test_what_is_completed_takes_no_room_until_it_is_due_again(
    acron_time: VirtualTime,
) -> None:
    async with opened(acron_time) as app:
        limits = tool.Limits(jobs=1)
        await say(app, action="create", schedule="in 1m", prompt="x", name="old")
        await acron_time.advance(minutes=2)
        assert (await tool.call(app, DAILY, origin=CHAT, limits=limits)).startswith("Created")
        again = {"action": "update", "job": "old", "schedule": "in 1h"}
        assert "1 are allowed" in await tool.call(app, again, origin=CHAT, limits=limits)


@pytest.mark.parametrize(
    "schedule, gap",
    [
        ("every 30s", "30s"),
        ("* * * * *", "1m"),
        ("0,1 9 * * *", "1m"),
        ("0 9 * * * | 0 0 * * * * 2040", "1h"),
        ("*/2 9 1 1 *", "2m"),
    ],
)
async def test_a_quota_of_time_between_fires(
    acron_time: VirtualTime, schedule: str, gap: str
) -> None:
    async with opened(acron_time) as app:
        limits = tool.Limits(every=2 * 3600)
        await say(app, **DAILY)
        for arguments in (
            DAILY | {"schedule": schedule},
            {"action": "update", "job": (await only(app)).id, "schedule": schedule},
        ):
            said = await tool.call(app, arguments, origin=CHAT, limits=limits)
            assert f"fires every {gap} at times" in said
            assert "such as 'every 2h'" in said
        assert (await only(app)).schedule == DAILY["schedule"]


async def test_a_run_may_only_look_unless_its_job_may_schedule(acron_time: VirtualTime) -> None:
    async with opened(acron_time) as app:

        @app.action
        async def agent_turn(ctx: Context) -> str:
            """A run that wants to live for ever, by a task of its own too."""
            update = {"action": "update", "job": ctx.job.id, "schedule": "every 10m"}
            asked = [DAILY, update, {"action": "run", "job": ctx.job.id}, {"action": "list"}]
            tasks = [asyncio.create_task(tool.call(app, one, origin=CHAT)) for one in asked]
            return "\n".join(await asyncio.gather(*tasks))

        asked = {"action": "create", "schedule": "in 1m", "function": "agent_turn"}
        await tool.call(app, asked, origin=CHAT, functions=["agent_turn"])
        await acron_time.advance(minutes=2)
        output = (await app.runs())[0].output or ""
        assert output.count("Error: a scheduled run may only list jobs") == 3
        assert output.endswith("You have no jobs; you may have 20.")
        assert (await only(app)).completed

        allowed = {"functions": ["agent_turn"], "may_schedule": True}
        await tool.call(app, asked, origin=CHAT, **allowed)
        await acron_time.advance(minutes=2)
        output = (await app.runs())[0].output or ""
        assert "Created job" in output
        assert "Updated job" in output
        children = [
            job for job in [job async for job in app.jobs()] if job.action.needs == "prompt"
        ]
        assert [tool.MAY_SCHEDULE in job.tags for job in children] == [False]


async def test_a_run_of_another_process_is_held_to_the_same(acron_time: VirtualTime) -> None:
    async with opened(acron_time) as app:
        await app.add("in 1h", "remind", kwargs={"chat": 1, "text": "x"}, id="plain")
        await app.add("in 1h", Prompt("x"), id="trusted", tags=[tool.MAY_SCHEDULE])
        for within, begins in (("plain", "Error:"), ("gone", "Error:"), ("trusted", "Created")):
            said = await tool.call(app, DAILY, origin=CHAT, within=within)
            assert said.startswith(begins)


async def test_it_says_when_nothing_would_fire_the_job() -> None:
    app = Acron("memory://")
    async with app.attached():
        assert "nothing is running that would fire it" in await say(app, **DAILY)
    async with app:
        assert "has not an agent, so it waits" in await say(app, **DAILY)


async def test_a_store_that_fails_is_told_in_words(
    acron_time: VirtualTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(acron_time) as app:

        async def fail(*_: object, **__: object) -> None:
            raise StoreUnavailable("password=hunter2 refused")

        monkeypatch.setattr(app.store, "write", fail)
        said = await say(app, **DAILY)
        assert said.startswith("Error: the jobs cannot be reached now, and nothing was changed")
        monkeypatch.undo()
        monkeypatch.setattr(app, "add_many", lambda _: 1 / 0)
        assert "the scheduler itself failed (ZeroDivisionError" in await say(app, **DAILY)


async def test_an_origin_must_be_one(acron_time: VirtualTime) -> None:
    async with opened(acron_time) as app:
        for origin in ("", " ", "a\nb", "a,b", "x" * 201):
            with pytest.raises(ConfigError, match="printable"):
                await tool.call(app, {"action": "list"}, origin=origin)


async def test_what_people_add_is_checked_too(acron_time: VirtualTime) -> None:
    async with opened(acron_time) as app:
        with pytest.raises(InvalidJob, match="invisible"):
            await app.add("in 1h", Prompt("a\u200bb"))


def test_the_schema_is_a_function_definition() -> None:
    told = tool.schema()
    assert told["name"] == "schedule"
    parameters = told["parameters"]
    assert parameters["properties"]["action"]["enum"] == [
        *("create", "list", "update", "pause", "resume", "run", "remove")
    ]
    assert (parameters["required"], parameters["additionalProperties"]) == (["action"], False)
    assert "function" not in parameters["properties"]
    assert set(tool.schema(["x"])["parameters"]["properties"]) == set(Request.__struct_fields__)
    assert json.loads(json.dumps(told)) == told


async def test_mcp_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from acron.integrations.mcp import server

    monkeypatch.setitem(sys.modules, "mcp_types", None)
    with pytest.raises(ConfigError, match=r'pip install "acron-runtime\[mcp\]"'):
        server(tool.Desk(Acron("memory://"), CHAT))
