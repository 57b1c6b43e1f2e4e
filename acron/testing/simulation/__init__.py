"""Thousands of seeded disasters, each told again the same way.

``play(seed)`` makes a script from the seed, plays it in virtual time with real runtimes, real
stores and faults at any step, and checks what must always hold. ``shrink`` finds the shortest
script that still fails.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import warnings
from contextlib import ExitStack
from datetime import datetime
from functools import cache
from hashlib import blake2b
from pathlib import Path
from random import Random
from textwrap import wrap
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

from acron import plugins, verbs
from acron.actions import call, http
from acron.actions.signature import Signature
from acron.contain import text_of
from acron.errors import StoreCorrupt
from acron.providers import resolve
from acron.providers.inprocess import InProcessCronScheduler
from acron.stores import definitions
from acron.testing.clock import VirtualClock
from acron.testing.page import line
from acron.testing.simulation.loop import SimulatedLoop, in_turn
from acron.testing.simulation.people import CONTROL, SECRET, installed, pull
from acron.testing.simulation.script import Script, simpler, write
from acron.testing.simulation.stage import Stage
from acron.testing.simulation.world import Violation
from acron.text import one_line
from acron.threads import Threads

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from acron.testing.simulation.world import World

__all__ = ["Script", "Story", "play", "shrink", "write"]

#: A file system in memory, where there is one: the faults are ours, not the disk's.
_IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108


class Story(NamedTuple):
    """What came of a script: what happened, at which second; what should not have; how often each
    fault struck and each state was reached; and ``left``, the ledger in the end, as JSON."""

    script: Script
    trace: tuple[tuple[float, str], ...]
    violations: tuple[Violation, ...]
    seen: Counter[str]
    left: bytes

    @property
    def digest(self) -> str:
        """The same for the same seed (I18): what happened when, in its order, and what is left."""
        lines = [f"{at:.6f} {what}" for at, what in self.trace]
        lines += [f"{count} {what}" for what, count in sorted(self.seen.items())]
        return blake2b("\n".join(lines).encode() + self.left, digest_size=8).hexdigest()

    def __str__(self) -> str:
        lines = [f"seed {self.script.seed}: {self.script.kind}, {len(self.script.steps)} steps"]
        for job in self.script.jobs:
            lines += wrap(_told(job), 76, initial_indent="  ", subsequent_indent="    ")
        befores = [at for at, _ in self.trace[:1]] + [at for at, _ in self.trace]
        lines += [
            line(_clock(at), at - before, what)
            for before, (at, what) in zip(befores, self.trace, strict=False)
        ]
        lines += [f"  {one.invariant} does not hold: {one.how}" for one in self.violations]
        return "\n".join(lines)


def play(seed: int | Script, sabotage: Callable[[Stage], None] | None = None) -> Story:
    """One seed, from its beginning to its verdict. ``sabotage`` breaks something on purpose."""
    script = write(seed) if isinstance(seed, int) else seed
    said = _Listener()
    root = logging.getLogger("acron")
    level, propagate = root.level, root.propagate
    root.addHandler(said)
    root.setLevel(logging.INFO)
    root.propagate = False
    try:
        with tempfile.TemporaryDirectory(prefix="acron-simulation-", dir=_IN_MEMORY) as folder:
            world = _play(script, Path(folder), sabotage)
    finally:
        root.removeHandler(said)
        root.setLevel(level)
        root.propagate = propagate
    violations = [*world.violations, *(Violation("I16", how) for how in said.leaks[:1])]
    return Story(script, tuple(world.trace), tuple(violations), +world.seen, world.left)


def _play(script: Script, folder: Path, sabotage: Callable[[Stage], None] | None) -> World:
    clock = VirtualClock(datetime.fromisoformat(script.start))
    loop = SimulatedLoop(clock)
    with ExitStack() as patches:
        names = Random(f"names {script.seed}")
        patches.enter_context(patch.object(Threads, "_start", in_turn))
        # What strangers have installed is no part of the story, and slow to look up.
        patches.enter_context(patch.object(plugins, "installed", _none_installed))
        patches.enter_context(patch.object(resolve, "entry_points", installed))
        patches.enter_context(patch.object(http, "find_spec", lambda _: None))
        patches.enter_context(patch.object(call, "Signature", _signature))
        patches.enter_context(patch("secrets.token_hex", lambda n=8: names.randbytes(n).hex()))
        patches.enter_context(patch.object(InProcessCronScheduler, "start", pull))
        world = Stage(script, loop, folder)
        for binder in (verbs, definitions):
            patches.enter_context(patch.object(binder, "bind", world.eras.bind))
        if sabotage is not None:
            sabotage(world)

        warned = patches.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        loop.set_exception_handler(lambda _, told: world.broke("I15", one_line(f"{told}", 300)))

        async def main() -> None:
            try:
                await world.play()
            except StoreCorrupt as error:
                world.broke("I10", one_line(str(error)))
            except Exception as error:  # noqa: BLE001 (the seeds after it are to be played too)
                where = extract_tb(error.__traceback__)[-1]
                told = f"the story fell apart: {text_of(error)}, {where.filename}:{where.lineno}"
                world.broke("I15", one_line(told, 300))
            finally:
                for one in warned:  # a coroutine that was never awaited, a file left open
                    world.broke("I15", one_line(str(one.message)))
                world.over = True
                for process in world.processes.values():
                    process.kill()
                loop.exhume()
                await _clear_away()

        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())
    return world


def _none_installed(_: str) -> tuple[()]:
    return ()


#: Every process of every story has the same functions.
_signature = cache(Signature)


async def _clear_away() -> None:
    """End what the dead have left. They may do what they like by now, and nobody listens."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    for _ in range(100):
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if not left:
            return
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=1.0)


def shrink(script: Script, fails: Callable[[Script], bool]) -> Script:
    """The script without all that it fails without: steps, processes, jobs, what is said of
    those, and time. ``fails`` is asked a few hundred times."""
    before = None
    while script != before:
        before = script
        script = _with_fewer_steps(script, fails)
        position = 0
        while (shorter := next(simpler(script, position), None)) is not None:
            if fails(shorter):
                script = shorter
            else:
                position += 1
    return script


def _with_fewer_steps(script: Script, fails: Callable[[Script], bool]) -> Script:
    size = max(1, len(script.steps) // 2)
    while size:
        start = 0
        while start < len(script.steps):
            steps = script.steps[:start] + script.steps[start + size :]
            shorter = script._replace(steps=steps)
            if fails(shorter):
                script = shorter
            else:
                start += size
        size //= 2
    return script


class _Listener(logging.Handler):
    """Hears all that acron logs, and keeps what should not have been said."""

    def __init__(self) -> None:
        super().__init__()
        self.leaks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)  # with the traceback that it may bear
        for what in (SECRET, CONTROL):
            if what in text:
                place = text.index(what)
                self.leaks.append(f"logged: {text[max(place - 40, 0) : place + 40]!r}")


def _told(job: dict[str, Any]) -> str:
    rest = [f"{key}={one}" for key, one in job.items() if key not in {"id", "schedule"}]
    return f"{job['id']} {job['schedule']}: {', '.join(rest)}"


def _clock(seconds: float) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{int(hours):3}:{int(rest // 60):02}:{rest % 60:06.3f}"
