"""A whole store as JSON lines: what ``export`` writes and ``import`` reads.

The first line says what this is, the last one how much came before, so that a file cut short is
seen. In between each job is followed by its runs and skips, oldest first; then come the ledgers
of jobs that were removed::

    {"acron": 1, "kind": "export", "store": "/x/jobs.json", "at": "2026-11-22T18:00:00Z"}
    {"job": {"id": "tea", "schedule": "every 2h", "next_fire_at": …}}
    {"run": {"id": "r7", "job_id": "tea", "state": "succeeded", …}}
    {"skip": {"job_id": "tea", "reason": "paused", "count": 3, …}}
    {"end": {"jobs": 1, "runs": 1, "skips": 1}}
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from acron.errors import AcronError, InvalidJob
from acron.model import Job, Run, Skip
from acron.occurrences import ALL, History, history
from acron.records import check_id, job_from_record, job_to_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from acron.abc import Store

SCHEMA = 1

S = TypeVar("S", Job, Run, Skip)


class BadArchive(AcronError):
    """A file that is no archive, or a broken one; nothing of it was imported."""


class Header(Struct):
    """The first line; ``at`` is when the export began."""

    acron: int
    kind: str
    store: str = ""
    at: datetime | None = None


class Totals(Struct):
    """The last line."""

    jobs: int = 0
    runs: int = 0
    skips: int = 0


class Line(Struct, omit_defaults=True):
    """One record."""

    job: Job | None = None
    run: Run | None = None
    skip: Skip | None = None
    end: Totals | None = None


class Bundle(NamedTuple):
    """A job (None: removed) with its ledger, and the number of its first line."""

    job_id: str
    told: History
    line: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


# --- writing ------------------------------------------------------------------------------------


async def export(store: Store, now: datetime, totals: Totals) -> AsyncIterator[bytes]:
    """The archive of ``store``, in pieces of a job each; ``totals`` is counted up meanwhile.

    A job and its ledger are of one moment; different jobs may be of different moments while
    acron runs on the store.
    """
    yield _encode(Header(SCHEMA, "export", store.address, now)) + b"\n"
    removed = await _in_ledger(store)
    after = ""
    while page := await store.page(after):
        for one in page:
            told = await history(store, one.id)
            if told.job is None:
                removed.add(one.id)
            else:
                removed.discard(one.id)
                yield _packed(told, totals)
        after = page[-1].id
    for job_id in sorted(removed):
        told = await history(store, job_id)
        if told.job is None:
            yield _packed(told, totals)
    yield _encode(Line(end=totals)) + b"\n"


async def _in_ledger(store: Store) -> set[str]:
    """Ids of all jobs that the ledger knows, removed ones too."""
    ids = {run.job_id for run in await store.runs(limit=ALL)}
    return ids | {skip.job_id for skip in await store.skips(limit=ALL)}


def _packed(told: History, totals: Totals) -> bytes:
    lines = [] if told.job is None else [Line(job=told.job)]
    lines += [Line(run=run) for run in told.runs]
    lines += [Line(skip=skip) for skip in told.skips]
    totals.jobs += told.job is not None
    totals.runs += len(told.runs)
    totals.skips += len(told.skips)
    return b"".join(_encode(line) + b"\n" for line in lines)


# --- reading ------------------------------------------------------------------------------------


def header_of(first: bytes) -> Header | None:
    """The header, when ``first`` begins an archive. Raises BadArchive for a newer one's."""
    try:
        header = msgspec.json.decode(first, type=Header)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if header.kind != "export":
        return None
    if header.acron > SCHEMA:
        message = f"it was exported by a newer acron (schema {header.acron}, known is {SCHEMA})"
        raise BadArchive(message)
    return header


def bundles(lines: Iterable[bytes]) -> Iterator[Bundle]:
    """The jobs of an archive, one after the other. Raises BadArchive, at its end too."""
    found = Totals()
    last: tuple[bool, str] = (False, "")
    bundle: Bundle | None = None
    end: Totals | None = None
    for number, text in enumerate(lines, 1):
        if number == 1:
            if header_of(text) is None:
                raise BadArchive("it does not begin as an export of acron does")
            continue
        if end is not None:
            raise _bad(number, "something follows the end")
        line = _line(text, number)
        end = line.end
        row = line.job or line.run or line.skip
        if row is None:
            continue
        job_id = row.id if isinstance(row, Job) else row.job_id
        if bundle is None or line.job is not None or job_id != bundle.job_id:
            if bundle is not None:
                yield bundle
            bundle = Bundle(job_id, History(line.job, [], []), number)
            if (line.job is None, job_id) <= last:
                raise _bad(number, f"the job {job_id!r} comes twice, or out of order")
            last = (line.job is None, job_id)
        _add(bundle, line, found)
    if end is None:
        raise BadArchive("it is cut off: the line that ends an export is missing")
    if end != found:
        raise BadArchive(f"lines are missing: it ends with {end}, and holds {found}")
    if bundle is not None:
        yield bundle


def _add(bundle: Bundle, line: Line, found: Totals) -> None:
    found.jobs += line.job is not None
    if line.run is not None:
        bundle.told.runs.append(line.run)
        found.runs += 1
    if line.skip is not None:
        bundle.told.skips.append(line.skip)
        found.skips += 1


def _line(text: bytes, number: int) -> Line:
    try:
        line = _decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _bad(
            number, "nested too deep" if isinstance(error, RecursionError) else error
        ) from None
    told = [one for one in (line.job, line.run, line.skip, line.end) if one is not None]
    if len(told) != 1:
        raise _bad(number, "it is no job, no run, no skip and no end")
    try:
        if line.job is not None:
            # What people may not write, nobody may import: through the same door.
            declared = job_from_record(job_to_record(line.job))
            return Line(job=_in_utc(replace(line.job, policy=declared.policy)))
        if line.run is not None:
            _check_run(line.run)
            return Line(run=_in_utc(line.run))
        if line.skip is not None:
            check_id(line.skip.job_id)
            return Line(skip=_in_utc(line.skip))
    except (InvalidJob, ValueError) as error:
        raise _bad(number, error) from None
    return line


def _check_run(run: Run) -> None:
    check_id(run.job_id)
    if not (run.id.startswith("r") and run.id[1:].isascii() and run.id[1:].isdigit()):
        message = f"{run.id[:40]!r} is not the id of a run"
        raise ValueError(message)
    if int(run.id[1:]) >= 2**62 or not 0 <= run.token < 2**62:
        message = f"the run {run.id[:40]!r} has a number beyond all bounds"
        raise ValueError(message)


def _in_utc(row: S) -> S:
    changed: dict[str, Any] = {}
    for name in row.__struct_fields__:
        value = getattr(row, name)
        if isinstance(value, datetime):
            if value.tzinfo is None:
                message = f"{name} has no zone"
                raise ValueError(message)
            changed[name] = value.astimezone(UTC)
    return replace(row, **changed)


def _bad(number: int, why: object) -> BadArchive:
    return BadArchive(f"line {number}: {why}")
