"""Other people's parts in a simulation: jobs that misbehave, and bad triggers."""

from __future__ import annotations

import asyncio
from importlib.metadata import EntryPoint
from random import Random
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from acron.model import RunState
from acron.providers.inprocess import InProcessCronScheduler
from acron.testing.simulation.process import DRAIN_BOUND, MAX_RUNNING, life, living

if TYPE_CHECKING:
    from datetime import datetime

    from acron.abc import Context, Firing
    from acron.model import Run
    from acron.testing.simulation.process import Process
    from acron.testing.simulation.world import World

#: Never to be seen in any sink; and never raw, the character after it.
SECRET = "canary-4711"
CONTROL = "\x1b[31m"
#: What somebody says who has nothing to say.
SILENCE = "[SILENT]"

#: Seconds that are the same but for rounding.
_SAME = 1e-3
#: By how much a clock must be ahead not to be believed.
_A_DAY = 86_400.0

#: What a run does, and how often.
MOODS = {
    "quick": 14,
    "slow": 9,
    "speaks": 6,
    "silent": 2,
    "fails": 6,
    "exits": 2,
    "interrupts": 2,
    "cancels itself": 2,
    "stops iteration": 1,
    "hangs": 2,
    "swallows cancellation": 1,
    "child fails": 1,
    "is a closed generator": 1,
    "blocks": 1,
    "dies": 1,
}


async def work(ctx: Context) -> str | None:
    """Behave, or misbehave, as the seed has it."""
    process = living()
    return await process.world.people.work(ctx, process)


def work_in_a_thread(ctx: Context) -> str | None:
    """The same, as blocking code."""
    process = living()
    return process.world.people.work_in_a_thread(ctx, process)


