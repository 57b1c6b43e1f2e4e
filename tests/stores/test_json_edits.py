"""FAULTS 13-16: ``jobs.json`` in the hands of people."""
# ruff: noqa: ASYNC240 - a test plays the editor; it may wait for its own small files

from __future__ import annotations

import json
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from acron.errors import StoreCorrupt, StoreUnavailable
from acron.model import Decision, RunState
from acron.specs import Call, Command
from acron.stores.json_file import JsonFileStore
from acron.testing.contracts._stores_base import (
    CAN,
    NOW,
    a_job,
    a_run,
    at,
    end_of,
    ended,
    keeps,
    removes,
    starts,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from acron.model import Due

TEA = {"id": "tea", "schedule": "every 2h", "command": "kettle on"}
COFFEE = {"id": "coffee", "schedule": "0 9 * * *", "call": "brew"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bot.json"


@asynccontextmanager
async def opened(path: Path, seconds: float = 0) -> AsyncIterator[JsonFileStore]:
    store = JsonFileStore(path)
    await store.open(at(seconds))
    try:
        yield store
    finally:
        await store.close()


def declare(path: Path, *records: Any, **others: Any) -> None:
    path.write_text(json.dumps({"acron": 1, "jobs": records} | others))


async def tick(store: JsonFileStore, seconds: float = 0) -> None:
    """What a daemon does: nothing is due for it, but edits are taken over."""
    await store.claim(at(seconds), 9, set(), starts())


async def ids(store: JsonFileStore) -> list[str]:
    return [job.id for job in await store.page()]


async def test_a_file_written_by_hand(path: Path) -> None:
    declare(path, TEA, COFFEE)
    async with opened(path) as store:
        tea = await store.get("tea")
        assert tea is not None
        assert (tea.name, tea.action, tea.next_fire_at) == ("tea", Command("kettle on"), at(7200))
        assert await store.next_due(NOW, {"command"}) == at(7200)
        assert await store.problems() == []


async def test_records_are_flat_and_readable(path: Path) -> None:
    async with opened(path) as store:
        job = a_job("tea", action=Call("f", {"sugar": 2}), paused="later")
        await store.write(["tea"], keeps(job), NOW)
    assert path.read_text() == (
        "{\n"
        '  "acron": 1,\n'
        '  "revision": 1,\n'
        '  "jobs": [\n'
        "    {\n"
        '      "id": "tea",\n'
        '      "schedule": "2026-12-01T09:00Z",\n'
        '      "call": "f",\n'
        '      "kwargs": {\n'
        '        "sugar": 2\n'
        "      },\n"
        '      "paused": "later"\n'
        "    }\n"
        "  ]\n"
        "}\n"
    )


async def test_nothing_is_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "new" / "home" / "bot.json"
    async with opened(path) as store:
        await store.write(["a"], keeps(a_job("a")), NOW)
        await store.write(["a"], keeps(a_job("a", paused="")), NOW)
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
    assert set(modes) == {"bot.json", "bot.json.last", "bot.journal", "bot.lock"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_no_fire_writes_the_definitions(path: Path) -> None:
    async with opened(path) as store:
        await store.write(["a"], keeps(a_job("a")), NOW)
        before = path.stat()
        (decision,) = await store.claim(NOW, 9, CAN, starts(then=60.0))
        await store.finish([end_of(decision.runs[0])], ended)
        await store.write(["a"], lambda _, job, __, mint: Decision(job, (a_run("a", mint),)), NOW)
        after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_an_edit_is_taken_over_and_is_news(path: Path, acron_time: Any) -> None:
    declare(path, TEA)
    async with opened(path) as store:
        await store.changed(0)
        declare(path, TEA | {"schedule": "every 1h"}, COFFEE)
        assert await store.changed(1)
        await tick(store, 10)
        tea = await store.get("tea")
        assert tea is not None
        assert (tea.schedule, tea.next_fire_at, tea.revision) == ("every 1h", at(3610), 2)
        assert await ids(store) == ["coffee", "tea"]
        await store.changed(0)
        assert not await store.changed(1)


async def test_an_edit_made_while_nothing_ran(path: Path) -> None:
    declare(path, TEA, COFFEE)
    async with opened(path) as store:
        await store.claim(at(7200), 9, {"command"}, starts(then=14400.0))
    declare(path, TEA | {"paused": True}, {**COFFEE, "id": "mocha"})
    async with opened(path, 8000) as store:
        tea = await store.get("tea")
        assert tea is not None
        assert (tea.paused, tea.fired, tea.next_fire_at) == ("", 1, at(14400))
        assert await ids(store) == ["mocha", "tea"]


async def test_an_edit_of_other_fields_keeps_the_lattice(path: Path) -> None:
    declare(path, TEA)
    async with opened(path) as store:
        declare(path, TEA | {"command": "kettle off"})
        await tick(store, 1000)
        tea = await store.get("tea")
        assert tea is not None
        assert (tea.action, tea.next_fire_at) == (Command("kettle off"), at(7200))


async def test_a_record_taken_out_takes_its_waiting_runs_along(path: Path) -> None:
    declare(path, TEA, COFFEE)
    async with opened(path) as store:
        await store.write(
            ["tea"], lambda _, job, __, mint: Decision(job, (a_run("tea", mint, 60),)), NOW
        )
        declare(path, COFFEE)
        await tick(store, 5)
        assert await ids(store) == ["coffee"]
        (run,) = await store.runs("tea")
        assert (run.state, run.finished_at) == (RunState.CANCELLED, at(5))


async def test_a_write_and_an_edit_both_survive(path: Path) -> None:
    declare(path, TEA)
    async with opened(path) as store:
        declare(path, TEA, COFFEE)
        await store.write(["a"], keeps(a_job("a")), NOW)
        assert await ids(store) == ["a", "coffee", "tea"]
        written = json.loads(path.read_text())["jobs"]
        assert [one["id"] for one in written] == ["tea", "coffee", "a"]


async def test_an_edit_in_the_middle_of_a_write_survives(path: Path) -> None:
    declare(path, TEA)
    async with opened(path) as store:
        files, prepare = store._files, store._files.prepare

        def edit(where: Path, data: bytes) -> None:
            files.prepare = prepare  # type: ignore[method-assign]
            declare(path, TEA, COFFEE)
            prepare(where, data)

        files.prepare = edit  # type: ignore[method-assign, assignment]
        await store.write(["a"], keeps(a_job("a")), NOW)
        assert await ids(store) == ["a", "coffee", "tea"]
        assert len(json.loads(path.read_text())["jobs"]) == 3


async def test_an_edit_in_the_middle_of_a_transaction_is_news(path: Path) -> None:
    declare(path, TEA)
    async with opened(path) as store:
        await store.write(["a"], keeps(a_job("a")), NOW)
        assert [await store.changed(0) for _ in range(2)] == [True, False]

        def edit(due: Due, mint: Callable[[], int]) -> Decision | None:
            declare(path, TEA, COFFEE)
            return starts()(due, mint)

        assert await store.claim(NOW, 9, CAN, edit)
        assert await store.changed(0)
        await tick(store)
        assert "coffee" in await ids(store)
        assert [await store.changed(0) for _ in range(2)] == [True, False]


async def test_a_broken_file_is_news_once(path: Path) -> None:
    declare(path, TEA)
    async with opened(path) as store:
        path.write_text("{")
        for _ in range(2):
            await store.changed(0)
            await tick(store)
        assert not await store.changed(0)
        declare(path, TEA, COFFEE)
        assert await store.changed(0)


async def test_whoever_edits_all_the_time_is_told(path: Path) -> None:
    declare(path, TEA)
    async with opened(path) as store:
        prepare = store._files.prepare
        times = iter(range(1000))

        def edit(where: Path, data: bytes) -> None:
            declare(path, TEA | {"name": f"name {next(times)}"})
            prepare(where, data)

        store._files.prepare = edit  # type: ignore[method-assign, assignment]
        with pytest.raises(StoreUnavailable, match="edited all the time"):
            await store.write(["a"], keeps(a_job("a")), NOW)
        assert await ids(store) == ["tea"]


async def test_a_self_pause_does_not_swallow_an_edit(path: Path) -> None:
    declare(path, TEA)
    async with opened(path) as store:
        (decision,) = await store.claim(at(7200), 9, {"command"}, starts(then=9e4))
        declare(path, TEA, COFFEE)
        await store.finish(
            [end_of(decision.runs[0])],
            lambda job, *rest: Decision(replace(job, paused="failing"), ended(job, *rest).runs),
        )
        await tick(store, 8000)
        assert await ids(store) == ["coffee", "tea"]
        tea = await store.get("tea")
        assert tea is not None
        assert tea.paused == "failing"
        assert json.loads(path.read_text())["jobs"][0]["paused"] == "failing"


async def test_what_is_not_touched_stays_as_it_was_typed(path: Path) -> None:
    typed = (
        '\ufeff{ "comment": {"mine":   [1,2]}, "acron":1,\n'
        '"jobs": [ {"id":"tea",   "schedule":"every 2h", "command":"x", "timeout":"5m", "my":1},\n'
        '  {"id": "coffee", "schedule": "every 1h", "command": "y"} ] }'
    )
    path.write_text(typed)
    async with opened(path) as store:
        await store.write(["coffee"], removes, NOW)
        await store.write(["a"], keeps(a_job("a")), NOW)
    text = path.read_text()
    assert '"comment": {"mine":   [1,2]}' in text
    assert '{"id":"tea",   "schedule":"every 2h", "command":"x", "timeout":"5m", "my":1}' in text
    assert [one["id"] for one in json.loads(text)["jobs"]] == ["tea", "a"]


async def test_unknown_fields_survive_an_edit_of_their_record(path: Path) -> None:
    declare(path, TEA | {"x-colour": {"deep": [None]}})
    async with opened(path) as store:
        await store.write(
            ["tea"], lambda _, job, *__: Decision(replace(job, paused="", revision=2)), NOW
        )
    (record,) = json.loads(path.read_text())["jobs"]
    assert record["x-colour"] == {"deep": [None]}
    assert record["paused"] is True


BAD = {
    "NaN": '{"id": "bad", "schedule": "every 1h", "command": "x", "timeout": NaN}',
    "deep": '{"id": "bad", "schedule": "every 1h", "x": ' + "[" * 50_000 + "]" * 50_000 + "}",
    "field": '{"id": "bad", "schedule": "every 1h", "command": "x", "timeout": {}}',
    "schedule": '{"id": "bad", "schedule": "whenever", "command": "x"}',
    "no action": '{"id": "bad", "schedule": "every 1h"}',
    "huge": '{"id": "bad", "schedule": "every 1h", "command": "x", "timeout": 1' + "0" * 400 + "}",
    "twice": '{"id": "tea", "schedule": "every 1h", "command": "other"}',
    "id": '{"id": "../bad", "schedule": "every 1h", "command": "x"}',
    "no id": '{"schedule": "every 1h", "command": "x"}',
    "number": "17",
    "null": "null",
    "nothing": "",
    "comma": '{"id": "bad", "schedule": "every 1h", "command": "x",}',
    "quotes": "{'id': 'bad'}",
    "control": '{"id": "bad", "schedule": "a\x01b", "command": "x"}',
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_a_bad_record_stops_none_of_its_siblings(path: Path, bad: str) -> None:
    path.write_text(f'{{"acron": 1, "jobs": [{json.dumps(TEA)},\n {bad},\n {json.dumps(COFFEE)}]}}')
    async with opened(path) as store:
        assert await ids(store) == ["coffee", "tea"]
        (problem,) = await store.problems()
        assert "$.jobs[1]" in problem
        assert problem.isprintable()
        assert len(problem) < 1000
        await store.write(["a"], keeps(a_job("a")), NOW)
        await tick(store)
        assert await ids(store) == ["a", "coffee", "tea"]
        assert len(await store.problems()) == 1
    assert bad in path.read_text()
    async with opened(path) as store:
        assert len(await store.problems()) == 1


async def test_a_problem_names_the_exact_field(path: Path) -> None:
    declare(path, TEA, COFFEE | {"retry": {"attempts": 0}}, TEA | {"id": "x", "schedule": "30m"})
    async with opened(path) as store:
        first, second = await store.problems()
        assert "$.jobs[1] (id 'coffee'): $.jobs[1].retry.attempts: " in first
        assert "$.jobs[2] (id 'x'): $.jobs[2].schedule: " in second


async def test_a_job_whose_record_went_bad_is_as_it_was(path: Path) -> None:
    declare(path, TEA, COFFEE)
    async with opened(path) as store:
        path.write_text(
            f'{{"acron": 1, "jobs": [{{"id": "tea", "timeout": NaN}}, {json.dumps(COFFEE)}]}}'
        )
        await tick(store)
        assert await ids(store) == ["coffee", "tea"]
        assert "(id 'tea')" in (await store.problems())[0]
        declare(path, TEA, COFFEE)
        await tick(store)
        assert await store.problems() == []


async def test_writing_a_job_anew_heals_its_record(path: Path) -> None:
    declare(path, TEA | {"timeout": "soon"})
    async with opened(path) as store:
        await store.write(["tea"], keeps(a_job("tea")), NOW)
        await tick(store)
        assert await store.problems() == []
    (record,) = json.loads(path.read_text())["jobs"]
    assert record["call"] == "f"


async def test_removing_a_job_removes_its_doubles(path: Path) -> None:
    declare(path, TEA, TEA, COFFEE)
    async with opened(path) as store:
        await store.write(["tea"], removes, NOW)
        await tick(store)
        assert await ids(store) == ["coffee"]
        assert await store.problems() == []


WHOLE = json.dumps({"acron": 1, "jobs": [TEA, COFFEE]}).encode()
BROKEN = {
    "empty": b"",
    "blank": b" \n",
    "NUL": b"\0" * len(WHOLE),
    "cut": WHOLE[:-30],
    "cut in a text": WHOLE[:40],
    "no object": b"[]",
    "no jobs": b'{"acron": 1}',
    "jobs are no list": b'{"acron": 1, "jobs": {}}',
    "newer": WHOLE.replace(b'"acron": 1', b'"acron": 2'),
    "a strange version": WHOLE.replace(b'"acron": 1', b'"acron": "x"'),
    "twice": WHOLE + WHOLE,
    "brackets": WHOLE.replace(b"]", b"}"),
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
async def test_a_broken_file_is_kept_and_refused(path: Path, data: bytes) -> None:
    declare(path, TEA)
    async with opened(path):
        pass
    path.write_bytes(data)
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match=r"bot\.json\.broken-20261201T090000Z") as caught:
            await JsonFileStore(path).open(NOW)
    assert "bot.json.good" in str(caught.value)
    assert path.read_bytes() == data
    assert [one.read_bytes() for one in path.parent.glob("*.broken-*")] == [data]
    path.with_name("bot.json.good").replace(path)
    async with opened(path) as store:
        tea = await store.get("tea")
        assert tea is not None
        assert tea.next_fire_at == at(7200)


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
async def test_a_file_that_breaks_under_way(path: Path, data: bytes) -> None:
    declare(path, TEA)
    async with opened(path) as store:
        path.write_bytes(data)
        (decision,) = await store.claim(at(7200), 9, {"command"}, starts(then=9e4))
        assert "bot.json.broken-" in (await store.problems())[0]
        with pytest.raises(StoreCorrupt):
            await store.write(["a"], keeps(a_job("a")), NOW)
        with pytest.raises(StoreCorrupt):
            await store.write(["tea"], removes, NOW)
        await store.finish(
            [end_of(decision.runs[0])],
            lambda job, *rest: Decision(replace(job, paused="x"), ended(job, *rest).runs),
        )
        assert path.read_bytes() == data
        assert await ids(store) == ["tea"]
        declare(path, TEA, COFFEE)
        await tick(store)
        assert await store.problems() == []
        assert await ids(store) == ["coffee", "tea"]
        await store.write(["a"], keeps(a_job("a")), NOW)


async def test_every_cut_of_the_file_is_refused(path: Path) -> None:
    declare(path, TEA, COFFEE | {"kwargs": {"text": 'a}]}"b'}}, other=[1])
    whole = path.read_bytes()
    from acron.stores.definitions import Document, Unreadable

    assert len(Document.parse(whole).records) == 2
    for size in range(len(whole)):
        with pytest.raises(Unreadable):
            Document.parse(whole[:size])


async def test_a_file_that_is_gone(path: Path) -> None:
    declare(path, TEA)
    async with opened(path) as store:
        path.unlink()
        await tick(store)
        assert await ids(store) == ["tea"]
        assert "gone" in (await store.problems())[0]
        with pytest.raises(StoreCorrupt):
            await store.write(["a"], keeps(a_job("a")), NOW)
        assert not path.exists()
    with pytest.raises(StoreCorrupt, match="gone"):
        await JsonFileStore(path).open(NOW)


async def test_a_file_of_no_jobs_may_go(path: Path) -> None:
    async with opened(path) as store:
        await store.write(["a"], keeps(a_job("a")), NOW)
        await store.write(["a"], removes, NOW)
        path.unlink()
        await store.write(["b"], keeps(a_job("b")), NOW)
    assert [one["id"] for one in json.loads(path.read_text())["jobs"]] == ["b"]


async def test_a_linked_file_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real" / "bot.json", tmp_path / "bot.json"
    real.parent.mkdir()
    declare(real, TEA)
    link.symlink_to(real)
    async with opened(link) as store, opened(real) as other:
        await store.write(["a"], keeps(a_job("a")), NOW)
        assert await ids(other) == ["a", "tea"]
    assert link.is_symlink()
    assert not (tmp_path / "bot.journal").exists()


async def test_a_link_in_a_circle(tmp_path: Path) -> None:
    path = tmp_path / "bot.json"
    path.symlink_to(path)
    with pytest.raises(StoreUnavailable):
        await JsonFileStore(path).open(NOW)
