"""Duties of a store: recovery, cancelling, the ledger, nodes, news, and many stores at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from acron.errors import JobConflict
from acron.model import Decision, Delivery, RunState
from acron.testing.contracts._stores_base import (
    NOW,
    StoreSuite,
    a_job,
    a_node,
    a_run,
    a_skip,
    at,
    delivering,
    end_of,
    ended,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from acron.abc import Store
    from acron.model import End, Job, Run
    from acron.testing.contracts._stores_base import Mint

SENDING = Delivery("telegram:1", "sending")
WAITING = Delivery("telegram:2")
FAILED = Delivery("telegram:4", "failed")
SENT = Delivery("telegram:3", "delivered", "id")


class LedgerDuties(StoreSuite):
    """``runs``, ``skips``, ``mark``, ``request_cancel``, ``prune``."""

    async def _three(self, store: Store) -> list[Run]:
        await self.put(store, a_job("a", -2), a_job("b", -1), a_job("c"))
        return await self.start(store)

    async def test_runs_newest_first(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            one, two, three = await self._three(store)
            await store.finish([end_of(run) for run in (two, one)], ended)
            assert [run.id for run in await store.runs()] == [three.id, two.id, one.id]
            assert [run.id for run in await store.runs(limit=2)] == [three.id, two.id]
            assert await store.runs(limit=0) == []

    async def test_runs_by_job_state_and_node(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            one, two, _ = await self._three(store)
            await store.finish([end_of(one), end_of(two, state=RunState.FAILED)], ended)
            waiting = await self.wait(store, "a", 50)

            async def ids(*args: str, **asked: object) -> set[str]:
                return {run.job_id for run in await store.runs(*args, **asked)}  # type: ignore[arg-type]

            assert await ids("b") == {"b"}
            assert await ids("nobody") == set()
            assert await ids(state=RunState.FAILED) == {"b"}
            assert await ids(state=RunState.RUNNING) == {"c"}
            assert await ids("a", state=RunState.RUNNING) == set()
            assert await ids(node="n1") == {"a", "b", "c"}
            assert await ids(node="n2") == set()
            assert await store.runs(state=RunState.PENDING) == [waiting]
            assert len(await store.runs("a")) == 2

    async def test_skips_newest_first(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            rows = [a_skip("ab"[n % 2], n, count=n + 1) for n in range(6)]
            for row in rows:
                await store.write([row.job_id], lambda *_, r=row: Decision(None, (), (r,)), NOW)
            assert await store.skips() == rows[::-1]
            assert await store.skips("b") == rows[5::-2]
            assert await store.skips(limit=1) == rows[-1:]
            assert await store.skips("nobody") == []

    async def test_mark_keeps_deliveries_and_nothing_else(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            run, *_ = await self._three(store)
            await store.finish([end_of(run, output="tea")], ended)
            stored = await store.run(run.id)
            assert stored is not None
            marked = await store.mark(replace(stored, output="coffee"), lambda _: (SENT,))
            assert marked == replace(stored, deliveries=(SENT,))
            assert await store.run(run.id) == marked

    async def test_mark_is_for_ended_runs_of_that_claim(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            run, other, _ = await self._three(store)
            await store.finish([end_of(other)], ended)
            stored = await store.run(other.id)
            assert stored is not None
            others = (
                run,
                replace(run, id="nobody"),
                replace(stored, token=stored.token + 1),
                replace(stored, node="n2"),
            )
            for one in others:
                assert await store.mark(one, lambda _: (SENT,)) is None
            assert all(one.deliveries == () for one in await store.runs())

    async def test_marks_of_one_run_keep_each_other(self, tmp_path: Path) -> None:
        """Two processes see to two targets of it: each marks what it knows, on what is there."""

        def now(state: str) -> Callable[[tuple[Delivery, ...]], tuple[Delivery, ...]]:
            new = Delivery(WAITING.target, "sending", sender=state)
            return lambda there: tuple(new if one == WAITING else one for one in there)

        async with self.opened(tmp_path) as store:
            run, *_ = await self._three(store)
            await store.finish([end_of(run)], delivering(WAITING, FAILED))
            stale = await store.run(run.id)
            assert stale is not None
            assert await store.mark(stale, lambda there: (there[0], SENT)) is not None
            first, second = await store.mark(stale, now("n1")), await store.mark(stale, now("n2"))
            assert first is not None
            assert second == first
            assert [one.state for one in first.deliveries] == ["sending", "delivered"]
            assert first.deliveries[0].sender == "n1"
            assert await store.run(run.id) == first

    async def test_a_mark_that_raises_changes_nothing(self, tmp_path: Path) -> None:
        def refuse(_: object) -> tuple[Delivery, ...]:
            raise JobConflict("under way", job_id="a")

        async with self.opened(tmp_path) as store:
            run, *_ = await self._three(store)
            await store.finish([end_of(run)], delivering(WAITING))
            stored = await store.run(run.id)
            assert stored is not None
            with pytest.raises(JobConflict):
                await store.mark(stored, refuse)
            assert await store.run(run.id) == stored

    async def test_cancelling_a_pending_run_ends_it(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", 99))
            waiting = await self.wait(store, "a")
            run = await store.request_cancel(waiting.id, at(3))
            assert run is not None
            assert (run.state, run.finished_at) == (RunState.CANCELLED, at(3))
            assert await store.run(run.id) == run
            assert await self.start(store) == []
            assert await store.runs(state=RunState.PENDING) == []

    async def test_cancelling_a_running_run_flags_it(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            run, *_ = await self._three(store)
            flagged = await store.request_cancel(run.id, at(3))
            assert flagged == replace(run, cancel_requested=True)
            assert await store.request_cancel(run.id, at(4)) == flagged
            assert await store.run(run.id) == flagged
            (decision,) = await store.finish([end_of(run, state=RunState.CANCELLED)], ended)
            assert decision is not None

    async def test_cancelling_what_is_over(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            run, *_ = await self._three(store)
            await store.finish([end_of(run)], ended)
            stored = await store.run(run.id)
            assert await store.request_cancel(run.id, at(3)) == stored
            assert await store.run(run.id) == stored
            assert await store.request_cancel("nobody", at(3)) is None

    async def test_prune_by_age(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            old, edge, live = await self._three(store)
            await store.finish([end_of(old, 10), end_of(edge, 20)], ended)
            waiting = await self.wait(store, "a", -99)
            rows = (a_skip("a", 10), a_skip("a", 20))
            await store.write(["a"], lambda _, job, *__: Decision(job, (), rows), NOW)
            assert await store.prune(at(20), 1000) == 2
            kept = {run.id for run in await store.runs()}
            assert kept == {edge.id, live.id, waiting.id}
            assert await store.skips() == [rows[1]]
            assert await store.prune(at(20), 1000) == 0

    async def test_prune_by_number(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"), a_job("b"))
            runs = [run for _ in range(4) for run in await self.start(store, then=0.0)]
            mine = [run for run in runs if run.job_id == "a"]
            others = [run for run in runs if run.job_id == "b"]
            await store.finish([end_of(run) for run in [*reversed(mine), others[0]]], ended)
            assert await store.prune(NOW, 2) == 2
            assert [run.id for run in await store.runs("a")] == [mine[3].id, mine[2].id]
            assert len(await store.runs("b")) == 4

    async def test_what_was_never_claimed_is_the_oldest(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            (run,) = await self.start(store)
            await store.finish([end_of(run, 30)], ended)
            waiting = await self.wait(store, "a", token=0)
            await store.request_cancel(waiting.id, at(40))
            assert [one.id for one in await store.runs()] == [run.id, waiting.id]
            assert await store.prune(at(20), 1) == 1
            assert [one.id for one in await store.runs()] == [run.id]

    async def test_a_run_with_something_to_send_is_not_too_many(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            runs = [run for _ in range(5) for run in await self.start(store, then=0.0)]
            await store.finish([end_of(run, 30) for run in runs[:2]], delivering(WAITING))
            await store.finish([end_of(run, 30) for run in runs[2:]], ended)
            assert await store.prune(at(20), 2) == 1
            kept = {run.id for run in await store.runs("a")}
            assert kept == {runs[0].id, runs[1].id, runs[3].id, runs[4].id}
            assert await store.prune(at(40), 2) == 4

    async def test_prune_never_touches_jobs(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            runs = await self._three(store)
            await store.finish([end_of(run) for run in runs], ended)
            jobs = await store.page()
            assert await store.prune(at(1e9), 0) == 3
            assert await store.runs() == []
            assert await store.page() == jobs
            assert await store.run(runs[0].id) is None


class RecoverDuties(StoreSuite):
    """``recover`` and nodes."""

    async def _lose(self, store: Store, *deliveries: Delivery, node: str = "lost") -> list[Run]:
        """A running run of a node that is not, and an ended one with ``deliveries``."""
        await self.put(store, a_job("run"), a_job("sent"))
        running, done = await self.start(store, node)
        await store.finish([end_of(done)], delivering(*deliveries))
        return [running, done]

    async def test_the_runs_of_a_live_node_are_its_own(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self._lose(store, WAITING, node="n1")
            before = await store.runs()
            assert await store.recover(at(60), ended) == []
            assert await store.runs() == before

    async def test_the_runs_of_the_dead_end_unknown(self, tmp_path: Path) -> None:
        ends: list[End] = []

        def settle(job: Job | None, run: Run, end: End, mint: Mint) -> Decision:
            assert job is not None
            ends.append(end)
            return ended(replace(job, failures=5), run, end, mint)

        async with self.opened(tmp_path) as store:
            running, _ = await self._lose(store)
            (decision,) = await store.recover(at(60), settle)
            stored = await store.run(running.id)
            assert stored is not None
            assert decision.runs == (stored,)
            assert (stored.state, stored.finished_at) == (RunState.UNKNOWN, at(60))
            assert stored.error
            assert [(end.run_id, end.token) for end in ends] == [(running.id, running.token)]
            job = await store.get("run")
            assert job is not None
            assert job.failures == 5

    async def test_recovery_is_done_once(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self._lose(store, WAITING)
            assert len(await store.recover(at(60), ended)) == 2
            assert await store.recover(at(60), ended) == []

    async def test_what_was_to_be_delivered_becomes_ours(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            _, done = await self._lose(store, SENDING, WAITING, SENT)
            decisions = await store.recover(at(60), ended)
            stored = await store.run(done.id)
            assert stored is not None
            assert stored.node == "n1"
            assert [one.state for one in stored.deliveries] == ["unknown", "pending", "delivered"]
            assert (stored,) in [decision.runs for decision in decisions]

    async def test_of_a_job_that_is_gone_nothing_more_is_delivered(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            _, done = await self._lose(store, SENDING, WAITING, SENT)
            await store.write([done.job_id], lambda *_: Decision(None), at(30))
            await store.recover(at(60), ended)
            stored = await store.run(done.id)
            assert stored is not None
            assert [one.state for one in stored.deliveries] == ["unknown", "failed", "delivered"]
            assert stored.deliveries[1].error == "the job was removed"
            assert not await store.deliveries("pending")

    async def test_the_heir_delivers_what_recovery_adds(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            running, _ = await self._lose(store)
            (decision,) = await store.recover(at(60), delivering(WAITING))
            stored = await store.run(running.id)
            assert stored is not None
            assert decision.runs == (stored,)
            assert (stored.node, stored.deliveries) == ("n1", (WAITING,))
            assert await store.recover(at(60), ended) == [], "it is with the dead no more"
            told = replace(stored, deliveries=(SENT,))
            assert await store.mark(stored, lambda _: (SENT,)) == told
            assert await store.run(running.id) == told

    async def test_what_was_delivered_stays(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            _, done = await self._lose(store, SENT)
            await store.recover(at(60), ended)
            stored = await store.run(done.id)
            assert stored is not None
            assert stored.node == "lost"

    async def test_recovery_may_run_again(self, tmp_path: Path) -> None:
        def settle(job: Job | None, run: Run, end: End, mint: Mint) -> Decision:
            again = a_run(run.job_id, mint, 0, attempt=2)
            return Decision(job, (*ended(job, run, end, mint).runs, again))

        async with self.opened(tmp_path) as store:
            await self._lose(store)
            await store.recover(at(60), settle)
            assert [run.attempt for run in await self.start(store)] == [2]

    async def test_the_dead_cannot_write_any_more(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            running, done = await self._lose(store, WAITING)
            late = await store.run(done.id)
            assert late is not None
            await store.recover(at(60), ended)
            before = await store.runs()
            assert await store.finish([end_of(running)], ended) == [None]
            assert await store.mark(late, lambda _: (SENT,)) is None
            assert await store.runs() == before

    async def test_a_node_lives_until_its_store_is_closed(self, tmp_path: Path) -> None:
        if not self.shared:
            pytest.skip("one store object only")
        async with self.opened(tmp_path, "n2") as watcher:
            async with self.opened(tmp_path, "n1") as store:
                await self.put(store, a_job("a"))
                (run,) = await self.start(store, "n1")
                assert {node.id: node.alive for node in await watcher.nodes()} == {
                    "n1": True,
                    "n2": True,
                }
                assert await watcher.recover(at(60), ended) == []
            assert {node.id: node.alive for node in await watcher.nodes()}["n1"] is False
            (decision,) = await watcher.recover(at(60), ended)
            assert decision.runs[0].id == run.id

    async def test_a_node_is_known_as_it_last_described_itself(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            news = replace(
                a_node("n1"), heartbeat_at=at(5), last_error="tea is out", running=3, alive=False
            )
            await store.beat(news)
            assert await store.nodes() == [replace(news, alive=True)]

    async def test_whoever_only_looks_is_no_node(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path, None) as store:
            assert await store.nodes() == []

    async def test_the_newest_of_the_dead_is_remembered(self, tmp_path: Path) -> None:
        if not self.shared:
            pytest.skip("one store object only")
        for n in range(3):
            async with self.opened(tmp_path, f"dead{n}") as store:
                await store.beat(replace(a_node(f"dead{n}"), heartbeat_at=at(n)))
        async with self.opened(tmp_path, "n1") as store:
            await store.recover(at(60), ended)
            assert {node.id for node in await store.nodes()} == {"dead2", "n1"}

    async def test_a_dead_node_with_runs_is_remembered(self, tmp_path: Path) -> None:
        if not self.shared:
            pytest.skip("one store object only")
        async with self.both(tmp_path) as (one, two):
            await self.put(one, a_job("a"))
            await self.start(one, "n1")
            await one.close()
            async with self.opened(tmp_path, "n3"):
                pass
            nodes = {node.id: node.alive for node in await two.nodes()}
            assert nodes == {"n1": False, "n2": True, "n3": False}
