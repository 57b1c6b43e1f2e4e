"""Duties of a store: what is due, claims, and ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from acron.model import Decision, RunState
from acron.specs import Call
from acron.testing.contracts._stores_base import (
    CAN,
    NOW,
    Refused,
    StoreSuite,
    a_job,
    a_skip,
    at,
    end_of,
    ended,
    removes,
    starts,
)

if TYPE_CHECKING:
    from pathlib import Path

    from acron.model import Due, End, Job, Run
    from acron.testing.contracts._stores_base import Mint


class DueDuties(StoreSuite):
    """``next_due``."""

    async def test_the_earliest_instant_after(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", 30), a_job("b", 10), a_job("c", 20))
            assert await store.next_due(NOW, CAN) == at(10)
            assert await store.next_due(at(9.999999), CAN) == at(10)
            assert await store.next_due(at(10), CAN) == at(20)
            assert await store.next_due(at(30), CAN) is None

    async def test_a_clock_set_back_sees_it_again(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", 10), a_job("b", 3000))
            assert await store.next_due(at(2000), CAN) == at(3000)
            assert await store.next_due(NOW, CAN) == at(10)

    async def test_only_what_can_be_run(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", 10, action=Call("g")), a_job("b", 20))
            assert await store.next_due(NOW, CAN) == at(20)
            assert await store.next_due(NOW, {"call:f", "call:g"}) == at(10)
            assert await store.next_due(NOW, set()) is None

    async def test_pending_runs_count(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", 30))
            await self.wait(store, "a", 10)
            assert await store.next_due(NOW, CAN) == at(10)
            assert await store.next_due(at(10), CAN) == at(30)

    @pytest.mark.parametrize("state", [{"paused": ""}, {"completed": True}, {"error": "why"}])
    async def test_only_scheduled_jobs(self, tmp_path: Path, state: dict[str, object]) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", 10, **state), a_job("b", -10, **state))
            assert await store.next_due(at(-60), CAN) is None
            assert await self.start(store) == []

    async def test_a_resumed_job_is_due_again(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            await self.put(store, a_job("a", paused="x"))
            assert await self.start(store) == []
            await self.put(store, a_job("a"))
            assert [run.job_id for run in await self.start(store)] == ["a"]

    async def test_it_follows_edits(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            for due in (30, 10, 20, 40):
                await self.put(store, a_job("a", due))
                assert await store.next_due(NOW, CAN) == at(due)
            await store.write(["a"], removes, NOW)
            assert await store.next_due(NOW, CAN) is None

    async def test_many_edits_cost_no_memory_of_old_instants(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            for due in range(1, 30):
                await self.put(store, *(a_job(f"j{n}", due) for n in range(100)))
            assert await store.next_due(NOW, CAN) == at(29)
            assert await store.claim(at(28), 1000, CAN, starts()) == []
            assert len(await store.claim(at(29), 1000, CAN, starts())) == 100


class ClaimDuties(StoreSuite):
    """``claim``."""

    async def test_what_is_due_becomes_a_running_run(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            (run,) = await self.start(store, then=60.0)
            assert (run.state, run.scheduled_at, run.node) == (RunState.RUNNING, NOW, "n1")
            assert await store.run(run.id) == run
            assert await store.runs("a") == [run]
            job = await store.get("a")
            assert job is not None
            assert (job.next_fire_at, job.fired) == (at(60), 1)

    async def test_nothing_before_its_instant(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", 10))
            assert await store.claim(at(9.999999), 9, CAN, starts()) == []
            assert len(await store.claim(at(10), 9, CAN, starts())) == 1

    async def test_no_instant_twice(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"), a_job("b"))
            assert len(await self.start(store)) == 2
            assert await self.start(store) == []

    async def test_a_recurring_job_comes_again_at_its_next_instant(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            for n in range(5):
                assert await store.claim(at(60 * n - 1), 9, CAN, starts()) == []
                claimed = await store.claim(at(60 * n), 9, CAN, starts(then=60.0 * (n + 1)))
                assert [one.runs[0].scheduled_at for one in claimed] == [at(60 * n)]

    async def test_oldest_first(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", -1), a_job("b", -3), a_job("c"), a_job("d", -2))
            await self.wait(store, "c", -2.5)
            order = [run.job_id for run in await self.start(store)]
            assert order == ["b", "c", "d", "a"]

    async def test_oldest_first_among_different_actions(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            jobs = [a_job(f"j{n}", -n, action=Call("fgh"[n % 3])) for n in range(9)]
            await self.put(store, *jobs)
            can = {"call:f", "call:g", "call:h"}
            claimed = await store.claim(NOW, 5, can, starts())
            assert [one.runs[0].job_id for one in claimed] == ["j8", "j7", "j6", "j5", "j4"]

    async def test_the_limit(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, *(a_job(f"j{n}", -n) for n in range(5)))
            sizes = [len(await store.claim(NOW, 2, CAN, starts())) for _ in range(4)]
            assert sizes == [2, 2, 1, 0]

    async def test_a_limit_of_nothing(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            assert await store.claim(NOW, 0, CAN, starts()) == []
            assert await store.claim(NOW, 0, CAN, starts(), only="a") == []
            assert len(await self.start(store)) == 1

    async def test_only_what_can_be_run(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"), a_job("b", action=Call("g")))
            await self.wait(store, "b", -5)
            assert [run.job_id for run in await self.start(store)] == ["a"]
            claimed = await store.claim(NOW, 9, {"call:g"}, starts())
            assert [one.runs[0].job_id for one in claimed] == ["b"]

    async def test_an_edited_action_is_claimed_by_who_can_run_it(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            await self.wait(store, "a", -5)
            await self.put(store, a_job("a", action=Call("g")))
            assert await self.start(store) == []
            assert len(await store.claim(NOW, 9, {"call:g"}, starts())) == 1
            assert len(await store.claim(NOW, 9, {"call:g"}, starts())) == 1

    async def test_what_is_left_stays_owed_and_is_asked_once(self, tmp_path: Path) -> None:
        asked: list[str] = []

        def leave(due: Due, _mint: Mint) -> None:
            asked.append(due.job.id)

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", -2), a_job("b", -1))
            assert await store.claim(NOW, 9, CAN, leave) == []
            assert asked == ["a", "b"]
            assert await store.claim(NOW, 9, CAN, leave) == []
            assert asked == ["a", "b", "a", "b"]
            assert len(await self.start(store)) == 2

    async def test_what_is_left_does_not_use_up_the_limit(self, tmp_path: Path) -> None:
        def decide(due: Due, mint: Mint) -> Decision | None:
            return starts()(due, mint) if due.job.id == "z" else None

        async with self.opened(tmp_path) as store:
            await self.put(store, *(a_job(f"j{n}", -9) for n in range(20)), a_job("z"))
            assert len(await store.claim(NOW, 1, CAN, decide)) == 1
            assert len(await store.claim(NOW, 99, CAN, starts())) == 20

    async def test_a_job_is_decided_once_a_call(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            first, second = await self.wait(store, "a", -5), await self.wait(store, "a", -4)
            started = [await self.start(store) for _ in range(4)]
            assert [len(one) for one in started] == [1, 1, 1, 0]
            assert [one[0].id for one in started[:2]] == [first.id, second.id]

    async def test_a_row_left_does_not_hide_the_others_of_its_job(self, tmp_path: Path) -> None:
        def decide(due: Due, mint: Mint) -> Decision | None:
            return None if due.run is None else starts()(due, mint)

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", -60))
            again = await self.wait(store, "a", 0, attempt=2)
            (decision,) = await store.claim(NOW, 9, CAN, decide)
            assert decision.runs[0].id == again.id
            (decision,) = await store.claim(NOW, 9, CAN, starts(), only="a")
            assert decision.runs[0].scheduled_at == at(-60)

    async def test_decide_is_given_the_live_runs(self, tmp_path: Path) -> None:
        seen: list[set[str]] = []

        def look(due: Due, _mint: Mint) -> None:
            seen.append({run.id for run in due.live})

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            (running,) = await self.start(store, then=0.0)
            again = await self.wait(store, "a", 50, attempt=2)
            await self.wait(store, "a", 50)
            await store.claim(NOW, 9, CAN, look)
            await store.claim(NOW, 9, CAN, look, only="a")
            await store.finish([end_of(running)], ended)
            await store.claim(NOW, 9, CAN, look)
            assert seen == [{running.id, again.id}] * 2 + [{again.id}]

    async def test_a_pending_run_keeps_its_id(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", 99))
            waiting = await self.wait(store, "a")
            (run,) = await self.start(store)
            assert (run.id, run.state) == (waiting.id, RunState.RUNNING)
            assert run.token > waiting.token
            assert await store.runs("a") == [run]
            job = await store.get("a")
            assert job == a_job("a", 99)

    async def test_a_pending_run_of_a_paused_job_comes(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", paused=""))
            waiting = await self.wait(store, "a")
            assert [run.id for run in await self.start(store)] == [waiting.id]

    async def test_a_pending_run_without_its_job_never_comes(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            await self.wait(store, "a")
            await store.write(["a"], removes, NOW)
            assert await self.start(store) == []
            assert await store.next_due(at(-1), CAN) is None

    async def test_a_pending_run_put_off_comes_later(self, tmp_path: Path) -> None:
        def put_off(due: Due, _mint: Mint) -> Decision:
            assert due.run is not None
            return Decision(due.job, (replace(due.run, due_at=at(30)),))

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", 99))
            waiting = await self.wait(store, "a")
            assert len(await store.claim(NOW, 9, CAN, put_off)) == 1
            assert await self.start(store) == []
            assert await store.next_due(NOW, CAN) == at(30)
            claimed = await store.claim(at(30), 9, CAN, starts())
            assert [one.runs[0].id for one in claimed] == [waiting.id]

    async def test_a_decision_that_changes_no_instant_leaves_it_owed(self, tmp_path: Path) -> None:
        def note(due: Due, _mint: Mint) -> Decision:
            return Decision(replace(due.job, failures=due.job.failures + 1))

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            assert len(await store.claim(NOW, 9, CAN, note)) == 1
            (run,) = await self.start(store)
            assert run.job_id == "a"

    async def test_skips_are_written_with_the_claim(self, tmp_path: Path) -> None:
        skip = a_skip("a", -60, count=12, first_at=at(-720))
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            await self.start(store, skips=(skip,))
            assert await store.skips("a") == [skip]

    async def test_a_claim_may_only_skip(self, tmp_path: Path) -> None:
        def skip(due: Due, _mint: Mint) -> Decision:
            return Decision(replace(due.job, next_fire_at=at(60)), skips=(a_skip(due.job.id),))

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            (decision,) = await store.claim(NOW, 9, CAN, skip)
            assert decision.runs == ()
            assert await store.runs() == []
            assert await store.next_due(NOW, CAN) == at(60)
            assert len(await store.skips()) == 1

    async def test_a_claim_may_remove_the_job(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            await store.claim(NOW, 9, CAN, lambda *_: Decision(None))
            assert await store.get("a") is None
            assert await self.start(store) == []

    async def test_of_one_job_only(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", -5), a_job("b"), a_job("c", 5))
            (decision,) = await store.claim(NOW, 9, CAN, starts(), only="b")
            assert decision.runs[0].job_id == "b"
            for job_id in ("b", "c", "nobody"):
                assert await store.claim(NOW, 9, CAN, starts(), only=job_id) == []
            assert await store.claim(NOW, 9, {"call:g"}, starts(), only="a") == []
            assert [run.job_id for run in await self.start(store)] == ["a"]

    async def test_of_one_job_the_oldest_row_first(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            late, early = await self.wait(store, "a", 1), await self.wait(store, "a", -1)
            found = [await store.claim(at(5), 9, CAN, starts(), only="a") for _ in range(4)]
            ids = [one[0].runs[0].id for one in found[:3]]
            assert (ids[0], ids[2], found[3]) == (early.id, late.id, [])

    async def test_an_error_in_decide_leaves_everything_owed(self, tmp_path: Path) -> None:
        def decide(due: Due, mint: Mint) -> Decision | None:
            if due.job.id == "c":
                raise Refused
            return starts(skips=(a_skip("a"),))(due, mint)

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a", -3), a_job("b", -2), a_job("c", -1))
            with pytest.raises(Refused):
                await store.claim(NOW, 9, CAN, decide)
            assert await store.runs() == []
            assert await store.skips() == []
            assert await store.get("a") == a_job("a", -3)
            assert [run.job_id for run in await self.start(store)] == ["a", "b", "c"]

    async def test_tokens_only_grow(self, tmp_path: Path) -> None:
        tokens: list[int] = []

        def settle(job: Job | None, run: Run, end: End, mint: Mint) -> Decision:
            tokens.append(mint())
            return ended(job, run, end, mint)

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"), a_job("b"))
            for n in range(3):
                runs = await self.start(store, then=0.0)
                tokens += sorted(run.token for run in runs)
                await store.finish([end_of(run) for run in runs], settle)
                tokens.append((await self.wait(store, "a", 100 + n)).token)
        assert tokens == sorted(set(tokens))
        assert tokens[0] > 0

    async def test_a_token_of_an_aborted_claim_is_not_given_again(self, tmp_path: Path) -> None:
        tokens: list[int] = []

        def decide(_due: Due, mint: Mint) -> Decision:
            tokens.append(mint())
            raise Refused

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            with pytest.raises(Refused):
                await store.claim(NOW, 9, CAN, decide)
            (run,) = await self.start(store)
            assert run.token > tokens[0]

    async def test_tokens_grow_when_opened_again(self, tmp_path: Path) -> None:
        if not self.durable:
            pytest.skip("it keeps nothing")
        tokens: list[int] = []
        for _ in range(3):
            async with self.opened(tmp_path) as store:
                await self.put(store, a_job("a"))
                tokens += [run.token for run in await self.start(store)]
        assert tokens == sorted(set(tokens))
