"""The verbs between stores: export and import."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from acron.cli.base import Json, Tz, Usage, verb
from acron.cli.calendar import zone_name
from acron.cli.render import does, note, print_json
from acron.errors import AcronError
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from acron.app import Acron
    from acron.cli.target import Target
    from acron.model import Job
    from acron.moving import Found, Report
    from acron.moving.archive import Bundle

Conflict = Literal["error", "replace", "keep"]

_HALTED = "run the same import again: what is there already is not doubled"


@verb("export")
def export(
    target: Target,
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="Where to; default: print it.")
    ] = "-",
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Write all jobs, how far they are, and the ledger, as JSON lines for import."""
    from acron.moving import counted  # noqa: PLC0415
    from acron.moving.archive import Totals  # noqa: PLC0415
    from acron.moving.archive import export as pieces  # noqa: PLC0415

    if as_json and file == "-":
        raise Usage("--json tells about the export of a FILE; without one, the export is JSON")
    totals = Totals()

    async def work(app: Acron, write: Callable[[bytes], object]) -> tuple[str, bool]:
        async for piece in pieces(app.store, app.clock.now(), totals):
            write(piece)
        return app.store.address, any(node.alive for node in await app.store.nodes())

    with _written(file) as out:
        address, live = target.do(lambda app: work(app, out.write))
    if live:
        note("an acron is running on this store: what it does from now on is not in the copy")
    if as_json:
        told = {"jobs": totals.jobs, "runs": totals.runs, "skips": totals.skips}
        print_json({"store": address, "file": file, **told})
    elif file != "-":
        counts = (
            f"{counted(totals.jobs, 'job')}, {counted(totals.runs, 'run')} "
            f"and {counted(totals.skips, 'skip')}"
        )
        typer.echo(f"exported {counts} of {one_line(address)} to {one_line(file)}")


