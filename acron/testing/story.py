"""What the ledger of an app tells, as a drawing: for a failed test, and for whoever asks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from acron.app import Acron
from acron.model import RunState
from acron.schedules.zones import zone
from acron.stores import open_store
from acron.stores.local import LocalStore
from acron.stores.memory import MemoryStore
from acron.targets import shown
from acron.testing.clock import VirtualClock
from acron.testing.page import WIDTH, Mark, draw, span
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from acron.abc import Store
    from acron.model import Delivery, Run, Skip

#: Runs, and skips, that are asked for: the newest.
DRAWN = 2000
_LATE = 1.0


async def timeline(app: Acron, *, width: int = WIDTH) -> str:
    """What the ledger of ``app`` tells, drawn as text of ``width`` columns at most.

    A line is a claim, which is a start, or an end with what came of it: the output's first line,
    the error, where it was delivered; or what was skipped, and why. Retries, and the runs of
    other processes on the same store, are runs like any. The clock is that of the app's zone,
    beside it the time since the line before; what went well many times in a row is folded, and
    what comes again in the same words where 60 lines are not enough.

    Also for an app that is closed, or that ``crash`` has killed, while its store is in memory or
    in a file. Raises StoreUnavailable for others.
    """
    runs, skips = await _ledger(app)
    marks = [mark for run in runs for mark in _marks(run)] + [_skip(one) for one in skips]
    counts = f"{len(runs):,} run{'s'[: len(runs) != 1]}"
    if skipped := sum(one.count for one in skips):
        counts += f", {skipped:,} skipped"
    store = app._given  # noqa: SLF001 (the app's other half)
    where = "" if store is None else f", on {store.address}"
    head = one_line(f"{app.app}: {counts}, {app.tz}{where}", width)
    order = {"ends": 0}  # of one instant: who is over makes room
    marks.sort(key=lambda mark: (mark.at, order.get(mark.kind, 1)))
    return "\n".join([head, *draw(marks, app.clock.now(), zone(app.tz).info, width)])


async def _ledger(app: Acron) -> tuple[list[Run], list[Skip]]:
    """Its newest runs and skips, oldest first."""
    store = app._given  # noqa: SLF001
    if store is None:
        return [], []
    if isinstance(store, MemoryStore):  # whoever has it open, and on whatever loop
        book = store._book  # noqa: SLF001
        runs = book.list_runs(None, None, None, DRAWN)
        return runs[::-1], book.list_skips(None, DRAWN)[::-1]
    if not isinstance(store, LocalStore):
        return await _read(store)
    beside = open_store(store.address, app.home)
    await beside.open(app.clock.now())
    try:
        return await _read(beside)
    finally:
        await beside.close()


async def _read(store: Store) -> tuple[list[Run], list[Skip]]:
    return (await store.runs(limit=DRAWN))[::-1], (await store.skips(limit=DRAWN))[::-1]


def _marks(run: Run) -> Iterator[Mark]:
    begun, ended, job = run.started_at, run.finished_at, run.job_id
    well = run.state is RunState.SUCCEEDED and run.attempt == 1 and run.lateness < _LATE
    calm = well and all(one.state == "delivered" for one in run.deliveries)
    about = ", ".join(["", *_about(run)])
    if begun is None:
        if ended is None:
            yield Mark(run.due_at, "waits", run.id, job, f"is due{about}")
        else:
            yield Mark(ended, "not", run.id, job, f"{_end(run)}{about}")
    elif begun == ended:
        yield Mark(begun, "at once", run.id, job, f"{_end(run)}{about}", calm)
    else:
        yield Mark(begun, "begins", run.id, job, f"starts{about}", calm)
        if ended is not None:
            yield Mark(ended, "ends", run.id, job, _end(run), calm)


def _about(run: Run) -> Iterator[str]:
    """What is not as always about its start."""
    if run.attempt > 1:
        yield f"attempt {run.attempt}"
    if run.batch is not None:
        yield f"backfill {run.batch}"
    elif run.scheduled_at is None:
        yield "by hand"
    if run.lateness >= _LATE:
        yield f"{span(run.lateness)} late"
    if run.note:
        yield one_line(run.note, 60)


def _end(run: Run) -> str:
    text = run.state.value.replace("_", " ")
    said = run.error or (run.output or "").strip().partition("\n")[0]
    if said:
        text += f": {one_line(said, 80)}" if run.error else f" “{one_line(said, 40)}”"
    return " ".join([text, *map(_delivery, run.deliveries)])


def _delivery(one: Delivery) -> str:
    text = f"→ {one_line(shown(one.target), 60)}"
    if one.state != "delivered":
        text += f" {one.state}"
    if one.error:
        text += f" ({one_line(one.error, 60)})"
    return text


def _skip(skip: Skip) -> Mark:
    text = f"skipped: {skip.reason.value}"
    if skip.count > 1:
        text = f"{skip.count} skipped: {skip.reason.value}"
    thing = f"{skip.job_id} {skip.scheduled_at}"
    return Mark(skip.recorded_at or skip.scheduled_at, "not", thing, skip.job_id, text)


def drawings(values: Iterable[object]) -> list[str]:
    """The timeline of each app in virtual time that is one of ``values``, or in one of them. No
    loop may be running."""
    # By their types: a proxy among people's values may raise when it is asked what it is.
    inner = [part for one in values for part in (one, *_parts(one))]
    found: dict[int, Any] = {id(one): one for one in inner if issubclass(type(one), Acron)}
    # One that could not be made has no clock yet.
    virtual = (one for one in found.values() if isinstance(vars(one).get("clock"), VirtualClock))
    told = map(_at_once, virtual)
    return list(dict.fromkeys(told))  # two of them may have the same ledger


def _parts(value: Any) -> list[Any]:
    """What is in it: an element, a value, an attribute."""
    if issubclass(type(value), list | tuple | set):
        return [*value]
    try:
        return [*(value if issubclass(type(value), dict) else vars(value)).values()]
    except Exception:  # noqa: BLE001 (people's value, which may not want to be looked at)
        return []


def _at_once(app: Acron) -> str:
    loop = asyncio.new_event_loop()  # not the thread's own, which is the test plugin's
    try:
        return loop.run_until_complete(timeline(app))
    except Exception as error:  # noqa: BLE001 (what is wrong with the test must be seen)
        return one_line(f"{app.app}: the timeline cannot be drawn: {type(error).__name__}: {error}")
    finally:
        loop.close()
