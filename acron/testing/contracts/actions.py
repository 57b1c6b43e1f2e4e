"""The duties of an ``Action``, as tests. Subclass ``ActionContract`` and give its fixtures.

class TestMine(ActionContract):
    @pytest.fixture
    def action(self): return MyAction()
    @pytest.fixture
    def good(self): return Custom("mine", {"say": "hello"}), "hello"
    ...
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from acron.abc import Action, Context
from acron.errors import ActionFailed, InvalidJob
from acron.model import Job, Run, RunState

if TYPE_CHECKING:
    from collections.abc import Callable

START = datetime(2026, 1, 1, 9, tzinfo=UTC)


def context_of(spec: Any, *, job_id: str = "job", scheduled: bool = True) -> Context:
    """What a run of a job with ``spec`` is handed; its progress goes nowhere."""
    job = Job(id=job_id, schedule="every 1h", action=spec)
    run = Run(
        id="r7",
        job_id=job_id,
        due_at=START,
        scheduled_at=START if scheduled else None,
        attempt=2,
        state=RunState.RUNNING,
        token=7,
        started_at=START,
    )
    return Context(job, run, lambda *_: None)


class ActionContract:
    """What every action owes to the runtime and to whoever writes jobs for it."""

    @pytest.fixture
    def action(self) -> Action:
        raise NotImplementedError

    @pytest.fixture
    def good(self) -> tuple[Any, str | None]:
        """A spec that succeeds, and the output it gives."""
        raise NotImplementedError

    @pytest.fixture
    def bad(self) -> Any:
        """A spec that passes ``check``, and fails when it is run."""
        raise NotImplementedError

    @pytest.fixture
    def endless(self) -> Any:
        """A spec that runs until it is cancelled."""
        raise NotImplementedError

    @pytest.fixture
    def begun(self) -> Callable[[], bool]:
        """Whether the work of ``endless`` has really begun."""
        raise NotImplementedError

    @pytest.fixture
    def talkative(self) -> tuple[Any, str] | None:
        """A spec that says something and then fails, and what it says; None where a failure
        comes alone."""
        return None

    @pytest.fixture
    def senseless(self) -> list[tuple[Any, str]]:
        """Specs that could never run, each with the field that is wrong, as ``$.…``."""
        raise NotImplementedError

    def test_has_a_name_that_needs_can_start_with(self, action: Action) -> None:
        assert action.name
        assert action.name == action.name.strip()
        assert ":" not in action.name

    def test_offers_only_what_is_its_own(self, action: Action, good: tuple[Any, str]) -> None:
        offers = set(action.offers())
        assert good[0].needs in offers
        assert {offer.partition(":")[0] for offer in offers} == {action.name}
        assert good[0].kind == action.name

    def test_takes_what_can_run(self, action: Action, good: tuple[Any, str], bad: Any) -> None:
        action.check(good[0])
        action.check(bad)

    def test_refuses_what_cannot_run_and_says_where(
        self, action: Action, senseless: list[tuple[Any, str]]
    ) -> None:
        assert senseless
        for spec, where in senseless:
            with pytest.raises(InvalidJob) as refusal:
                action.check(spec)
            assert refusal.value.where == where, spec
            assert str(refusal.value).isprintable()

    async def test_gives_its_output(self, action: Action, good: tuple[Any, str | None]) -> None:
        spec, output = good
        for _ in range(2):
            given = await action.run(spec, context_of(spec))
            assert given == output
            assert given is None or type(given) is str

    async def test_runs_by_hand_too(self, action: Action, good: tuple[Any, str | None]) -> None:
        spec, output = good
        assert await action.run(spec, context_of(spec, scheduled=False)) == output

    async def test_runs_again_once_it_was_closed(
        self, action: Action, good: tuple[Any, str | None]
    ) -> None:
        spec, output = good
        await action.close()
        assert await action.run(spec, context_of(spec)) == output
        await action.close()
        await action.close()

    async def test_fails_with_an_exception_that_tells_why(self, action: Action, bad: Any) -> None:
        with pytest.raises(Exception) as failure:  # noqa: PT011 (any will do)
            await action.run(bad, context_of(bad))
        assert str(failure.value)

    async def test_a_failure_carries_what_was_said_before(
        self, action: Action, talkative: tuple[Any, str] | None
    ) -> None:
        if talkative is None:
            pytest.skip("its failures come alone")
        spec, said = talkative
        with pytest.raises(ActionFailed) as failure:
            await action.run(spec, context_of(spec))
        assert failure.value.output == said
        assert "\n" not in str(failure.value)

    async def test_leaves_its_spec_and_its_job_alone(
        self, action: Action, good: tuple[Any, str | None]
    ) -> None:
        spec, context = good[0], context_of(good[0])
        before = msgspec.json.encode(spec), context.job, context.run
        action.check(spec)
        await action.run(spec, context)
        assert (msgspec.json.encode(spec), context.job, context.run) == before

    async def test_runs_many_at_a_time(self, action: Action, good: tuple[Any, str | None]) -> None:
        spec, output = good
        runs = (action.run(spec, context_of(spec, job_id=f"job-{n}")) for n in range(10))
        assert await asyncio.gather(*runs) == [output] * 10

    async def test_runs_at_the_same_time_do_not_meet(
        self, action: Action, good: tuple[Any, str | None], bad: Any
    ) -> None:
        runs = (action.run(spec, context_of(spec)) for spec in (good[0], bad) * 3)
        ends = await asyncio.gather(*runs, return_exceptions=True)
        assert ends[::2] == [good[1]] * 3
        assert all(isinstance(end, Exception) for end in ends[1::2])

    async def test_ends_when_cancelled_and_leaves_nothing(
        self, action: Action, endless: Any, begun: Callable[[], bool]
    ) -> None:
        others = asyncio.all_tasks()
        run = asyncio.create_task(action.run(endless, context_of(endless)))
        async with asyncio.timeout(10):
            while not begun():  # noqa: ASYNC110 (a process cannot set an event)
                await asyncio.sleep(0.01)
            assert not run.done()
            run.cancel()
            await asyncio.wait({run})
        assert run.cancelled()
        async with asyncio.timeout(1):  # a server in this loop may need to see that we left
            while asyncio.all_tasks() - others:  # noqa: ASYNC110 (tasks end in their own time)
                await asyncio.sleep(0)

    async def test_one_that_hangs_holds_up_no_other(
        self,
        action: Action,
        endless: Any,
        begun: Callable[[], bool],
        good: tuple[Any, str | None],
    ) -> None:
        run = asyncio.create_task(action.run(endless, context_of(endless)))
        async with asyncio.timeout(10):
            while not begun():  # noqa: ASYNC110 (a process cannot set an event)
                await asyncio.sleep(0.01)
            assert await action.run(good[0], context_of(good[0])) == good[1]
            assert not run.done()
            run.cancel()
            await asyncio.wait({run})