@contextmanager
def _written(file: str) -> Iterator[BinaryIO]:
    """``file`` is there when all of it is, or as it was; outputs are for its owner's eyes."""
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(file)
    if not path.name:
        raise Usage(f"{file!r} names no file")
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and not path.is_file():  # a pipe, a device: not ours to replace
            with path.open("wb") as out:
                yield out
            return
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)
    except OSError as error:
        raise AcronError(f"cannot write {file}: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)


class _Source(NamedTuple):
    """What to import: an archive, or jobs of somebody else's."""

    kind: str
    bundles: Callable[[], Iterator[Bundle]] | None = None
    found: Found | None = None


@verb("import")
def import_(
    target: Target,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What to read; - is the input.")],
    crontab: Annotated[bool, typer.Option("--crontab", help="FILE is a crontab.")] = False,  # noqa: FBT002
    system: Annotated[  # noqa: FBT002
        bool, typer.Option("--system", help="… with users, as /etc/crontab has them.")
    ] = False,
    apscheduler: Annotated[  # noqa: FBT002
        bool, typer.Option("--apscheduler", help="FILE is the URL of an APScheduler 3 job store.")
    ] = False,
    trust: Annotated[  # noqa: FBT002
        bool, typer.Option("--trust", help="Unpickle what that store holds.")
    ] = False,
    on_conflict: Annotated[
        Conflict, typer.Option(help="When the store has another job of the same id.")
    ] = "error",
    dry_run: Annotated[  # noqa: FBT002
        bool, typer.Option("--dry-run", help="Only tell what would be done.")
    ] = False,
    tz: Tz = None,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Read jobs from an export, a jobs.json, a crontab or an APScheduler 3 store."""
    from acron.moving import Report  # noqa: PLC0415

    zone = None if tz is None else zone_name(tz)
    source = _source(file, crontab=crontab, system=system, apscheduler=apscheduler, trust=trust)
    report = Report()

    async def work(app: Acron) -> list[tuple[str, Job]]:
        if zone is not None:
            app.tz = zone
        return await _import(app, source, report, on_conflict, dry_run=dry_run)

    try:
        done = target.do(work)
    except AcronError as error:
        if dry_run or not (report.added or report.replaced or report.runs or report.skips):
            raise
        raise AcronError(f"{error}; before that: {report}; {_HALTED}") from error
    except BaseException:
        if not dry_run:
            note(f"the import was stopped: {report}; {_HALTED}")
        raise
    if as_json:
        print_json(_as_json(source, report, done, dry_run=dry_run))
    else:
        _tell(report, done, dry_run=dry_run)


async def _import(
    app: Acron, source: _Source, report: Report, on_conflict: Conflict, *, dry_run: bool
) -> list[tuple[str, Job]]:
    from acron.moving.plant import plant  # noqa: PLC0415
    from acron.moving.restore import restore  # noqa: PLC0415

    if source.found is not None:
        return await plant(app, source.found, report, on_conflict=on_conflict, dry_run=dry_run)
    if source.bundles is not None:
        now = app.clock.now()
        how: Any = {"on_conflict": on_conflict, "dry_run": dry_run}
        await restore(app.store, source.bundles, now, report, **how)
    return []


def _source(file: str, *, crontab: bool, system: bool, apscheduler: bool, trust: bool) -> _Source:
    if crontab and apscheduler:
        raise Usage("FILE is a crontab or an APScheduler store, not both")
    if system and not crontab:
        raise Usage("--system is a form of --crontab")
    if apscheduler:
        return _apscheduler(file, trust=trust)
    if crontab:
        return _crontab(file, system=system)
    return _records(file)


def _apscheduler(url: str, *, trust: bool) -> _Source:
    from acron.moving.apscheduler import read_apscheduler  # noqa: PLC0415

    if not trust:
        raise Usage(
            "an APScheduler store holds pickles, and whoever may write them may run code here; "
            "if you trust it, say --trust"
        )
    return _Source("apscheduler", found=read_apscheduler(url))


def _crontab(file: str, *, system: bool) -> _Source:
    import pwd  # noqa: PLC0415 (not on every platform)

    from acron.moving.crontab import read_crontab  # noqa: PLC0415

    text = _read(file).decode(errors="surrogateescape")
    try:
        me = pwd.getpwuid(os.getuid())
    except KeyError:
        raise AcronError(f"the user {os.getuid()} has no name here") from None
    found = read_crontab(text, user=me.pw_name, home=me.pw_dir, system=system)
    return _Source("crontab", found=found)


def _records(file: str) -> _Source:
    from acron.moving.archive import bundles, header_of  # noqa: PLC0415
    from acron.moving.seed import read_records  # noqa: PLC0415

    if file == "-":
        data = _read(file)
        if header_of(data.partition(b"\n")[0]) is not None:
            return _Source("export", bundles=lambda: bundles(data.splitlines()))
        return _Source("records", found=read_records(data))

    def lines() -> Iterator[bytes]:
        with Path(file).open("rb") as stream:
            yield from stream

    try:
        first = next(lines(), b"")
    except OSError as error:
        raise AcronError(f"cannot read {file}: {error.strerror}") from error
    if header_of(first) is not None:
        return _Source("export", bundles=lambda: bundles(lines()))
    return _Source("records", found=read_records(_read(file)))


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise AcronError(f"cannot read {file}: {error.strerror}") from error


def _as_json(
    source: _Source, report: Report, done: list[tuple[str, Job]], *, dry_run: bool
) -> dict[str, Any]:
    counts = {
        name: getattr(report, name)
        for name in ("added", "replaced", "kept", "unchanged", "runs", "skips")
    }
    return {
        "kind": source.kind,
        "dry_run": dry_run,
        **counts,
        "jobs": [{"id": job.id, "import": verdict} for verdict, job in done],
        "left_out": [one._asdict() for one in report.left_out],
    }


def _tell(report: Report, done: list[tuple[str, Job]], *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    for verdict, job in done:
        paused = "" if job.paused is None else ", paused"
        line = f"{would}{verdict}: {job.id}: {job.schedule} ({job.tz}) {does(job.action)}{paused}"
        typer.echo(one_line(line))
    for where, what, why in report.left_out:
        typer.echo(one_line(f"left out: {where}: {what}: {why}", 1000))
    typer.echo(f"{'nothing is written yet; it would be: ' if dry_run else ''}{report}")
