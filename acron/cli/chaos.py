"""``simulate --chaos``: seeds on all cores, and what they have shown."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from typing import TYPE_CHECKING

import typer

from acron.cli.render import print_json
from acron.testing.simulation import play, shrink, write

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acron.testing.simulation import Script

#: Seeds handed to a process at once.
_CHUNK = 50


def tell(seeds: int, *, as_json: bool) -> None:
    """Play the seeds from 0 on, and say what struck, what was reached, what broke."""
    seen: Counter[str] = Counter()
    broken: dict[int, tuple[str, ...]] = {}
    starts = range(0, seeds, _CHUNK)
    spawn = get_context("spawn")
    with (
        ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool,
        typer.progressbar(length=seeds, label="seeds", hidden=as_json) as bar,
    ):
        for part, failed in pool.map(_some, starts, repeat(seeds)):
            seen += part
            broken |= failed
            bar.update(min(_CHUNK, seeds - bar.pos))
    if as_json:
        print_json({"seeds": seeds, "seen": dict(sorted(seen.items())), "broken": broken})
    else:
        _print(seeds, seen, broken)
    if broken:
        raise typer.Exit(1)


def _some(start: int, end: int) -> tuple[Counter[str], dict[int, tuple[str, ...]]]:
    seen: Counter[str] = Counter()
    broken: dict[int, tuple[str, ...]] = {}
    for seed in range(start, min(start + _CHUNK, end)):
        story = play(seed)
        seen += story.seen
        if story.violations:
            broken[seed] = tuple(f"{one.invariant}: {one.how}" for one in story.violations)
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


def tell_one(seed: int) -> None:
    """The story of one seed; when it fails, the shortest that fails in the same way."""
    story = play(seed)
    if not story.violations:
        typer.echo(str(story))
        typer.echo(f"all invariants held; trace {story.digest}")
        return
    wanted = {one.reason for one in story.violations}

    def fails(script: Script) -> bool:
        return bool(wanted & {one.reason for one in play(script).violations})

    shortest = play(shrink(write(seed), fails))
    typer.echo(str(shortest))
    raise typer.Exit(1)
