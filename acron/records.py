"""Jobs as flat JSON records, the form that people read and write.

``jobs.json``, ``add``'s keywords, ``--json`` and ``export`` all speak it::

    {"id": "tea", "schedule": "every 2h", "command": "kettle on", "timeout": "5m"}

Durations are seconds, or text as in schedules; instants are ISO 8601.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import asdict, replace

from acron.errors import InvalidJob, ScheduleError
from acron.model import DEFAULT_POLICY, PROGRESS, Delivery, Incident, Job, Policy, Retry, Run, Skip
from acron.schedules import duration
from acron.specs import ActionSpec, Call, Command, Custom, Http, Prompt
from acron.targets import ALL, ORIGIN, parse_target, shown

ID_LIMIT = 128
NAME_LIMIT = 200
TARGET_LIMIT = 500

_ID = re.compile(r"[^\W_][\w.:@+-]*|_[\w.:@+-]*")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_DURATIONS = ("jitter", "grace", "timeout", "idle_timeout")
_RETRY_DURATIONS = ("delay", "max_delay")
_ACTIONS: Mapping[str, tuple[str, ...]] = {
    "command": ("cwd", "env", "stdin"),
    "call": ("kwargs",),
    "http": ("method", "headers", "body", "expect"),
    "prompt": ("script", "context_from"),
    "action": ("data",),
}
#: By a record's key: the spec, its tag, and its field that bears the key's value.
_SPECS: Mapping[str, tuple[type, str, str]] = {
    "command": (Command, "command", "command"),
    "call": (Call, "call", "name"),
    "http": (Http, "http", "url"),
    "prompt": (Prompt, "prompt", "prompt"),
    "action": (Custom, "custom", "action"),
}
_POLICY = frozenset(Policy.__struct_fields__)
_REST = frozenset({"deliver", "origin", "tags", "app", "paused", "paused_until"})
_CORE = frozenset({"id", "name", "schedule", "tz"}) | _REST
#: Keys that say what a job does.
ACTION_FIELDS = frozenset(key for pair in _ACTIONS.items() for key in (pair[0], *pair[1]))
_BESIDE_CALL = ACTION_FIELDS - {"call"}
#: Every key that acron knows; others are kept as they came.
FIELDS = _CORE | _POLICY | ACTION_FIELDS


def check_id(job_id: str) -> str:
    """An id that is safe in every sink: letters, digits, ``_ . : @ + -``, at most 128.

    Raises InvalidJob.
    """
    shown = repr(job_id[:40] + ("…" if len(job_id) > 40 else ""))
    if len(job_id) > ID_LIMIT:
        message = f"the id {shown} has {len(job_id)} characters; at most {ID_LIMIT} are allowed"
    elif not _ID.fullmatch(job_id):
        message = (
            f"the id {shown} is not allowed: use letters, digits and _ . : @ + -, "
            "beginning with a letter, a digit or _"
        )
    else:
        return job_id
    raise InvalidJob(message, where="$.id")


def job_from_record(record: Mapping[str, Any]) -> Job:
    """The job that a record declares, without progress (see ``timetable.bind``).

    Raises InvalidJob; its ``where`` is the path of the offending field.
    """
    if type(record) is not dict and not isinstance(record, Mapping):
        message = f"a job is an object with an id and a schedule, not {type(record).__name__}"
        raise InvalidJob(message, where="$")
    known = {key: value for key, value in record.items() if value is not None}
    extra = None
    if not FIELDS.issuperset(record):
        extra = {key: value for key, value in record.items() if key not in FIELDS}
        known = {key: value for key, value in known.items() if key in FIELDS}
    return job_of(known, extra)


def job_of(known: Mapping[str, Any], extra: dict[str, Any] | None = None) -> Job:
    """``job_from_record`` of a record without nulls, whose ``known`` fields are apart."""
    job_id = check_id(_text(known, "id", required=True))
    try:
        schedule = _text(known, "schedule", required=True)
        job = Job(
            id=job_id,
            name=_name(known, job_id) if "name" in known else job_id,
            schedule=schedule,
            tz=_text(known, "tz") or "UTC" if "tz" in known else "UTC",
            action=_action(known),
            policy=DEFAULT_POLICY if _POLICY.isdisjoint(known) else _policy(known),
        )
        if extra is None and _REST.isdisjoint(known):  # most jobs
            return job
        return replace(
            job,
            deliver=_deliver(known.get("deliver")),
            origin=_origin(known),
            tags=_convert(known.get("tags", ()), tuple[str, ...], "$.tags"),
            app=_text(known, "app") or None,
            paused=_paused(known.get("paused")),
            paused_until=_pause_end(known),
            extra=extra,
        )
    except InvalidJob as error:
        error.job_id = job_id
        raise


def unknown_field(key: str) -> InvalidJob:
    """What to say where unknown keys are mistakes (``add``), not a newer acron's (files)."""
    near = get_close_matches(key, sorted(FIELDS), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return InvalidJob(f"a job has no field {key!r}{hint}", where=f"$.{key}")


def job_to_record(job: Job) -> dict[str, Any]:
    """What was declared, as a flat record of JSON values; ``job_from_record`` takes it back."""
    record: dict[str, Any] = {"id": job.id}
    if job.name != job.id:
        record["name"] = job.name
    record["schedule"] = job.schedule
    if job.tz != "UTC":
        record["tz"] = job.tz
    record |= _action_record(job.action)
    if job.policy is not DEFAULT_POLICY:
        record |= _plain(job.policy)
    if job.deliver is not None:
        record["deliver"] = list(job.deliver)
    if job.origin is not None:
        record["origin"] = job.origin
    if job.tags:
        record["tags"] = list(job.tags)
    if job.app is not None:
        record["app"] = job.app
    if job.paused is not None:
        record["paused"] = job.paused or True
        if job.paused_until is not None:
            record["paused_until"] = _plain(job.paused_until)
    return record | (job.extra or {})


def job_json(job: Job) -> dict[str, Any]:
    """A job as ``--json`` prints it: its record, its state and how far it has come. Targets are
    shown without their secrets."""
    record = job_to_record(job)
    for key in ("deliver", "deliver_failure"):
        if key in record:
            record[key] = [shown(one) for one in record[key]]
    if job.origin is not None:
        record["origin"] = shown(job.origin)
    progress = {key: _plain(getattr(job, key)) for key in PROGRESS}
    return record | {"name": job.name, "tz": job.tz, "state": job.state} | progress


def run_json(run: Run) -> dict[str, Any]:
    """A run as ``--json`` prints it; its targets are shown without their secrets."""
    told = [delivery_json(one) for one in run.deliveries]
    return {key: _plain(value) for key, value in asdict(run).items()} | {"deliveries": told}


def delivery_json(delivery: Delivery) -> dict[str, Any]:
    """A delivery as ``--json`` prints it."""
    plain: dict[str, Any] = {key: _plain(value) for key, value in asdict(delivery).items()}
    return plain | {"target": shown(delivery.target)}


def skip_json(skip: Skip) -> dict[str, Any]:
    """A skip as ``--json`` prints it."""
    return {key: _plain(value) for key, value in asdict(skip).items()}


def incident_json(incident: Incident) -> dict[str, Any]:
    """An incident as ``--json`` prints it."""
    fields = {key: _plain(value) for key, value in asdict(incident).items()}
    return {"id": incident.id, "job_id": incident.job_id} | fields


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


def _convert(value: Any, kind: Any, where: str) -> Any:
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        where += path.rstrip("`")
        if message.startswith("Invalid enum"):  # which says of what alone where it is told
            message += f" of {where.removeprefix('$.')}"
        raise InvalidJob(message, where=where) from None


def _text(record: Mapping[str, Any], key: str, *, required: bool = False) -> str:
    value = record.get(key, "")
    if type(value) is str and value and not value.isspace():
        return value
    if not isinstance(value, str):
        message = f"expected text, got {type(value).__name__}"
        if key == "schedule":
            message += " (write for example '2026-12-01T09:00+01:00', 'in 5h' or '0 9 * * 1-5')"
        raise InvalidJob(message, where=f"$.{key}")
    if required and not value.strip():
        message = f"a job needs {'an' if key == 'id' else 'a'} {key}"
        raise InvalidJob(message, where=f"$.{key}")
    return value


def _name(record: Mapping[str, Any], job_id: str) -> str:
    name = _text(record, "name") or job_id
    if len(name) > NAME_LIMIT or _UNPRINTABLE.search(name):
        message = f"a name is one printable line of at most {NAME_LIMIT} characters"
        raise InvalidJob(message, where="$.name")
    return name


def _paused(value: Any) -> str | None:
    if value is None or value is False:
        return None
    return "" if value is True else str(_convert(value, str, "$.paused"))


def _pause_end(record: Mapping[str, Any]) -> datetime | None:
    if "paused_until" not in record:
        return None
    if _paused(record.get("paused")) is None:
        raise InvalidJob("goes with paused", where="$.paused_until")
    return _instant(record["paused_until"], "$.paused_until")


def _deliver(value: Any, where: str = "$.deliver") -> tuple[str, ...] | None:
    if value is None:
        return None
    targets = value.split(",") if isinstance(value, str) else value
    texts: tuple[str, ...] = _convert(targets, tuple[str, ...], where)
    clean = tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))
    for target in clean:
        if len(target) > TARGET_LIMIT or _UNPRINTABLE.search(target):
            message = f"a target is one printable line of at most {TARGET_LIMIT} characters"
            raise InvalidJob(message, where=where)
        _check_target(target, where)
    return clean


