"""Put an archive into a store: jobs with their progress, and the ledger.

A job and its ledger are one transaction, and what is there already is not written again: an
import that failed is simply run again.

Runs keep their ids where those are free, and the store's sequence of tokens is moved past them.
Where another run has one of the ids (or they are too far ahead to count up to), all get new
numbers, in the old order. A run that was
running stays with the process that runs it: the copy says ``unknown``.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from acron.errors import JobConflict
from acron.model import Decision, Job, Run, RunState, Skip
from acron.occurrences import ALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from acron.abc import Store
    from acron.moving import Report
    from acron.moving.archive import Bundle
    from acron.verbs import OnConflict

    Number = Callable[[int], int]

#: Rows in one transaction, beyond the last job's.
PAGE = 2000
#: Tokens taken in one transaction: a store may have to fetch them.
_MINTED = 50_000
#: The longest way to move a sequence for the sake of old numbers.
_FAR = 10_000_000
_LEFT_BEHIND = "it was running in the store that this is a copy of"
_SHOWN = 5


class _Planned(NamedTuple):
    """What is to be written of a bundle; ``verdict`` is the counter in the report."""

    bundle: Bundle
    verdict: str
    runs: list[Run]
    skips: list[Skip]


async def restore(
    store: Store,
    read: Callable[[], Iterable[Bundle]],
    now: datetime,
    report: Report,
    *,
    on_conflict: OnConflict = "error",
    dry_run: bool = False,
) -> None:
    """Import all that ``read`` gives; it is called twice, first to look at everything.

    A job that differs from one of its id in the store is a conflict: ``error`` raises JobConflict
    before anything is written, ``replace`` puts the archive's in its place, ``keep`` leaves the
    store's alone and the archive's ledger of it out. ``report`` is counted up with each
    transaction. Raises AcronError.
    """
    fresh = not (await store.runs(limit=1) or await store.skips(limit=1))
    numbers, conflicts = await _survey(store, read(), on_conflict, fresh=fresh)
    if conflicts and on_conflict == "error":
        more = f" and {len(conflicts) - _SHOWN} more" if len(conflicts) > _SHOWN else ""
        message = (
            f"the store has other jobs with the ids {', '.join(conflicts[:_SHOWN])}{more}; "
            "choose with --on-conflict replace or keep; nothing was imported"
        )
        raise JobConflict(message, job_id=conflicts[0])
    number = _same if dry_run else await _numbering(store, read, numbers, now)
    for page in _pages(read()):
        planned = [await _plan(store, one, on_conflict, fresh=fresh) for one in page]
        if not dry_run:
            await _write(store, [one for one in planned if one.verdict != "kept"], number, now)
        for one in planned:
            _count(report, one)


async def _survey(
    store: Store, found: Iterable[Bundle], on_conflict: OnConflict, *, fresh: bool
) -> tuple[array[int], list[str]]:
    """The numbers in the runs that are to be written, and the ids of jobs in conflict."""
    numbers: array[int] = array("q")
    conflicts: list[str] = []
    for bundle in found:
        planned = await _plan(store, bundle, on_conflict, fresh=fresh)
        if planned.verdict in {"kept", "replaced"}:
            conflicts.append(bundle.job_id)
        if planned.verdict != "kept":
            for run in planned.runs:
                numbers.extend({int(run.id[1:]), run.token} - {0})
    return numbers, conflicts


async def _plan(store: Store, bundle: Bundle, on_conflict: OnConflict, *, fresh: bool) -> _Planned:
    """``fresh``: the store had no ledger when we began, and nobody else writes ours."""
    new, job_id = bundle.told, bundle.job_id
    job = await store.get(job_id)
    runs = [] if fresh or not new.runs else await store.runs(job_id, limit=ALL)
    skips = [] if fresh or not new.skips else await store.skips(job_id, limit=ALL)
    if new.job is None or job == new.job:
        verdict = "unchanged" if new.job is not None else ""
    elif job is None:
        verdict = "added"
    else:
        verdict = "replaced" if on_conflict == "replace" else "kept"
    if verdict == "kept":
        return _Planned(bundle, verdict, [], [])
    known_runs = {_run_key(run) for run in runs}
    known_skips = {_skip_key(skip) for skip in skips}
    return _Planned(
        bundle,
        verdict,
        [run for run in new.runs if _run_key(run) not in known_runs],
        [skip for skip in new.skips if _skip_key(skip) not in known_skips],
    )


def _run_key(run: Run) -> tuple[object, ...]:
    """What tells a run from any other of its job, whatever its number is."""
    return run.scheduled_at, run.attempt, run.due_at, run.started_at


def _skip_key(skip: Skip) -> tuple[object, ...]:
    return skip.scheduled_at, skip.reason, skip.first_at, skip.count, skip.recorded_at


# --- numbers ------------------------------------------------------------------------------------


def _same(number: int) -> int:
    return number


async def _numbering(
    store: Store, read: Callable[[], Iterable[Bundle]], numbers: array[int], now: datetime
) -> Number:
    """How the numbers of the archive are those of the store."""
    if not numbers:
        return _same
    (token,) = await _mint(store, now, count=1)
    if max(numbers) - token <= _FAR:
        await _mint(store, now, until=max(numbers))
        if not await _clash(store, read()):
            return _same
    old = array("q", sorted(set(numbers)))
    new = await _mint(store, now, count=len(old))
    return lambda number: new[bisect_left(old, number)]


async def _clash(store: Store, found: Iterable[Bundle]) -> bool:
    """Whether a run of the archive would overwrite another one."""
    if not await store.runs(limit=1):
        return False
    for bundle in found:
        for run in bundle.told.runs:
            other = await store.run(run.id)
            if other is not None and (
                other.job_id != run.job_id or _run_key(other) != _run_key(run)
            ):
                return True
    return False


async def _mint(store: Store, now: datetime, *, until: int = 0, count: int = 0) -> array[int]:
    """Take ``count`` tokens, and so many more that the newest is not below ``until``."""
    tokens: array[int] = array("q")
    taken: list[int] = []
    newest = -1

    def change(_: str, old: Job | None, __: Sequence[Run], mint: Callable[[], int]) -> Decision:
        taken.clear()  # a store may have to ask again
        while len(taken) < _MINTED and (
            len(tokens) + len(taken) < count or (taken[-1] if taken else newest) < until
        ):
            taken.append(mint())
        return Decision(old)

    while len(tokens) < count or newest < until:
        await store.write(["acron-import"], change, now)
        newest = taken[-1]
        if count:
            tokens.extend(taken)
    return tokens


# --- writing ------------------------------------------------------------------------------------


def _pages(found: Iterable[Bundle]) -> Iterator[list[Bundle]]:
    page: list[Bundle] = []
    rows = 0
    for bundle in found:
        page.append(bundle)
        rows += 1 + len(bundle.told.runs) + len(bundle.told.skips)
        if rows >= PAGE:
            yield page
            page, rows = [], 0
    if page:
        yield page


async def _write(store: Store, planned: list[_Planned], number: Number, now: datetime) -> None:
    # A job and the ledger of a removed one of the same id may meet in one page.
    todo: dict[str, list[_Planned]] = {}
    for one in planned:
        if one.verdict in {"added", "replaced"} or one.runs or one.skips:
            todo.setdefault(one.bundle.job_id, []).append(one)

    def change(job_id: str, old: Job | None, _: Sequence[Run], __: Callable[[], int]) -> Decision:
        job = old
        runs: list[Run] = []
        skips: list[Skip] = []
        for one in todo[job_id]:
            if one.verdict in {"added", "replaced"}:
                job = one.bundle.told.job
            if one.verdict == "added" and old is not None and old != job:
                message = f"a job {job_id!r} was added by somebody else meanwhile"
                raise JobConflict(message, job_id=job_id)
            runs += [_moved(run, number, now) for run in one.runs]
            skips += one.skips
        return Decision(job, tuple(runs), tuple(skips))

    if todo:
        await store.write(list(todo), change, now)


def _moved(run: Run, number: Number, now: datetime) -> Run:
    moved = replace(
        run, id=f"r{number(int(run.id[1:]))}", token=number(run.token) if run.token else 0
    )
    if run.state is RunState.RUNNING:
        return replace(moved, state=RunState.UNKNOWN, finished_at=now, error=_LEFT_BEHIND)
    return moved


def _count(report: Report, one: _Planned) -> None:
    if one.verdict:
        setattr(report, one.verdict, getattr(report, one.verdict) + 1)
    report.runs += len(one.runs)
    report.skips += len(one.skips)
