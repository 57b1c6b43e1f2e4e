"""Duties of a store: definitions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from acron.errors import StoreError
from acron.model import Decision, Policy, Retry, RunState
from acron.specs import Call, Command, Custom
from acron.testing.contracts._stores_base import (
    CAN,
    NOW,
    Refused,
    StoreSuite,
    a_job,
    a_run,
    a_skip,
    at,
    end_of,
    ended,
    keeps,
    removes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from acron.model import Job, Run
    from acron.testing.contracts._stores_base import Mint

FULL = a_job(
    "full",
    name="Full of fields",
    tz="Europe/Paris",
    action=Call("f", {"deep": [1, 2.5, None, {"ü": "☕"}], "text": 'quo"te\n'}),
    policy=Policy(
        start=NOW,
        until=at(1e6),
        jitter=1.5,
        repeat=3,
        catch_up="all",
        grace=0.0,
        overlap="queue",
        retry=Retry(attempts=4, on=(ValueError, "package.module.Error")),
        idempotent=True,
    ),
    deliver=("log", "telegram:-100123"),
    tags=("a", "b"),
    app="bot",
    paused="because",
    extra={"colour": "red", "nested": {"x": [True]}},
    cursor=datetime(2026, 11, 30, 23, 59, 59, 999999, tzinfo=UTC),
    last_fire_at=NOW,
    fired=7,
    failures=2,
    error="cannot be computed",
    revision=9,
)
ODD = ["é☕", "a b", "x" * 5000, "../../etc", 'qu"ote\\', "line\nbreak", "%s{}';--", "r1", "\x7f"]


class JobDuties(StoreSuite):
    """Writing, reading and removing jobs."""

    async def test_a_new_store_is_empty(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            assert await store.get("a") is None
            assert await store.page() == []
            assert await store.named("a") == []
            assert await store.next_due(at(-1e9), CAN) is None
            assert await store.runs() == []
            assert await store.skips() == []
            assert await store.run("r1") is None
            assert await store.problems() == []

    async def test_who_writes_reads_what_was_written(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            for fired in range(3):
                job = a_job("a", name="news", fired=fired, tags=("t",))
                await self.put(store, job)
                assert await store.get("a") == job
                assert await store.page() == await store.page(tag="t") == [job]
                assert await store.named("news") == [job]
            await store.write(["a"], removes, NOW)
            assert await store.get("a") is None
            assert await store.page() == await store.named("news") == []

    async def test_pages_of_one_app(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, *(a_job(key, app="bot") for key in "ace"), a_job("b"))
            await self.put(store, a_job("d", app="other"))
            page = await store.page(limit=2, app="bot")
            assert [job.id for job in page] == ["a", "c"]
            assert [job.id for job in await store.page("c", app="bot")] == ["e"]
            assert await store.page(app="nobody") == []

    async def test_the_jobs_of_a_start(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"), a_job("b", schedule="@reboot", bound="@reboot"))
            assert [job.id for job in await store.on_start()] == ["b"]

    async def test_a_job_is_read_back_with_all_its_fields(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, FULL)
            assert await store.get("full") == FULL

    @pytest.mark.parametrize(
        "action",
        [
            Command("echo hi"),
            Command(("ls", "-l"), cwd="/", env={"A": ""}),
            Custom("mine", {"x": 1}),
        ],
        ids=["shell", "argv", "custom"],
    )
    async def test_every_kind_of_action_is_kept(
        self, tmp_path: Path, action: Command | Custom
    ) -> None:
        async with self.opened(tmp_path) as store:
            job = a_job("a", action=action)
            await self.put(store, job)
            assert await store.get("a") == job
            assert len(await store.claim(NOW, 9, {action.needs}, lambda due, _: Decision(due.job)))

    @pytest.mark.parametrize("odd", ODD, ids=[ascii(one[:12]) for one in ODD])
    async def test_ids_are_opaque_text(self, tmp_path: Path, odd: str) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job(odd), a_job("plain", 5))
            (run,) = await self.start(store)
            assert run.job_id == odd
            assert [one.id for one in await store.runs(odd)] == [run.id]
            assert {job.id for job in await store.page()} == {odd, "plain"}
            await store.write([odd], removes, NOW)
            assert await store.get(odd) is None
            assert await store.get("plain") is not None

    async def test_ids_differ_by_case(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("Tea"), a_job("tea", 5))
            job = await store.get("tea")
            assert job is not None
            assert job.next_fire_at == at(5)

    async def test_instants_keep_their_microseconds(self, tmp_path: Path) -> None:
        far = datetime(9998, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", next_fire_at=far))
            assert await store.next_due(NOW, CAN) == far
            job = await store.get("a")
            assert job is not None
            assert job.next_fire_at == far

    async def test_write_answers_in_the_order_of_the_ids(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            jobs = [a_job("b"), a_job("a"), a_job("c")]
            decisions = await store.write([job.id for job in jobs], keeps(*jobs), NOW)
            assert [decision.job for decision in decisions] == jobs

    async def test_write_replaces(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, FULL)
            await self.put(store, a_job("full", 7))
            assert await store.get("full") == a_job("full", 7)

    async def test_change_is_given_what_is_stored(self, tmp_path: Path) -> None:
        seen: dict[str, Job | None] = {}

        def change(job_id: str, job: Job | None, _: Sequence[Run], _mint: Mint) -> Decision:
            seen[job_id] = job
            return Decision(job)

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            await store.write(["a", "nobody"], change, NOW)
            assert seen == {"a": a_job("a"), "nobody": None}
            assert await store.get("nobody") is None

    async def test_change_is_given_live_and_pending_runs(self, tmp_path: Path) -> None:
        seen: list[set[str]] = []

        def change(_id: str, job: Job | None, runs: Sequence[Run], _mint: Mint) -> Decision:
            seen.append({run.id for run in runs})
            return Decision(job)

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"), a_job("b"))
            ran, other = await self.start(store, then=60.0)
            waiting = await self.wait(store, "a", 100)
            again = await self.wait(store, "a", 200, attempt=2)
            await store.write(["a"], change, NOW)
            await store.finish([end_of(ran), end_of(other)], ended)
            await store.write(["a"], change, NOW)
            assert seen == [{ran.id, waiting.id, again.id}, {waiting.id, again.id}]

    async def test_the_same_id_twice_sees_its_own_first_change(self, tmp_path: Path) -> None:
        seen: list[tuple[int | None, int]] = []

        def change(job_id: str, job: Job | None, runs: Sequence[Run], mint: Mint) -> Decision:
            seen.append((None if job is None else job.fired, len(runs)))
            fired = 1 if job is None else job.fired + 1
            return Decision(a_job(job_id, fired=fired), (a_run(job_id, mint, 50),))

        async with self.opened(tmp_path) as store:
            await store.write(["a", "a", "a"], change, NOW)
            job = await store.get("a")
            assert seen == [(None, 0), (1, 1), (2, 2)]
            assert job is not None
            assert job.fired == 3
            assert len(await store.runs("a", state=RunState.PENDING)) == 3

    async def test_write_keeps_runs_and_skips(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            skip = a_skip("a", count=3, first_at=at(-60))
            await store.write(["a"], lambda *_: Decision(a_job("a"), skips=(skip,)), NOW)
            run = await self.wait(store, "a", 5)
            assert await store.skips("a") == [skip]
            assert await store.run(run.id) == run

    async def test_an_error_in_change_leaves_nothing(self, tmp_path: Path) -> None:
        def change(job_id: str, _job: Job | None, _: Sequence[Run], mint: Mint) -> Decision:
            if job_id == "c":
                raise Refused
            return Decision(a_job(job_id), (a_run(job_id, mint),), (a_skip(job_id),))

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", 50))
            with pytest.raises(Refused):
                await store.write(["a", "b", "c"], change, NOW)
            assert await store.page() == [a_job("a", 50)]
            assert await store.runs() == []
            assert await store.skips() == []
            assert await store.next_due(at(-1), CAN) == at(50)

    async def test_a_removed_job_is_gone_and_not_due(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"), a_job("b"))
            await store.write(["a"], removes, NOW)
            assert await store.get("a") is None
            assert [job.id for job in await store.page()] == ["b"]
            assert await store.named("a") == []
            assert [run.job_id for run in await self.start(store)] == ["b"]

    async def test_removing_what_is_not_there_is_no_error(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            assert await store.write(["a"], removes, NOW) == [Decision(None)]
            assert await store.page() == []

    async def test_a_removed_job_can_come_back(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", action=Call("g")))
            await store.write(["a"], removes, NOW)
            await self.put(store, a_job("a"))
            assert await store.claim(NOW, 9, {"call:g"}, starts_never) == []
            assert [run.job_id for run in await self.start(store)] == ["a"]

    async def test_the_ledger_outlives_the_job(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            (run,) = await self.start(store, skips=(a_skip("a"),))
            await store.finish([end_of(run)], ended)
            await store.write(["a"], removes, NOW)
            assert [one.id for one in await store.runs("a")] == [run.id]
            assert len(await store.skips("a")) == 1

    async def test_names_are_found_whatever_their_case(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(
                store, a_job("2", name="Tea"), a_job("1", name="TEA"), a_job("3", name="coffee")
            )
            assert [job.id for job in await store.named("tea")] == ["1", "2"]
            await self.put(store, a_job("2", name="Coffee"))
            assert [job.id for job in await store.named("tEa")] == ["1"]
            assert [job.id for job in await store.named("COFFEE")] == ["2", "3"]
            await store.write(["3"], removes, NOW)
            assert [job.id for job in await store.named("coffee")] == ["2"]

    async def test_pages_are_ordered_and_bounded(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, *(a_job(one) for one in ("d", "a", "c", "e", "b")))
            assert [job.id for job in await store.page(limit=2)] == ["a", "b"]
            assert [job.id for job in await store.page("b", 2)] == ["c", "d"]
            assert [job.id for job in await store.page("bb", 2)] == ["c", "d"]
            assert await store.page("e") == []
            assert await store.page(limit=0) == []

    async def test_pages_walk_over_all_jobs_once(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, *(a_job(f"j{n:04}") for n in reversed(range(1200))))
            found: list[str] = []
            while page := await store.page(found[-1] if found else "", 500):
                found += [job.id for job in page]
                await store.write([page[0].id], removes, NOW)
            assert found == [f"j{n:04}" for n in range(1200)]

    async def test_what_is_closed_refuses(self, tmp_path: Path) -> None:
        store = await self.make_store(tmp_path)
        await store.close()
        await store.open(NOW)
        await store.close()
        await store.close()
        with pytest.raises(StoreError):
            await store.get("a")
        with pytest.raises(StoreError):
            await store.claim(NOW, 1, CAN, starts_never)

    async def test_everything_is_there_when_opened_again(self, tmp_path: Path) -> None:
        if not self.durable:
            pytest.skip("it keeps nothing")
        async with self.opened(tmp_path) as store:
            await self.put(store, FULL, a_job("a"), a_job("b"), a_job("gone"))
            await store.write(["gone"], removes, NOW)
            runs = await self.start(store, then=60.0, skips=(a_skip("a"),))
            await store.finish([end_of(runs[0], output="tea ☕")], ended)
            await self.wait(store, "b", 30)
            before = await everything(store)
        async with self.opened(tmp_path, "n2") as store:
            assert await everything(store) == before
            assert await store.next_due(NOW, CAN) == at(30)

    async def test_an_edit_does_not_lose_fields_it_does_not_know(self, tmp_path: Path) -> None:
        def pause(_id: str, job: Job | None, _: Sequence[Run], _mint: Mint) -> Decision:
            assert job is not None
            return Decision(replace(job, paused="later", revision=job.revision + 1))

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", extra={"new-field": [1]}))
            await store.write(["a"], pause, NOW)
            job = await store.get("a")
            assert job is not None
            assert job.extra == {"new-field": [1]}
            assert (job.paused, job.revision) == ("later", 2)

    async def test_its_address_can_be_shown(self, tmp_path: Path) -> None:
        store = await self.make_store(tmp_path)
        assert store.address
        assert store.address.isprintable()


def starts_never(_due: object, _mint: Mint) -> None:
    """Decide to leave everything owed."""


async def everything(store: object) -> list[object]:
    """All that a store can tell about jobs and their fates."""
    return [
        await store.page(),  # type: ignore[attr-defined]
        await store.runs(),  # type: ignore[attr-defined]
        await store.skips(),  # type: ignore[attr-defined]
        await store.runs(state=RunState.PENDING),  # type: ignore[attr-defined]
        await store.runs(state=RunState.RUNNING),  # type: ignore[attr-defined]
    ]
