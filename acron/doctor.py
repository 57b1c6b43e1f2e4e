"""What commonly goes wrong, looked for: each check names what, where, and how to mend it.

A check is a function that gives findings; `examine` calls them all. They only look: nothing is
changed, and a fault in one hides no other.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import stat
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec import Struct

from acron.adapters import OURS, close_adapters, load_adapters
from acron.config import FILE
from acron.errors import ConfigError, StoreCorrupt, StoreError, StoreLocked
from acron.model import Decision
from acron.providers.resolve import BUILTIN, resolve_cron_scheduler
from acron.schedules.zones import zone
from acron.specs import Http
from acron.stores.json_file import ADVICE
from acron.targets import ALL, ORIGIN, parse_target
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from acron.app import Acron
    from acron.model import Incident, Job, Node
    from acron.status import Status

Level = Literal["ok", "advice", "wrong"]

#: Bytes free below which something will soon fail, and a size at which a store is slow to copy.
_LITTLE = 100 * 2**20
_LARGE = 2**30
#: Files that may still be made, below which something will soon fail.
_FEW_FILES = 1000
#: Seconds that a heartbeat may be ahead of our clock.
_AHEAD = 5.0
_NAMED = 5


class Finding(Struct, frozen=True):
    """What one check saw. ``mend`` says how to put it right; empty when all is well."""

    check: str
    level: Level
    what: str
    where: str = ""
    mend: str = ""


class Patient(NamedTuple):
    """What the store told, once for all checks."""

    app: Acron
    now: datetime
    jobs: list[Job]
    nodes: list[Node]
    status: Status
    incidents: list[Incident]
    platforms: frozenset[str] | ConfigError  # that can be told here, or why that is not known
    program: bool


async def examine(app: Acron, *, program: bool = False) -> list[Finding]:
    """All checks on ``app``, which is not open. ``program``: it is the program itself, with its
    functions and adapters, and not only its store."""
    found = [Finding("settings", "ok", "they can be read", str(app.home / FILE))]
    found += _zones(app.tz)
    found += _provider(app)
    try:
        async with app.attached():
            patient = await _ask(app, program=program)
            place = app.store.directory
            found.append(Finding("store", "ok", "reachable and writable", app.store.address))
            found += [one for check in CHECKS for one in check(patient)]
            address = app.store.address
            found += await asyncio.to_thread(_files, app.home, place, address)
    except StoreError as error:
        found.append(_sick(error))
    except ConfigError as error:
        found.append(settings_problem(error))
    return found


def settings_problem(error: ConfigError) -> Finding:
    """What to say of settings that stop everything else."""
    mend = "correct it; docs/reference/settings.md lists what may stand there"
    return Finding("settings", "wrong", one_line(str(error)), mend=mend)


async def _ask(app: Acron, *, program: bool) -> Patient:
    # A transaction that changes nothing: it needs the lock, and the right to write.
    await app.store.write(["acron-doctor"], lambda _, job, *__: Decision(job), app.clock.now())
    jobs = [job async for job in app.jobs()]
    nodes = await app.store.nodes()
    incidents = await app.incidents("open")
    here = await _platforms(app)
    return Patient(app, app.clock.now(), jobs, nodes, await app.status(), incidents, here, program)


async def _platforms(app: Acron) -> frozenset[str] | ConfigError:
    given = app._adapters  # noqa: SLF001 (what the program has handed in)
    try:
        loaded = load_adapters(app.home, taken=given)
    except ConfigError as error:
        return error
    await close_adapters(loaded)
    return frozenset({*given, *loaded, ORIGIN, ALL})


def _sick(error: StoreError) -> Finding:
    mend = "see that it is there, and that this user may read and write it"
    if isinstance(error, StoreLocked):
        mend = f"end {one_line(error.holder)} if it hangs; it is let go when its process dies"
    elif isinstance(error, StoreCorrupt):
        mend = "nothing was overwritten: put back a backup, or see the copy beside it"
    elif "pip install" in str(error):
        mend = "install what it names"
    return Finding("store", "wrong", one_line(str(error)), error.address, mend)


# --- before the store is opened ---


def _zones(tz: str) -> Iterable[Finding]:
    for name in dict.fromkeys((tz, "Europe/Paris", "America/New_York")):
        try:
            zone(name)
        except LookupError:
            mend = "pip install tzdata, or install the system's zone data"
            yield Finding("zones", "wrong", f"there is no data of the zone {name}", mend=mend)
            return
    yield Finding("zones", "ok", f"zone data are there; the default zone is {tz}")


def _provider(app: Acron) -> Iterable[Finding]:
    wanted = app.settings.provider.strip()
    if wanted.casefold() in BUILTIN:
        yield Finding("provider", "ok", "the built-in")
        return
    with _heard("acron.providers") as said:
        made = resolve_cron_scheduler(app.settings)
    if not said:
        yield Finding("provider", "ok", made.name)
        return
    mend = "install or configure it, or leave the setting out; until then the built-in fires"
    yield Finding("provider", "wrong", one_line(said[0]), f"provider = {wanted!r}", mend)


@contextmanager
def _heard(logger: str) -> Iterator[list[str]]:
    """The warnings of a logger, in the place of its other listeners."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    place = logging.getLogger(logger)
    before, place.propagate = place.propagate, False
    place.addHandler(handler)
    try:
        yield said
    finally:
        place.removeHandler(handler)
        place.propagate = before


