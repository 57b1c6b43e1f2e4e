"""``simulate --chaos``: seeds on all cores, and what they have shown."""

from __future__ import annotations

import os
import signal
from collections import Counter, deque
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import TYPE_CHECKING

import typer

from acron.cli.render import print_json
from acron.testing.simulation import play, shrink, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from acron.testing.simulation import Script, Story

    #: What was seen in some seeds, and what was broken in which.
    _Played = tuple[Counter[str], dict[int, tuple[str, ...]]]

#: Seeds handed to a process at once.
_CHUNK = 20
#: How many such hands are full, at most.
_AHEAD = 200


def tell(seeds: int, *, as_json: bool) -> None:
    """Play the seeds from 0 on, and say what struck, what was reached, what broke. Ctrl-C and
    SIGTERM end it: then it says so of those that were played."""
    seen: Counter[str] = Counter()
    broken: dict[int, tuple[str, ...]] = {}
    played, stopped = 0, None
    with (
        _stopped_whole(),
        ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), _be_deaf) as pool,
        typer.progressbar(length=seeds, label="seeds", hidden=as_json) as bar,
    ):
        try:
            for part, failed in _played(pool, seeds):
                seen += part
                broken |= failed
                for seed, told in failed.items():  # the end may be an hour away
                    typer.echo(f"\nseed {seed}: {'; '.join(told)}", err=True)
                played = min(played + _CHUNK, seeds)
                bar.update(played - bar.pos)
        except BaseException as error:
            for worker in active_children():  # else what they have begun is waited for
                worker.terminate()
            if not isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            stopped = error
    if as_json:
        print_json({"seeds": played, "seen": dict(sorted(seen.items())), "broken": broken})
    else:
        _print(played, seen, broken)
    if stopped is not None:
        raise stopped
    if broken:
        raise typer.Exit(1)


def _played(pool: ProcessPoolExecutor, seeds: int) -> Iterator[_Played]:
    """In their order. Not all are handed in at once: what waits would have to be cancelled."""
    begun: deque[Future[_Played]] = deque()
    for start in range(0, seeds, _CHUNK):
        begun.append(pool.submit(_some, start, seeds))
        if len(begun) > _AHEAD:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


@contextmanager
def _stopped_whole() -> Iterator[None]:
    """SIGTERM stops us by an exception: else the pool's processes would be left behind."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _be_deaf() -> None:
    """Ctrl-C reaches all processes of a terminal; that it was pressed, one tells."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _some(start: int, end: int) -> _Played:
    seen: Counter[str] = Counter()
    broken: dict[int, tuple[str, ...]] = {}
    for seed in range(start, min(start + _CHUNK, end)):
        story = play(seed)
        seen += story.seen
        if story.violations:
            broken[seed] = _told(story)
    return seen, broken


def _print(seeds: int, seen: Counter[str], broken: dict[int, tuple[str, ...]]) -> None:
    for name, count in _columns(seen.items()):
        typer.echo(f"{count:>9,}  {name}")
    for seed, told in sorted(broken.items()):
        typer.echo(f"seed {seed}: {'; '.join(told)}")
    verdict = f"{len(broken):,} seeds broke an invariant" if broken else "all invariants held"
    typer.echo(f"{seeds:,} seeds, {verdict}")
    if broken:
        typer.echo(f"to see one whole: acron simulate --chaos --seed {min(broken)}")


def _columns(counts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(counts, key=lambda pair: (-pair[1], pair[0]))


def tell_one(seed: int, *, as_json: bool) -> None:
    """The story of one seed; when it fails, the shortest that fails in the same way. Exit code 1
    when it does."""
    story = play(seed)
    if story.violations:
        wanted = {one.reason for one in story.violations}

        def fails(script: Script) -> bool:
            return bool(wanted & {one.reason for one in play(script).violations})

        story = play(shrink(write(seed), fails))
    broken = {seed: _told(story)} if story.violations else {}
    if as_json:
        found = {"seeds": 1, "seen": dict(sorted(story.seen.items())), "broken": broken}
        print_json(found | {"trace": story.digest, "story": str(story)})
    else:
        typer.echo(str(story))
        if not broken:
            typer.echo(f"all invariants held; trace {story.digest}")
    if broken:
        raise typer.Exit(1)


def _told(story: Story) -> tuple[str, ...]:
    return tuple(f"{one.invariant}: {one.how}" for one in story.violations)
