"""Jobs out of a ``jobs.json``: acron's own records, and those of agents' schedulers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from acron.errors import AcronError
from acron.moving import Draft, Found, LeftOut, made_id
from acron.records import FIELDS, check_id
from acron.schedules import Interval

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What we read of a record, besides the fields that acron has itself.
_READ = frozenset(
    {
        *("enabled", "paused_at", "paused_reason", "state", "repeat", "origin"),
        *("script", "prompt", "context_from", "workdir", "no_agent", "next_run_at"),
    }
)
#: What a scheduler notes for itself, and acron keeps in its own way.
_NOTES = frozenset(
    {
        *("created_at", "last_run_at", "last_status", "last_error", "last_delivery_error"),
        *("schedule_display", "revision", "fire_claim", "run_claim"),
    }
)


class _NotMapped(AcronError):
    """A record that has no equivalent."""


def read_records(data: bytes) -> Found:
    """The jobs of a JSON list of records, or of an object with such a list under ``jobs``.

    Raises AcronError for what is neither.
    """
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        why = "nested too deep" if isinstance(error, RecursionError) else error
        raise AcronError(f"it is no export and no JSON (a crontab? say --crontab): {why}") from None
    records = value.get("jobs") if isinstance(value, dict) else value
    if not isinstance(records, list):
        raise AcronError('a list of jobs is needed, or an object with one as "jobs"')
    found = Found([], [])
    for index, record in enumerate(records):
        where = f"jobs[{index}]"
        if not isinstance(record, dict):
            found.left_out.append(LeftOut(where, str(record)[:60], "a job is an object"))
            continue
        try:
            mapped = _mapped(record)
        except _NotMapped as error:
            found.left_out.append(LeftOut(where, _name(record), str(error)))
            continue
        found.drafts.append(Draft(where, mapped))
        if unknown := _unknown(record):
            what = f"{_name(record)}: {', '.join(unknown)}"
            found.left_out.append(LeftOut(where, what, "kept with the job, without effect"))
    return found


def _unknown(record: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that say something, and to which acron has no equivalent."""
    return {
        key: value
        for key, value in record.items()
        if key not in FIELDS | _READ | _NOTES and value not in (None, "", [], {}, False)
    }


def _name(record: Mapping[str, Any]) -> str:
    return str(record.get("id") or record.get("name") or "a job without a name")


def _mapped(record: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        key: value
        for key, value in record.items()
        if key in FIELDS - _READ - {"schedule", "paused", "deliver", "id", "context_from"}
        and value is not None
    }
    if not {"command", "call", "http", "action"} & kept.keys():
        kept |= _asked(record)
    if record.get("workdir") and "command" in kept:
        kept.setdefault("cwd", record["workdir"])
    kept["schedule"] = _schedule(record)
    kept |= _paused(record) | _repeat(record) | _deliver(record) | _origin(record)
    kept |= _unknown(record)
    return {"id": _id(record, kept), **kept}


def _asked(record: Mapping[str, Any]) -> dict[str, Any]:
    """A prompt with what goes before it; a script without one, or ``no_agent``, is a command."""
    prompt, script = record.get("prompt"), record.get("script")
    if script and not isinstance(script, str):
        raise _NotMapped(f"its script is no text: {str(script)[:60]}")
    if script and (record.get("no_agent") or not prompt):
        return {"command": script}
    if not prompt or not isinstance(prompt, str):
        raise _NotMapped("it has no prompt, command, script, call or URL")
    asked: dict[str, Any] = {"prompt": prompt}
    if script:
        asked["script"] = script
    if given := record.get("context_from"):
        asked["context_from"] = [given] if isinstance(given, str) else given
    return asked


def _id(record: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
    given = record.get("id")
    try:
        return check_id(given) if isinstance(given, str) else made_id(*_identity(record, kept))
    except AcronError:
        return made_id(*_identity(record, kept))


def _identity(record: Mapping[str, Any], kept: Mapping[str, Any]) -> tuple[str, ...]:
    return _name(record), _name(record), *(f"{key}={value}" for key, value in kept.items())


def _schedule(record: Mapping[str, Any]) -> str:
    given = record.get("schedule")
    if isinstance(given, str):
        return given
    if not isinstance(given, dict):
        raise _NotMapped("it has no schedule")
    kind = given.get("kind")
    if kind == "cron" and isinstance(given.get("expr"), str):
        return str(given["expr"])
    if kind == "interval" and isinstance(given.get("minutes"), int | float):
        return _interval(given["minutes"], record.get("next_run_at"))
    if kind == "once" and isinstance(given.get("run_at"), str):
        return str(given["run_at"])
    raise _NotMapped(f"its schedule is of no known kind: {str(given)[:80]}")


def _interval(minutes: float, next_run_at: object) -> str:
    """On the old lattice, when the record tells where that is."""
    try:
        period = timedelta(minutes=minutes)
        coming = datetime.fromisoformat(next_run_at) if isinstance(next_run_at, str) else None
        if coming is None or coming.tzinfo is None:
            return f"every {period.total_seconds():g}s"
        return str(Interval(period, coming.astimezone(UTC) - period))
    except (ValueError, OverflowError):
        raise _NotMapped(f"every {minutes} minutes is no interval") from None


def _paused(record: Mapping[str, Any]) -> dict[str, Any]:
    if record.get("paused"):
        return {"paused": record["paused"]}
    if record.get("enabled") is False or record.get("state") == "paused":
        return {"paused": str(record.get("paused_reason") or "disabled where it came from")}
    return {}


def _repeat(record: Mapping[str, Any]) -> dict[str, Any]:
    given: Any = record.get("repeat")
    done: Any = 0
    if isinstance(given, dict):
        given, done = given.get("times"), given.get("completed") or 0
    if record.get("state") == "completed":
        raise _NotMapped("it is completed")
    if given is None:
        return {}
    if not isinstance(given, int) or not isinstance(done, int):
        raise _NotMapped(f"its repeat is no number: {str(record.get('repeat'))[:60]}")
    if given <= done:
        raise _NotMapped(f"it has fired all its {given} times")
    return {"repeat": given - done}


def _deliver(record: Mapping[str, Any]) -> dict[str, Any]:
    given = record.get("deliver")
    if given is None:
        return {}
    targets = given.split(",") if isinstance(given, str) else given
    if not isinstance(targets, list):
        raise _NotMapped(f"its deliver is no list of targets: {str(given)[:60]}")
    return {"deliver": targets}


def _origin(record: Mapping[str, Any]) -> dict[str, Any]:
    """What ``deliver: origin`` stands for: the chat that the record names."""
    origin: Any = record.get("origin")
    if not isinstance(origin, dict) or not origin.get("platform") or not origin.get("chat_id"):
        return {}
    parts = (origin["platform"], origin["chat_id"], origin.get("thread_id"))
    return {"origin": ":".join(str(part) for part in parts if part not in (None, ""))}
