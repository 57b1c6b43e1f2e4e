"""Duties of a store: runs of one key, the order of claims, and runs that become skips."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.model import Decision, Policy, RunState
from acron.testing.contracts._stores_base import (
    CAN,
    NOW,
    StoreSuite,
    a_job,
    a_run,
    a_skip,
    alone,
    at,
    end_of,
    ended,
    no_news,
    starts,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from acron.abc import Store
    from acron.model import Due, End, Job, Run
    from acron.testing.contracts._stores_base import Mint

CHAT = Policy(key="chat:1")
OTHER = Policy(key="chat:2")


async def runs_of(store: Store, job_id: str) -> list[str]:
    """The ids of the runs that a change of that job is handed."""
    seen: list[str] = []

    def look(_id: str, job: Job | None, runs: Sequence[Run], _mint: Mint) -> Decision:
        seen.extend(run.id for run in runs)
        return Decision(job)

    await store.write([job_id], look, NOW)
    return seen


class LaneDuties(StoreSuite):
    """``Policy.key``: jobs with the same key are in each other's way."""

    async def test_one_claim_sees_what_it_started_under_the_key(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            names = ("a", "b", "c", "d")
            await self.put(store, *(a_job(one, policy=CHAT) for one in names[:3]), a_job("d"))
            claimed = await store.claim(NOW, 9, CAN, alone())
            assert [one.runs[0].job_id for one in claimed] == ["a", "d"]
            assert await store.claim(NOW, 9, CAN, alone()) == []
            await store.finish([end_of(claimed[0].runs[0])], ended)
            claimed = await store.claim(NOW, 9, CAN, alone())
            assert [one.runs[0].job_id for one in claimed] == ["b"]

    async def test_other_keys_are_not_in_the_way(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", policy=CHAT), a_job("b", policy=OTHER), a_job("c"))
            assert len(await store.claim(NOW, 9, CAN, alone())) == 3

    async def test_a_claim_is_handed_the_live_runs_of_the_key_by_token(
        self, tmp_path: Path
    ) -> None:
        seen: list[list[str]] = []

        def look(due: Due, _mint: Mint) -> None:
            seen.append([run.id for run in due.live])

        async with self.opened(tmp_path) as store:
            jobs = [a_job(one, policy=CHAT) for one in "abc"]
            await self.put(store, *jobs)
            first = (await store.claim(NOW, 9, CAN, starts(), only="b"))[0].runs[0]
            again = await self.wait(store, "a", 50, attempt=2, key="chat:1")
            await self.wait(store, "c", 50, key="chat:1")  # has not begun: in nobody's way
            await store.claim(NOW, 9, CAN, look)
            await store.claim(NOW, 9, CAN, look, only="c")
            assert seen == [[first.id, again.id]] * 3

    async def test_a_claim_of_one_job_sees_its_key(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", policy=CHAT), a_job("b", policy=CHAT))
            assert len(await store.claim(NOW, 9, CAN, alone(), only="a")) == 1
            assert await store.claim(NOW, 9, CAN, alone(), only="b") == []

    async def test_a_pending_run_is_in_the_lane_it_was_made_in(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", 99, policy=CHAT), a_job("b", 1, policy=CHAT))
            waiting = await self.wait(store, "a", key="chat:1")
            claimed = await store.claim(at(1), 9, CAN, alone())
            assert [one.runs[0].id for one in claimed] == [waiting.id]

    async def test_a_write_is_handed_the_open_runs_of_the_key(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", policy=CHAT), a_job("b", 99, policy=CHAT), a_job("c"))
            running = (await store.claim(NOW, 9, CAN, starts(), only="a"))[0].runs[0]
            waiting = await self.wait(store, "b", 50, key="chat:1")
            assert await runs_of(store, "a") == [running.id, waiting.id]
            assert await runs_of(store, "b") == [running.id, waiting.id]
            assert await runs_of(store, "c") == []
            await store.finish([end_of(running)], ended)
            await store.request_cancel(waiting.id, NOW)
            assert await runs_of(store, "a") == []

    async def test_a_write_sees_what_it_wrote_under_the_key(self, tmp_path: Path) -> None:
        seen: list[int] = []

        def enqueue(job_id: str, job: Job | None, runs: Sequence[Run], mint: Mint) -> Decision:
            seen.append(len(runs))
            return Decision(job, (a_run(job_id, mint, 50, key="chat:1"),))

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", 99, policy=CHAT), a_job("b", 99, policy=CHAT))
            await store.write(["a", "b", "a"], enqueue, NOW)
            assert seen == [0, 1, 2]

    async def test_the_end_that_a_key_waits_for_is_news(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", policy=CHAT), a_job("b", policy=CHAT))
            (decision,) = await store.claim(NOW, 9, CAN, alone())
            assert await store.changed(5)
            assert not await store.changed(0)
            await store.finish([end_of(decision.runs[0])], ended)
            assert await store.changed(5)

    async def test_a_claim_may_stop_what_is_in_its_way(self, tmp_path: Path) -> None:
        def replacing(due: Due, _mint: Mint) -> Decision:
            flagged = [replace(run, cancel_requested=True) for run in due.live]
            return Decision(due.job, tuple(flagged))

        async with self.both(tmp_path) as (one, two):
            await self.put(one, a_job("a", policy=CHAT), a_job("b", policy=CHAT))
            (running,) = (await one.claim(NOW, 9, CAN, starts("n1"), only="a"))[0].runs
            await no_news(one)
            (decision,) = await two.claim(NOW, 9, CAN, replacing)
            assert decision.runs == (replace(running, cancel_requested=True),)
            assert await two.changed(5)
            assert await one.changed(5)
            assert await one.runs(node="n1") == list(decision.runs)
            assert await one.next_due(at(-1), CAN) == NOW
            await one.finish([end_of(running, state=RunState.CANCELLED)], ended)
            (decision,) = await two.claim(NOW, 9, CAN, alone("n2"))
            assert decision.runs[0].job_id == "b"

    async def test_a_claim_may_end_what_waits(self, tmp_path: Path) -> None:
        def give_up(due: Due, _mint: Mint) -> Decision:
            over = [replace(run, state=RunState.CANCELLED, finished_at=NOW) for run in due.live]
            return Decision(due.job, tuple(over))

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", 99, policy=CHAT), a_job("b", policy=CHAT))
            waiting = await self.wait(store, "a", 50, attempt=2, key="chat:1")
            await no_news(store)
            await store.claim(NOW, 9, CAN, give_up)
            assert await store.changed(5)
            stored = await store.run(waiting.id)
            assert stored is not None
            assert stored.state is RunState.CANCELLED
            assert await store.next_due(NOW, CAN) == at(99)
            assert len(await store.claim(NOW, 9, CAN, alone())) == 1

    async def test_no_two_nodes_claim_one_key(self, tmp_path: Path) -> None:
        async with self.both(tmp_path) as stores:
            jobs = [a_job(f"{n:02}", policy=Policy(key=f"chat:{n % 5}")) for n in range(20)]
            await self.put(stores[0], *jobs)
            claims = [store.claim(NOW, 2, CAN, alone()) for _ in range(5) for store in stores]
            claimed = [one.runs[0] for part in await asyncio.gather(*claims) for one in part]
            while more := await stores[0].claim(NOW, 2, CAN, alone()):  # others held some
                claimed += [one.runs[0] for one in more]
            assert sorted(str(run.key) for run in claimed) == [f"chat:{n}" for n in range(5)]
            await stores[1].finish([end_of(run) for run in claimed], ended)
            assert len(await stores[0].claim(NOW, 99, CAN, alone())) == 5


class OrderDuties(StoreSuite):
    """The oldest first, then by priority, then by id."""

    async def test_priority_among_those_of_one_instant(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            low, high = Policy(priority=-1), Policy(priority=5)
            await self.put(store, a_job("a", policy=low), a_job("b"), a_job("c"))
            await self.put(store, a_job("d", policy=high), a_job("e", policy=high))
            await self.put(store, a_job("f", -1, policy=low))
            order = [run.job_id for run in await self.start(store)]
            assert order == ["f", "d", "e", "b", "c", "a"]

    async def test_in_claims_of_one(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            jobs = [a_job(f"j{n}", policy=Policy(priority=n % 3)) for n in range(6)]
            await self.put(store, *jobs)
            order = [(await store.claim(NOW, 1, CAN, starts()))[0].runs[0].job_id for _ in jobs]
            assert order == ["j2", "j5", "j1", "j4", "j0", "j3"]

    async def test_pending_runs_have_the_priority_of_their_jobs(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            names = "abc"
            await self.put(store, *(a_job(one, 99, policy=Policy(priority=1)) for one in names))
            for one in names:
                await self.wait(store, one)
            await self.put(store, a_job("b", 99, policy=Policy(priority=3)))
            await self.put(store, a_job("c", 99, policy=Policy(priority=2)), a_job("d"))
            order = [run.job_id for run in await self.start(store)]
            assert order == ["b", "c", "a", "d"]

    async def test_a_changed_priority_counts_at_once(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"), a_job("b"))
            await self.put(store, a_job("b", policy=Policy(priority=1)))
            assert [run.job_id for run in await self.start(store)] == ["b", "a"]

    async def test_any_number(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            huge = (2**63 - 1, 7, -(2**63))
            await self.put(store, *(a_job(f"j{n}", policy=Policy(priority=n)) for n in huge))
            order = [run.job_id for run in await self.start(store)]
            assert order == [f"j{n}" for n in huge]


class DropDuties(StoreSuite):
    """``Decision.dropped``: runs that leave the ledger."""

    async def test_a_run_that_became_a_skip(self, tmp_path: Path) -> None:
        def settle(job: Job | None, run: Run, _end: End, _mint: Mint) -> Decision:
            return Decision(job, skips=(a_skip(run.job_id),), dropped=(run.id,))

        async def check(store: Store) -> None:
            assert await store.run(gone.id) is None
            assert await store.runs() == [kept]
            assert await store.runs("a") == []
            assert await store.skips("a") == [a_skip("a")]
            assert await runs_of(store, "a") == []

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", policy=CHAT), a_job("b"))
            gone, kept = await self.start(store)
            results = await store.finish([end_of(gone)], settle)
            assert [one is not None for one in results] == [True]
            assert await store.finish([end_of(gone)], settle) == [None]
            await check(store)
        if self.durable:
            async with self.opened(tmp_path) as store:
                await check(store)

    async def test_in_a_claim(self, tmp_path: Path) -> None:
        def drop(due: Due, _mint: Mint) -> Decision:
            assert due.run is not None
            return Decision(due.job, skips=(a_skip(due.job.id),), dropped=(due.run.id,))

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", 99))
            waiting = await self.wait(store, "a")
            assert len(await store.claim(NOW, 9, CAN, drop)) == 1
            assert await store.run(waiting.id) is None
            assert await self.start(store) == []
            assert await store.next_due(at(-1), CAN) == at(99)

    async def test_in_a_write(self, tmp_path: Path) -> None:
        def drop(_id: str, job: Job | None, runs: Sequence[Run], _mint: Mint) -> Decision:
            return Decision(job, dropped=tuple(run.id for run in runs))

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            (run,) = await self.start(store, then=50.0)
            again = await self.wait(store, "a", 50)
            await store.write(["a"], drop, NOW)
            assert await store.runs() == []
            assert await store.finish([end_of(run)], ended) == [None]
            assert await store.request_cancel(again.id, NOW) is None
