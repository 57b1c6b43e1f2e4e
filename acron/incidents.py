"""What went wrong with a job, grouped: failures that look alike are one incident. Pure.

A job keeps its few incidents with itself: those that go on, and the last that were resolved. A
success resolves its failures, a fire its absence; what has been resolved and comes again is a new
incident.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.model import Incident
from acron.text import one_line

if TYPE_CHECKING:
    from datetime import datetime

    from acron.model import IncidentKind, Job

#: Unresolved incidents of a job; a failure that looks like none of them counts to the newest.
OPEN_LIMIT = 10
#: Resolved incidents of a job that are remembered.
CLOSED_LIMIT = 5
_ERROR_LIMIT = 500
_SIGNATURE_LIMIT = 200
#: Of an error no more is read than this: signatures are taken inside a transaction.
_READ = 2000

# In this order: what is long and made of others' parts comes first.
_ALIKE = (
    # what is quoted: names, values, bodies of answers; an apostrophe is no quote
    (re.compile(r"""(?<!\w)(?:'[^']*'|"[^"]*"|`[^`]*`)(?!\w)"""), "'…'"),
    (re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s'\"<>)]+", re.IGNORECASE), "URL"),
    # a path: its last part says which file it was, unless that is made up too
    (re.compile(r"(?<![\w.])~?(?:/[\w.@+~-]+)+/(?=[\w.@+~-])"), "…/"),
    (re.compile(r"\btmp[-_.]?\w{4,}", re.IGNORECASE), "tmp…"),
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE), "#"),
    (re.compile(r"\b0x[0-9a-f]+", re.IGNORECASE), "#"),
    # a digest, an id: letters of hexadecimal with at least one digit among them
    (re.compile(r"\b(?=[a-f]*[0-9])[0-9a-f]{7,}\b", re.IGNORECASE), "#"),
    (re.compile(r"\[?\b(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}\b\]?", re.IGNORECASE), "#"),
    # 5, 12.5, 10.0.0.1:5432, 2026-12-01T09:00, 1,000, and the digits of worker-17 or r12
    (re.compile(r"[-+]?\d+(?:[.,:/T-]+\d+)*Z?"), "#"),
)


def signature(text: str) -> str:
    """``text`` without what differs from one failure to the next: numbers, instants, ids,
    addresses, what is quoted, and the folders of paths. One line, of 200 characters at most."""
    text = one_line(" ".join(text[:_READ].split()))
    for pattern, alike in _ALIKE:
        text = pattern.sub(alike, text)
    return text.strip()[:_SIGNATURE_LIMIT].rstrip()


def opened(
    job: Job, kind: IncidentKind, error: str, at: datetime, *, run_id: str | None = None
) -> Job:
    """The job with one more failure on record: its incident of that kind and signature goes on,
    or a new one is opened."""
    error = one_line(error, _ERROR_LIMIT)
    looks = signature(error)
    unresolved = [one for one in job.incidents if one.state != "resolved"]
    known = next((one for one in unresolved if (one.kind, one.signature) == (kind, looks)), None)
    if known is None and len(unresolved) >= OPEN_LIMIT:
        known = unresolved[-1]  # errors that never look alike must not alert without end
    if known is not None:
        again = replace(
            known, error=error, last_at=at, count=known.count + 1, run_id=run_id or known.run_id
        )
        return _with(job, again)
    incident = Incident(
        id=f"{job.id}/{1 + max(map(_number, job.incidents), default=0)}",
        kind=kind,
        signature=looks,
        error=error,
        first_at=at,
        last_at=at,
        run_id=run_id,
    )
    return replace(job, incidents=(*job.incidents, incident))


def resolved(job: Job, at: datetime, *kinds: IncidentKind) -> Job:
    """The job with its incidents of those kinds resolved; the very same job if it had none."""
    if not any(going_on(job, kind) for kind in kinds):
        return job
    incidents = [
        replace(one, state="resolved", closed_at=one.closed_at or at)
        if one.kind in kinds and one.state != "resolved"
        else one
        for one in job.incidents
    ]
    closed = [one.id for one in incidents if one.state == "resolved"]
    gone = set(closed[: max(0, len(closed) - CLOSED_LIMIT)])
    return replace(job, incidents=tuple(one for one in incidents if one.id not in gone))


def alerted(job: Job, incident_id: str) -> Job:
    """The job once somebody was told: only what was ``detected`` changes."""
    incident = find(job, incident_id)
    if incident is None or incident.state != "detected":
        return job
    return _with(job, replace(incident, state="alerted"))


def acknowledged(job: Job, incident_id: str, at: datetime) -> Job:
    """The job with somebody knowing about an incident: it alerts no more, and failures that look
    like it go on counting to it. One that is over stays as it is."""
    incident = find(job, incident_id)
    if incident is None or not is_open(incident):
        return job
    return _with(job, replace(incident, state="acknowledged", closed_at=at))


def find(job: Job, incident_id: str) -> Incident | None:
    """The job's incident of that id."""
    return next((one for one in job.incidents if one.id == incident_id), None)


def going_on(job: Job, kind: IncidentKind) -> bool:
    """Whether the job has an incident of that kind that is not over."""
    return any(one.kind == kind and one.state != "resolved" for one in job.incidents)


def is_open(incident: Incident) -> bool:
    """Whether somebody should look at it."""
    return incident.state in {"detected", "alerted"}


def _number(incident: Incident) -> int:
    return int(incident.id.rpartition("/")[2])


def _with(job: Job, changed: Incident) -> Job:
    return replace(
        job,
        incidents=tuple(changed if one.id == changed.id else one for one in job.incidents),
    )