# --- what the store tells ---


def _records(patient: Patient) -> Iterable[Finding]:
    for text in patient.status.problems:
        large = ADVICE in text
        mend = "move the jobs" if large else "correct or remove the record; the others run on"
        yield Finding("records", "advice" if large else "wrong", one_line(text), mend=mend)


def _daemon(patient: Patient) -> Iterable[Finding]:
    status = patient.status
    if status.healthy:
        yield Finding("daemon", "ok", f"{status.state}; fires by {status.provider}")
        return
    if status.state == "not running" and not any(job.due_at for job in patient.jobs):
        yield Finding("daemon", "ok", "not running, and no job waits to be fired")
        return
    mend = {
        "not running": "start it: acron run, or the program that has the jobs",
        "stalled": "its process is stopped or hangs: look at it, and start it anew",
        "blocked loop": "let the job await, or make it a plain function, which runs in a thread",
    }.get(status.state, "its log tells more; it goes on trying")
    why = status.blocked or status.last_error or ""
    what = f"{status.state}: {why}" if why else status.state
    yield Finding("daemon", "wrong", one_line(what), status.store, mend)


def _several(patient: Patient) -> Iterable[Finding]:
    pulling = [node for node in patient.nodes if node.alive and node.provider]
    for name, count in Counter(node.app for node in pulling).items():
        if count > 1:
            who = ", ".join(f"{one.pid} on {one.host}" for one in pulling if one.app == name)
            what = f"{count} processes fire the jobs of the app {name!r}: {one_line(who)}"
            mend = "well if meant (each instant is fired once); else end all but one"
            yield Finding("daemon", "advice", what, mend=mend)


def _clock(patient: Patient) -> Iterable[Finding]:
    believed = patient.now + timedelta(seconds=_AHEAD)
    fired = [job for job in patient.jobs if job.last_fire_at and job.last_fire_at > believed]
    if waiting := [job.id for job in fired if job.due_at is not None]:
        what = f"fired by a clock that was ahead of ours, and waiting for it: {_some(waiting)}"
        mend = "set the clocks (NTP); if ours is right, edit the schedule: another one begins now"
        yield Finding("clock", "wrong", what, mend=mend)
    beats = [(node.heartbeat_at, node) for node in patient.nodes if node.heartbeat_at]
    if not beats:
        return
    newest, node = max(beats, key=lambda beat: beat[0])
    ahead = (newest - patient.now).total_seconds()
    if newest > believed:
        what = f"the newest heartbeat is {ahead:.0f} s in our future"
        mend = "set the clocks (NTP); instants that a wrong clock calls past are not fired again"
        yield Finding("clock", "wrong", what, f"{node.host}, process {node.pid}", mend)
    elif not waiting:
        yield Finding("clock", "ok", "no heartbeat and no fire is in our future")


def _jobs(patient: Patient) -> Iterable[Finding]:
    status = patient.status
    for job in [job for job in patient.jobs if job.error is not None][:_NAMED]:
        mend = f"acron edit {job.id} --schedule, or repair what it names"
        yield Finding(
            "jobs", "wrong", f"no next instant: {one_line(job.error or '')}", job.id, mend
        )
    if status.parked:
        needs = {job.action.needs for job in patient.jobs if job.id in status.parked}
        what = f"nothing that runs can run {_some(status.parked)}: {_some(sorted(needs))}"
        mend = "start the program that has it, register it again under that name, or remove them"
        yield Finding("jobs", "wrong", what, mend=mend)
    gone = [job.id for job in patient.jobs if (job.paused or "").startswith("no longer declared")]
    if gone:
        mend = "remove them, or declare them again"
        yield Finding("jobs", "advice", f"no longer declared, and paused: {_some(gone)}", mend=mend)
    if not status.parked and not status.errors:
        count = len(patient.jobs)
        what = f"{count} {'job' if count == 1 else 'jobs'}, none in error, none parked"
        yield Finding("jobs", "ok", what)