async def relevant(ctx: Context) -> bool:
    """Mostly; and mostly it is known at once."""
    process = living()
    world = process.world
    world.people.note_call(ctx, process)
    world.seen["hook still_relevant"] += 1
    if world.people.peaceful:
        return world.people.answers(ctx.run, wanted=True)
    mood = crc32(f"{ctx.run.due_at}".encode())
    await asyncio.sleep((0.0, 0.0, 0.0, 1.0, 30.0)[mood % 5])
    return world.people.answers(ctx.run, wanted=mood // 8 % 4 > 0)


async def noted() -> None:
    """A hook."""
    living().world.seen["hook after"] += 1


#: What every process registers: the same functions, which look for whom they work.
FUNCTIONS = (work, work_in_a_thread, relevant, noted)


class Called(NamedTuple):
    """When people's code was called for a run, on the clock of the world, what it may take, and
    for how long its loop had been blocked by then: all in seconds."""

    at: float
    timeout: float | None
    blocked: float


class People:
    """What the functions do that jobs call. ``starts`` are the effects that the world has seen:
    for each attempt of an occurrence, or run by hand, the tokens under which it was begun."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.peaceful = False
        self.removed: set[str] = set()
        self.starts: dict[tuple[str, datetime | str, int], list[int]] = {}
        self.begun_at: dict[str, float] = {}  # by run, on the clock of the world
        self.called: dict[str, Called] = {}  # by run; ``relevant`` is called before it begins
        self._stubborn: set[asyncio.Task[object] | None] = set()
        self._wanted: set[str] = set()  # runs that ``relevant`` let through

    def answers(self, run: Run, *, wanted: bool) -> bool:
        """What ``relevant`` says of a run."""
        if wanted:
            self._wanted.add(run.id)
        return wanted

    def is_stubborn(self, task: asyncio.Task[object] | None) -> bool:
        """Whether it is somebody who swallows its cancellation: it may be left."""
        return task in self._stubborn

    def _mood(self, ctx: Context) -> tuple[str, Random]:
        run = ctx.run
        at = run.scheduled_at or run.due_at
        random = Random(f"{self._world.script.seed} {run.job_id} {at} {run.attempt}")
        return random.choices(list(MOODS), list(MOODS.values()))[0], random

    def note_call(self, ctx: Context, process: Process) -> None:
        call = Called(self._world.loop.time(), ctx.job.policy.timeout, process.blocked)
        self.called.setdefault(ctx.run.id, call)

    async def work(self, ctx: Context, process: Process) -> str | None:
        self.note_call(ctx, process)
        await self._begin(ctx, process)
        try:
            return await self._behave(ctx, process)
        finally:
            self._is_let_end(ctx.run, process)

    def _is_let_end(self, run: Run, process: Process) -> None:
        """I11, I15: it went on for no longer than its timeout, nor than a drain lets it; but for
        who does not care, and while nothing could run."""
        if self.is_stubborn(asyncio.current_task()):
            return
        world, called = self._world, self.called[run.id]
        now, blocked = world.loop.time(), process.blocked - called.blocked
        took = now - called.at - blocked
        if called.timeout is not None and took > called.timeout + _SAME:
            world.broke("I11", f"{named(run)} went on for {took:g} s, and has {called.timeout:g}")
        if process.stopping_at is not None:
            drained = now - max(process.stopping_at, called.at) - blocked
            if drained > DRAIN_BOUND + _SAME:
                world.broke("I15", f"{named(run)} went on for {drained:g} s of a drain")

    async def _behave(self, ctx: Context, process: Process) -> str | None:
        mood, random = ("quick", Random(0)) if self.peaceful else self._mood(ctx)
        self._world.seen[f"job {mood}"] += 1
        if mood == "quick":
            await asyncio.sleep(random.choice((0.0, 0.2, 2.0)))
        elif mood == "slow":
            await asyncio.sleep(random.choice((30.0, 100.0, 400.0)))
        elif mood == "blocks":
            await process.block(random.choice((3.0, 70.0)))
        elif mood == "dies":
            await process.die()
        elif mood == "hangs":
            await asyncio.get_running_loop().create_future()
        elif mood == "swallows cancellation":
            self._stubborn.add(asyncio.current_task())
            await _stubborn()
        elif mood == "child fails":
            async with asyncio.TaskGroup() as group:
                group.create_task(_fail("a child"))
        elif mood in {"speaks", "silent"}:
            silence = random.choice((None, SILENCE))
            return f"it is {random.randint(1, 9)}" if mood == "speaks" else silence
        else:
            raise _error(mood)
        return None

    def work_in_a_thread(self, ctx: Context, process: Process) -> str | None:
        self._note(ctx, process)
        mood, random = ("quick", Random(0)) if self.peaceful else self._mood(ctx)
        self._world.seen["thread"] += 1
        if mood == "slow":
            self._world.loop.take(random.choice((1.0, 30.0, 100.0)))
        elif mood in {"hangs", "swallows cancellation"}:  # which nobody can tell a thread
            self._world.seen["thread stuck"] += 1
            self._world.loop.take(900.0)
        elif mood in _RAISED:
            raise _error(mood)
        return f"thread {random.randint(1, 9)}" if mood == "speaks" else None

    async def _begin(self, ctx: Context, process: Process) -> None:
        """I2, I4, I7: what holds when people's code begins."""
        run, world = ctx.run, self._world
        self._note(ctx, process)
        probe = await world.probe()
        stored = await probe.run(run.id)
        durable = stored is not None and stored.token == run.token and stored.started_at is not None
        if not durable:
            world.broke("I4", f"{named(run)} was begun before its claim was durable")

    def _note(self, ctx: Context, process: Process) -> None:
        run, world = ctx.run, self._world
        world.happened(f"{process.name} runs {named(run)}")
        self.begun_at[run.id] = world.loop.time()
        self._has_room(process)
        asked = ctx.job.policy.still_relevant is not None and run.scheduled_at is not None
        if asked and run.id not in self._wanted:
            world.broke("I7", f"{named(run)} was begun, and is not relevant any more")
        begun = self.starts.setdefault((run.job_id, run.scheduled_at or run.id, run.attempt), [])
        begun.append(run.token)
        forgotten = run.batch is not None and world.eras.has_pruned(run)
        # A limit that is told: what was fired by a clock that is not believed, before an edit.
        ahead = process.clock.skew > _A_DAY and world.eras.is_older(run.job_id, begun[0])
        if len(begun) > 1 and not (forgotten or ahead):  # a backfill begins what nobody knows of
            world.broke("I2", f"{named(run)} was begun {len(begun)} times")

    def _has_room(self, process: Process) -> None:
        """FAULTS 49: no process runs more at once than it may."""
        world = self._world
        at_work = sum(
            run.node == process.node and run.id in self.begun_at and run.state is RunState.RUNNING
            for opened in world.book.open.values()
            for run in opened.values()
        )
        world.seen["as many runs as there may be"] += at_work == MAX_RUNNING
        if at_work > MAX_RUNNING:
            world.broke("I11", f"{at_work} runs at once in {process.name}")


def named(run: Run) -> str:
    """A run as a story tells it."""
    at = "by hand" if run.scheduled_at is None else f"{run.scheduled_at:%dT%H:%M:%S}"
    return f"{run.job_id} {at} #{run.attempt} ({run.id})"


async def _stubborn() -> None:
    for _ in range(50):  # bounded, so that a world can end
        try:
            await asyncio.sleep(1000.0)
        except asyncio.CancelledError:
            continue


async def _fail(what: str) -> None:
    await asyncio.sleep(0.1)
    raise ValueError(f"{what} failed: password={SECRET}{CONTROL}")


_RAISED = frozenset({"fails", "exits", "interrupts", "stops iteration", "is a closed generator"})


def _error(mood: str) -> BaseException:
    errors: dict[str, BaseException] = {
        "fails": ValueError(f"https://user:{SECRET}@host/ is down{CONTROL}\r\nforged"),
        "exits": SystemExit(3),
        "interrupts": KeyboardInterrupt(),
        "cancels itself": asyncio.CancelledError("I do as I like"),
        "stops iteration": StopIteration("no more"),
        "is a closed generator": GeneratorExit("closed"),
    }
    return errors[mood]


#: How a provider fails that serves.
TROUBLES = frozenset({"raises", "returns", "hangs"})


def installed(*, group: str, name: str) -> list[EntryPoint]:  # noqa: ARG001
    """What strangers have installed: providers that are good for nothing."""
    living().world.seen[f"provider {name.replace('-', ' ')}"] += 1
    place = f"{__name__}:Unavailable" if name == "is-not-available" else "no_such_module:Provider"
    return [] if name == "is-missing" else [EntryPoint(name, place, "acron.providers")]


class Unavailable(InProcessCronScheduler):
    """Is there, and cannot be used here."""

    def is_available(self) -> bool:
        return False


class Trigger(InProcessCronScheduler):
    """A provider that fails when told to; else it is the built-in."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process
        self._failing = asyncio.Event()
        self._how = ""

    @property
    def name(self) -> str:
        return "simulated"

    def fail(self, how: str) -> None:
        self._how = how
        self._failing.set()

    async def start(
        self, stop_event: asyncio.Event, *, firing: Firing, interval: float = 60.0
    ) -> None:
        pulling = asyncio.create_task(super().start(stop_event, firing=firing, interval=interval))
        failing = asyncio.create_task(self._failing.wait())
        try:
            await asyncio.wait({pulling, failing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pulling.cancel()
            failing.cancel()
            await asyncio.wait({pulling, failing})
        if not self._failing.is_set():
            return
        self._world.seen[f"provider {self._how}"] += 1
        if self._how == "raises":
            raise SystemExit("the provider has had enough")
        if self._how == "hangs":
            await asyncio.get_running_loop().create_future()


async def pull(
    provider: InProcessCronScheduler,
    stop_event: asyncio.Event,
    *,
    firing: Firing,
    interval: float = 60.0,
) -> None:
    """What the built-in's ``start`` does, counted (I12)."""
    here = life()
    here.triggers += 1
    if here.triggers > 1:
        here.process.world.broke("I12", f"{here.triggers} triggers pull in {here.process.name}")
    try:
        await _START(provider, stop_event, firing=firing, interval=interval)
    finally:
        here.triggers -= 1


_START = InProcessCronScheduler.start
