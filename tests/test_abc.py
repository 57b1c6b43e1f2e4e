"""The contract that strangers build on: it grows, and never breaks what was written against it."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

import pytest

from acron.abc import CronScheduler, Fired
from acron.testing.contracts.firing import EPOCH, FakeFiring
from acron.testing.contracts.providers import Started

if TYPE_CHECKING:
    from collections.abc import Callable

#: A third-party provider as somebody wrote it on 2026-11-22, against the ABC of that day. It is
#: frozen: when this text no longer works, the ABC has broken its word. Never edit it.
WRITTEN_ON_2026_11_22 = """
import asyncio
from acron import abc

class Minimal(abc.CronScheduler):
    @property
    def name(self):
        return "minimal"

    async def start(self, stop_event, *, firing, interval=60.0):
        stopping = asyncio.ensure_future(stop_event.wait())
        try:
            while not stop_event.is_set():
                try:
                    await firing.tick()
                    due_in = await firing.due_in()
                    wait = interval if due_in is None else max(0.001, min(due_in, interval))
                    step = asyncio.ensure_future(firing.changed(wait))
                except BaseException:
                    if asyncio.current_task().cancelling():
                        raise
                    step = asyncio.ensure_future(asyncio.sleep(interval))
                try:
                    await asyncio.wait({step, stopping}, return_when="FIRST_COMPLETED")
                finally:
                    step.cancel()
        finally:
            stopping.cancel()
"""

#: Members and what is asked of them by somebody who holds no more than a CronScheduler.
DEFAULTS: dict[str, Callable[[CronScheduler, FakeFiring], object]] = {
    "is_available": lambda provider, _: provider.is_available(),
    "stop": lambda provider, _: provider.stop(),
    "on_jobs_changed": lambda provider, firing: provider.on_jobs_changed(firing=firing),
    "fire_due": lambda provider, firing: provider.fire_due("job", EPOCH, firing=firing),
    "reconcile": lambda provider, firing: provider.reconcile(firing=firing),
    "ready": lambda provider, _: provider.ready(),
    "sweep_after": lambda provider, _: provider.sweep_after,
    "note": lambda provider, _: provider.note,
}
ANSWERS = {
    "is_available": True,
    "fire_due": Fired.CLAIMED,
    "ready": False,
    "sweep_after": 0.0,
    "note": "",
}


def minimal() -> CronScheduler:
    names: dict[str, type[CronScheduler]] = {}
    exec(WRITTEN_ON_2026_11_22, names)
    return names["Minimal"]()


async def test_abc_growth_stays_additive() -> None:
    assert CronScheduler.__abstractmethods__ == {"name", "start"}
    members = {name for name in vars(CronScheduler) if not name.startswith("_")}
    assert members == {"name", "start", *DEFAULTS}, "exercise the new member's default here"
    provider, firing = minimal(), FakeFiring()
    for name, call in DEFAULTS.items():
        assert name not in vars(type(provider)), "the default is not what is exercised"
        answer = call(provider, firing)
        if inspect.isawaitable(answer):
            answer = await answer
        assert answer == ANSWERS.get(name), name
    assert firing.fired == [("job", EPOCH)]


def test_a_new_member_without_a_default_would_be_found() -> None:
    class Grown(CronScheduler):
        pass

    assert inspect.isabstract(Grown)
    with pytest.raises(TypeError, match="name"):
        Grown()  # type: ignore[abstract]


def test_the_signatures_are_those_that_were_promised() -> None:
    promised = {
        "start": "(self, stop_event, *, firing, interval=60.0)",
        "stop": "(self)",
        "is_available": "(self)",
        "on_jobs_changed": "(self, *, firing)",
        "fire_due": "(self, job_id, scheduled_at=None, *, firing)",
        "reconcile": "(self, *, firing)",
    }
    for name, text in promised.items():
        signature = inspect.signature(getattr(CronScheduler, name))
        bare = [
            one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()
        ]
        assert str(inspect.Signature(bare)) == text


@pytest.mark.usefixtures("acron_time")
async def test_a_provider_of_old_days_keeps_working() -> None:
    firing = FakeFiring(0.0, 5.0, 300.0)
    firing.failures.append(SystemExit("made up in a tick"))
    async with Started(minimal(), firing, 60.0) as running:
        await asyncio.sleep(100)
        firing.change(100.0)
        await asyncio.sleep(300)
        running.stop.set()
        await running.end(within=0.001)
    assert running.error is None
    assert [due for due, _ in firing.taken] == [0.0, 5.0, 100.0, 300.0]
    assert [round(at) for _, at in firing.taken] == [60, 60, 100, 300]


async def test_fire_due_needs_no_instant() -> None:
    firing = FakeFiring()
    firing.answer = Fired.NOTHING
    assert await minimal().fire_due("job", firing=firing) is Fired.NOTHING
    assert firing.fired == [("job", None)]