def _check_target(target: str, where: str) -> None:
    try:
        parse_target(target)
    except InvalidJob as error:
        error.where = where
        raise


def _origin(record: Mapping[str, Any]) -> str | None:
    found = _deliver(_text(record, "origin") or None, "$.origin")
    if not found:
        return None
    if len(found) > 1 or found[0] in {ORIGIN, ALL}:
        raise InvalidJob("the origin is one place, such as telegram:-100123", where="$.origin")
    return found[0]


def _action(record: Mapping[str, Any]) -> ActionSpec:
    name = record.get("call")
    if type(name) is str and _BESIDE_CALL.isdisjoint(record):  # most jobs
        return _plain_call(name)
    kinds = [kind for kind in _ACTIONS if kind in record]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "none"
        message = f"a job does one thing: {', '.join(_ACTIONS)}; found {found}"
        raise InvalidJob(message, where="$")
    kind = kinds[0]
    for other, keys in _ACTIONS.items():
        for key in keys:
            if other != kind and key in record:
                message = f"{key!r} goes with {other!r}, and this job has {kind!r}"
                raise InvalidJob(message, where=f"$.{key}")
    details = {key: record[key] for key in _ACTIONS[kind] if key in record}
    if kind == "call" and not details.get("kwargs") and isinstance(record[kind], str):
        return _plain_call(record[kind])
    struct, tag, main = _SPECS[kind]
    spec: ActionSpec = _convert({"kind": tag, main: record[kind], **details}, struct, "$")
    return spec


