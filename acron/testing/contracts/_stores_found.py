"""Duties of a store: jobs found by tag, by what went wrong, and runs by their deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from acron.model import DELIVERY_STATES, Delivery, Incident, RunState
from acron.specs import Call
from acron.testing.contracts._stores_base import (
    CAN,
    NOW,
    StoreSuite,
    a_job,
    at,
    delivering,
    end_of,
    ended,
    no_news,
    removes,
    starts,
)

if TYPE_CHECKING:
    from pathlib import Path

    from acron.abc import Store
    from acron.model import Job, Run

INCIDENT = Incident(
    id="i1", kind="failure", signature="E: no", error="E: no 7", first_at=NOW, last_at=NOW
)
FAILED = Delivery("telegram:1", "failed", error="no")
SENT = Delivery("telegram:2", "delivered", "id")
WAITING = Delivery("telegram:3", retry_at=at(60))
SENDING = Delivery("telegram:4", "sending")


def ids(found: list[Job]) -> list[str]:
    return [job.id for job in found]


class TagDuties(StoreSuite):
    """``page(tag=…)``, ``remove_tagged``."""

    async def test_jobs_are_found_by_tag(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, *(a_job(one, tags=("x", "y")) for one in "dab"))
            await self.put(store, a_job("c", tags=("y",), app="bot"), a_job("e"))
            assert ids(await store.page(tag="x")) == ["a", "b", "d"]
            assert ids(await store.page("a", 1, tag="x")) == ["b"]
            assert ids(await store.page(tag="y", app="bot")) == ["c"]
            assert await store.page(tag="z") == []
            assert await store.page(limit=0, tag="x") == []

    async def test_tags_follow_edits(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", tags=("x",)), a_job("b", tags=("x", "x")))
            await self.put(store, a_job("a", tags=("y",)), a_job("b", 5, tags=("x",)))
            assert ids(await store.page(tag="x")) == ["b"]
            assert ids(await store.page(tag="y")) == ["a"]
            await store.write(["b"], removes, NOW)
            assert await store.page(tag="x") == []
            await self.put(store, a_job("b"))
            assert await store.page(tag="x") == []

    @pytest.mark.parametrize("tag", ["", "user:42", "ünï ☕", "a\x00b", "x" * 5000, "%_'\"*"])
    async def test_any_text_is_a_tag(self, tmp_path: Path, tag: str) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", tags=(tag,)), a_job("b", tags=(tag + "x",)))
            assert ids(await store.page(tag=tag)) == ["a"]
            assert await store.remove_tagged(tag, NOW) == 1
            assert ids(await store.page()) == ["b"]

    async def test_all_with_a_tag_are_removed(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, *(a_job(f"j{n:04}", n, tags=("u", "all")) for n in range(700)))
            await self.put(store, a_job("other", 800, tags=("all",)), a_job("none", 900))
            assert await store.remove_tagged("u", NOW) == 700
            assert await store.remove_tagged("u", NOW) == 0
            assert ids(await store.page()) == ["none", "other"]
            assert ids(await store.page(tag="all")) == ["other"]
            assert await store.next_due(at(-1), CAN) == at(800)
            assert await store.get("j0000") is None

    async def test_what_they_had_pending_is_cancelled(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", tags=("u",)), a_job("b", 99))
            (running,) = await self.start(store)
            waiting, kept = await self.wait(store, "a", 5), await self.wait(store, "b", 5)
            await no_news(store)
            assert await store.remove_tagged("u", at(3)) == 1
            assert await store.changed(5)
            gone = await store.run(waiting.id)
            assert gone is not None
            assert (gone.state, gone.finished_at) == (RunState.CANCELLED, at(3))
            assert gone.error
            assert await store.run(kept.id) == kept
            assert await store.run(running.id) == running
            results = await store.finish([end_of(running)], ended)
            assert results[0] is not None
            assert results[0].job is None

    async def test_a_removal_by_tag_is_kept(self, tmp_path: Path) -> None:
        if not self.durable:
            pytest.skip("nothing is kept")
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", tags=("u",)), a_job("b", tags=("u", "v")))
            await self.put(store, a_job("c", tags=("v",)))
            await store.remove_tagged("u", NOW)
        async with self.opened(tmp_path) as store:
            assert ids(await store.page()) == ["c"]
            assert ids(await store.page(tag="v")) == ["c"]


class TroubleDuties(StoreSuite):
    """``overdue``, ``incidents``, and pauses that end."""

    async def test_what_is_overdue(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", 5), a_job("b", -60), a_job("c", -60))
            await self.put(store, a_job("d", -90, action=Call("g")), a_job("e", -99, paused=""))
            await self.put(
                store, a_job("f", -30, action=Call("h")), a_job("g", -98, completed=True)
            )
            assert ids(await store.overdue(NOW)) == ["d", "b", "c", "f"]
            assert ids(await store.overdue(NOW, 2)) == ["d", "b"]
            assert ids(await store.overdue(at(-60))) == ["d"]
            assert await store.overdue(at(-90)) == []
            assert await store.overdue(NOW, 0) == []
            await store.claim(NOW, 9, CAN, lambda *_: None)  # what is left owed is overdue still
            await store.next_due(NOW, CAN)
            assert ids(await store.overdue(NOW)) == ["d", "b", "c", "f"]
            await self.start(store, then=60.0)
            assert ids(await store.overdue(NOW)) == ["d", "f"]

    async def test_no_job_is_overdue_twice(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            for due in (-5, -9, -5):
                await self.put(store, a_job("a", due))
            await self.wait(store, "a", -50)
            assert ids(await store.overdue(NOW)) == ["a"]

    async def test_jobs_with_incidents(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            troubled: dict[str, Any] = {"incidents": (INCIDENT,)}
            await self.put(store, a_job("c", **troubled), a_job("a", 5, **troubled), a_job("b"))
            assert await store.incidents() == [a_job("a", 5, **troubled), a_job("c", **troubled)]
            assert ids(await store.incidents(1)) == ["a"]
            await self.put(store, a_job("a", 5))
            assert ids(await store.incidents()) == ["c"]
            await store.write(["c"], removes, NOW)
            assert await store.incidents() == []

    async def test_an_incident_that_comes_with_an_end(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"), a_job("b"))
            run, _ = await self.start(store, then=60.0)
            await store.finish(
                [end_of(run)],
                lambda job, run, end, mint: replace(
                    ended(job, run, end, mint),
                    job=job and replace(job, incidents=(INCIDENT,)),
                ),
            )
            assert ids(await store.incidents()) == ["a"]

    async def test_a_pause_that_ends_is_due_then(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", 5, paused="", paused_until=at(30)))
            await self.put(store, a_job("b", None, paused="", paused_until=at(20)))
            assert await store.next_due(at(-1), CAN) == at(20)
            assert await store.claim(at(19), 9, CAN, starts()) == []
            claimed = await store.claim(at(30), 9, CAN, starts())
            assert [one.runs[0].job_id for one in claimed] == ["b", "a"]
            await self.put(store, a_job("a", 40, paused="", paused_until=at(30)))
            await self.put(store, a_job("a", 40))
            assert await store.next_due(at(-1), CAN) == at(40)


class DeliveryDuties(StoreSuite):
    """``deliveries``."""

    async def _told(self, store: Store) -> list[Run]:
        await self.put(store, *(a_job(one) for one in "abcd"))
        runs = await self.start(store)
        told = ((FAILED, SENT), (WAITING, SENT), (SENDING,))
        for run, deliveries in zip(runs, told, strict=False):
            await store.finish([end_of(run)], delivering(*deliveries))
        await store.finish([end_of(runs[3])], ended)
        return runs

    async def test_runs_are_found_by_their_deliveries(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            a, b, c, _ = (run.id for run in await self._told(store))
            found = await store.deliveries()
            assert [run.id for run in found] == [c, b, a]
            assert found[2].deliveries == (FAILED, SENT)
            assert [run.id for run in await store.deliveries(limit=2)] == [c, b]
            for state, those in (("failed", [a]), ("delivered", [b, a]), ("unknown", [])):
                assert [run.id for run in await store.deliveries(state)] == those
            assert await store.deliveries(limit=0) == []

    async def test_a_mark_counts(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self._told(store)
            (run,) = await store.deliveries("failed")
            await store.mark(run, lambda _: (SENT,))
            assert await store.deliveries("failed") == []
            assert await store.deliveries("no state") == []
            assert len(await store.deliveries("delivered")) == 2

    async def test_each_state_is_found_as_marks_change_it(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"), a_job("b"))
            old, new = await self.start(store)
            await store.finish([end_of(new), end_of(old)], delivering(WAITING))
            for run in (new, old):
                for state in DELIVERY_STATES:
                    stored = await store.run(run.id)
                    assert stored is not None
                    now = (Delivery("x", state),)
                    await store.mark(stored, lambda _, now=now: now)  # type: ignore[misc]
                    for one in DELIVERY_STATES:
                        there = {found.id for found in await store.deliveries(one)}
                        assert (run.id in there) == (one == state)
            assert [run.id for run in await store.deliveries("unknown")] == [new.id, old.id]

    async def test_the_unsent_of_others_becomes_ours(self, tmp_path: Path) -> None:
        if not self.durable:
            pytest.skip("nobody else was here")
        async with self.opened(tmp_path, "n1") as store:
            await self._told(store)
        async with self.opened(tmp_path, "n2") as store:
            await store.recover(NOW, ended)
            assert {run.job_id: run.node for run in await store.deliveries()} == {
                "a": "n1",
                "b": "n2",
                "c": "n2",
            }
            assert [run.job_id for run in await store.deliveries("unknown")] == ["c"]