def _incidents(patient: Patient) -> Iterable[Finding]:
    for one in patient.incidents[:_NAMED]:
        what = f"{one.kind}, {one.count} times: {one_line(one.error, 200)}"
        mend = f"mend the job; acron incidents ack {one.id} once it is known"
        yield Finding("incidents", "wrong", what, one.id, mend)
    if len(patient.incidents) > _NAMED:
        more = f"and {len(patient.incidents) - _NAMED} more are open"
        yield Finding("incidents", "wrong", more, mend="acron incidents")
    if not patient.incidents:
        yield Finding("incidents", "ok", "none is open")


def _extras(patient: Patient) -> Iterable[Finding]:
    """Libraries and adapters that jobs need, and that are not here."""
    http = [job.id for job in patient.jobs if isinstance(job.action, Http)]
    if http and find_spec("aiohttp") is None:
        mend = 'pip install "acron-runtime[http]"'
        yield Finding("extras", "wrong", f"aiohttp is not installed for {_some(http)}", mend=mend)
    here = patient.platforms
    if isinstance(here, ConfigError):
        mend = "install what it names, or correct the variable"
        yield Finding("extras", "wrong", one_line(str(here)), mend=mend)
        return
    missing: dict[str, list[str]] = {}
    for job in patient.jobs:
        if job.app in {None, patient.app.app}:
            for target in (*(job.deliver or ()), *(job.policy.deliver_failure or ())):
                if (platform := parse_target(target).platform) not in here:
                    missing.setdefault(platform, []).append(job.id)
    for platform, ids in sorted(missing.items()):
        what = f"no adapter {one_line(platform)!r} here for {_some(dict.fromkeys(ids))}"
        mend = f"give the program one: Acron(adapters={{{platform!r}: …}})"
        if platform in OURS:
            mend += f' (pip install "acron-runtime[{platform}]"), or set its ACRON_* variables'
        if not patient.program:
            mend += "; if it has one, look again with --app"
        yield Finding("extras", "wrong" if patient.program else "advice", what, mend=one_line(mend))
    if not missing and (not http or find_spec("aiohttp")):
        yield Finding("extras", "ok", "what the jobs need is here")


#: What is checked once the store has answered.
CHECKS: tuple[Callable[[Patient], Iterable[Finding]], ...] = (
    *(_records, _daemon, _several, _clock),
    *(_jobs, _incidents, _extras),
)


def _some(names: Iterable[str]) -> str:
    known = [one_line(name, 100) for name in names]
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return ", ".join(known[:_NAMED]) + more


# --- files ---


def _files(home: Path, place: Path | None, address: str) -> list[Finding]:
    """Disk space, sizes and permissions. Blocks."""
    found: list[Finding] = []
    if place is not None:
        found += _space(place)
        name = Path(address).name
        kept = sorted(one for one in place.glob(f"{_plain(name)}*") if one.is_file())
        found += [
            Finding(
                "size",
                "advice",
                f"{path.stat().st_size / 2**30:.1f} GiB",
                str(path),
                "lower retention_days or retention_runs in acron.toml",
            )
            for path in kept
            if path.stat().st_size > _LARGE
        ]
        found += _permissions(kept, "wrong")
    found += _permissions([home / FILE] if (home / FILE).is_file() else [], "advice")
    return found


def _plain(name: str) -> str:
    """``name`` without a meaning for ``glob``."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _space(place: Path) -> Iterable[Finding]:
    free = shutil.disk_usage(place).free
    told = os.statvfs(place)
    if free < _LITTLE:
        what = f"{free / 2**20:.0f} MiB are free"
    elif told.f_files and told.f_favail < _FEW_FILES:
        what = f"only {told.f_favail} more files can be made"
    else:
        yield Finding("disk", "ok", f"{free / 2**30:.1f} GiB are free", str(place))
        return
    yield Finding("disk", "wrong", what, str(place), "make room: nothing fires when it is full")


def _permissions(paths: Sequence[Path], level: Level) -> Iterable[Finding]:
    for path in paths:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            what = f"others may {'write' if mode & 0o022 else 'read'} it (mode {mode:o})"
            at_worst: Level = "wrong" if mode & 0o022 else level
            yield Finding("permissions", at_worst, what, str(path), f"chmod 600 {path}")
    if paths and all(not path.stat().st_mode & 0o077 for path in paths):
        yield Finding("permissions", "ok", "for their owner alone", str(paths[0]))