@lru_cache(maxsize=1024)
def _plain_call(name: str) -> Call:
    """One value for all jobs that call ``name`` without arguments."""
    return Call(name)


def _action_record(spec: ActionSpec) -> dict[str, Any]:
    plain: dict[str, Any] = _plain(spec)
    del plain["kind"]
    if isinstance(spec, Call):
        name = plain.pop("name")
        return {"call": name, **({"kwargs": spec.kwargs} if spec.kwargs else {})}
    if isinstance(spec, Http):
        return {"http": plain.pop("url"), **plain}
    if isinstance(spec, Custom) and not spec.data:
        del plain["data"]
    return plain


def _policy(record: Mapping[str, Any]) -> Policy:
    given = {key: record[key] for key in record if key in _POLICY}
    if not given:
        return DEFAULT_POLICY
    for key in _DURATIONS:
        if key in given:
            given[key] = _seconds(given[key], f"$.{key}")
    if "retry" in given:
        given["retry"] = _retry(given["retry"])
    for key in ("start", "until"):
        if key in given:
            given[key] = _instant(given[key], f"$.{key}")
    if "deliver_failure" in given:
        given["deliver_failure"] = _deliver(given["deliver_failure"], "$.deliver_failure")
    policy: Policy = _convert(given, Policy, "$")
    _check_policy(policy)
    return DEFAULT_POLICY if policy == DEFAULT_POLICY else policy


def _check_policy(policy: Policy) -> None:
    for key in ("repeat", "catch_up_limit", "max_running", "pause_after"):
        value = getattr(policy, key)
        if value is not None and value < 1:
            raise InvalidJob(f"must be at least 1, not {value}", where=f"$.{key}")
    for key in ("timeout", "idle_timeout"):
        if getattr(policy, key) == 0:
            raise InvalidJob("must be longer than nothing", where=f"$.{key}")
    if policy.retry is not None:
        _check_retry(policy.retry)
    if policy.start and policy.until and policy.until <= policy.start:
        raise InvalidJob("must be later than start", where="$.until")


def _check_retry(retry: Retry) -> None:
    if retry.when is not None and not isinstance(retry.when, str):
        message = f"expected the name of a registered function, got {type(retry.when).__name__}"
        raise InvalidJob(message, where="$.retry.when")
    if retry.attempts < 1:
        raise InvalidJob("must be at least 1", where="$.retry.attempts")
    for key, least in (("delay", 0), ("factor", 1), ("max_delay", 0), ("jitter", 0)):
        value = getattr(retry, key)
        if not least <= value < math.inf:
            raise InvalidJob(f"must be at least {least}, not {value}", where=f"$.retry.{key}")


def _retry(value: Any) -> dict[str, Any]:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"attempts": value}
    plain = _plain(value) if isinstance(value, msgspec.Struct) else value
    if not isinstance(plain, Mapping):
        message = f"expected a number of attempts or an object, got {type(value).__name__}"
        raise InvalidJob(message, where="$.retry")
    return {
        key: _seconds(item, f"$.retry.{key}") if key in _RETRY_DURATIONS else item
        for key, item in plain.items()
    }


def _seconds(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, timedelta)):
        raise InvalidJob(f"expected a duration, got {type(value).__name__}", where=where)
    try:
        seconds = 0.0 if value == 0 else duration(value)
    except ScheduleError as error:
        raise InvalidJob(str(error), where=where) from None
    if seconds < 0:
        raise InvalidJob("a duration is not negative", where=where)
    return seconds


def _instant(value: Any, where: str) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            message = f"{value!r} is not an instant; write 2026-12-01T09:00+01:00"
            raise InvalidJob(message, where=where) from None
    if not isinstance(value, datetime):
        kind = "a date without a time" if isinstance(value, date) else type(value).__name__
        raise InvalidJob(f"expected an instant, got {kind}", where=where)
    if value.tzinfo is None:
        message = f"{value.isoformat()} has no zone; write {value.isoformat()}Z for UTC"
        raise InvalidJob(message, where=where)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidJob(
            f"{value.isoformat()} is beyond the years 1 to 9999", where=where
        ) from None
