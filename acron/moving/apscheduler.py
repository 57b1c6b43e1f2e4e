"""Jobs out of an APScheduler 3 SQLAlchemy job store.

That store keeps pickles, and unpickling can run any code. We let in nothing but triggers, times
and zones; still, whoever imports must say that the store is to be trusted. Nothing in it is
changed: APScheduler's own reader would import the jobs' functions, and delete jobs whose function
it cannot find.
"""

from __future__ import annotations

import io
import pickle
import re
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta, timezone
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import msgspec

from acron.errors import AcronError, ConfigError
from acron.moving import Draft, Found, LeftOut, made_id
from acron.records import check_id
from acron.schedules import Interval
from acron.schedules.zones import zone

TABLE = "apscheduler_jobs"

_DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_TIMES = {one.__name__: one for one in (date, datetime, time, timedelta, timezone)}
_OTHERS = {
    "copyreg": {"_reconstructor"},
    "dateutil.tz.tz": {"tzutc"},
    "pytz": {"_UTC", "_p"},
}
#: Modules in the words of protocol 2.
_OLD_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_TRIGGERS = re.compile(r"apscheduler\.triggers(\.\w+)+")


class _NotMapped(AcronError):
    """A job that has no equivalent."""


def read_apscheduler(url: str, table: str = TABLE) -> Found:
    """The jobs of the store at ``url``, in SQLAlchemy's words. Raises ConfigError, AcronError."""
    try:
        import_module("apscheduler.triggers.base")
    except ImportError:
        raise ConfigError("reading an APScheduler store needs the package apscheduler") from None
    found = Found([], [])
    for job_id, data in _rows(url, table):
        try:
            state = _Reader(io.BytesIO(data)).load()
            found.drafts.append(Draft(job_id, _record(job_id, state)))
        except _NotMapped as error:
            found.left_out.append(LeftOut(job_id, job_id, str(error)))
        except Exception as error:  # noqa: BLE001 (what a broken pickle raises may be anything)
            why = f"it cannot be read: {type(error).__name__}: {error}"
            found.left_out.append(LeftOut(job_id, job_id, why))
    return found


def _rows(url: str, table: str) -> list[tuple[str, bytes]]:
    if not table.isidentifier():
        raise ConfigError(f"{table[:60]!r} is not the name of a table")
    query = f"SELECT id, job_state FROM {table} ORDER BY id"  # noqa: S608 (an identifier)
    if (path := re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+)", url)) is not None:
        file = Path(unquote(path[1])).absolute()
        try:
            with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as db:
                return [(str(job_id), bytes(data)) for job_id, data in db.execute(query)]
        except sqlite3.Error as error:
            raise AcronError(f"{file}: {error}") from error
    try:
        sqlalchemy = import_module("sqlalchemy")
    except ImportError:
        message = "reading this URL needs the package sqlalchemy; sqlite:///path does not"
        raise ConfigError(message) from None
    try:
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            rows = connection.execute(sqlalchemy.text(query)).all()
            return [(str(job_id), bytes(data)) for job_id, data in rows]
    except Exception as error:  # its drivers' errors have no common root
        message = f"the store cannot be read: {type(error).__name__}: {error}"
        raise AcronError(message) from error


class _Reader(pickle.Unpickler):
    """Knows triggers, times and zones, and nothing that does anything."""

    def find_class(self, module: str, name: str) -> Any:
        module = _OLD_NAMES.get(module, module)
        if module == "builtins" and name == "getattr":
            return _unpickler_of  # how a ZoneInfo is pickled
        if (module, name) == ("_codecs", "encode"):
            return _bytes_of  # how protocol 2 pickles bytes
        if module == "builtins" and name == "object":
            return object
        if module == "datetime" and name in _TIMES:
            return _TIMES[name]
        if (module, name) == ("zoneinfo", "ZoneInfo"):
            return ZoneInfo
        known = name in _OTHERS.get(module, ())
        if known or (_TRIGGERS.fullmatch(module) and name.isidentifier()):
            found = super().find_class(module, name)
            if known or (isinstance(found, type) and found.__module__.startswith("apscheduler.")):
                return found
        raise _NotMapped(f"it holds a {module}.{name}, which is no JSON value")


def _unpickler_of(kind: object, name: object) -> Any:
    if kind is ZoneInfo and name == "_unpickle":
        return ZoneInfo._unpickle  # type: ignore[attr-defined]  # noqa: SLF001 (as pickle does)
    raise _NotMapped(f"it asks for {kind!r:.60}.{name!s:.60}")


def _bytes_of(text: str, encoding: str) -> bytes:
    if encoding == "latin1":
        return text.encode(encoding)
    raise _NotMapped(f"it asks for the codec {encoding!s:.60}")


def _record(job_id: str, state: Any) -> dict[str, Any]:
    if not isinstance(state, dict) or state.get("version") != 1:
        raise _NotMapped("it is not a job of APScheduler 3")
    function = str(state.get("func"))
    if state.get("args"):
        raise _NotMapped(
            f"{function} is called with positional arguments, and acron knows only named ones"
        )
    record: dict[str, Any] = {
        "id": _id(job_id),
        "name": str(state.get("name") or job_id),
        "call": function.rpartition(":")[2],
        "kwargs": _json(dict(state.get("kwargs") or {})),
    }
    record |= _trigger(state["trigger"])
    grace = state.get("misfire_grace_time")
    if grace is not None and grace != 1:  # 1 s is APScheduler's default, and nobody's wish
        record |= {"grace": grace, "catch_up": "none"}
    if (most := state.get("max_instances", 1)) > 1:
        record |= {"overlap": "allow", "max_running": most}
    if state.get("next_run_time") is None:
        record["paused"] = "paused in APScheduler"
    return record


def _id(job_id: str) -> str:
    try:
        return check_id(job_id)
    except AcronError:
        return made_id(job_id, job_id)


def _json(kwargs: dict[str, Any]) -> dict[str, Any]:
    for key, value in kwargs.items():
        try:
            same = msgspec.json.decode(msgspec.json.encode(value)) == value
        except (TypeError, ValueError, RecursionError):
            same = False
        if not same:
            raise _NotMapped(f"its argument {key!r} is a {type(value).__name__}, not a JSON value")
    return kwargs


# --- triggers -----------------------------------------------------------------------------------


def _trigger(trigger: Any) -> dict[str, Any]:
    kind = type(trigger).__name__
    if kind == "DateTrigger":
        return {"schedule": trigger.run_date.astimezone(UTC).isoformat()}
    if kind == "IntervalTrigger":
        anchor = trigger.start_date.astimezone(UTC) - trigger.interval
        schedule = str(Interval(trigger.interval, anchor))
    elif kind == "CronTrigger":
        schedule = _cron({field.name: field for field in trigger.fields})
    else:
        raise _NotMapped(f"a {kind} has no equivalent")
    record: dict[str, Any] = {"schedule": schedule, "tz": _zone(trigger.timezone)}
    if kind == "CronTrigger" and trigger.start_date is not None:
        record["start"] = trigger.start_date
    if trigger.end_date is not None:
        record["until"] = trigger.end_date
    if trigger.jitter:
        record["jitter"] = trigger.jitter
    return record


def _zone(given: Any) -> str:
    name = str(getattr(given, "key", None) or getattr(given, "zone", None) or given)
    if name in {"Etc/UTC", "tzutc()"}:
        return "UTC"
    try:
        return zone(name).name
    except LookupError:
        raise _NotMapped(f"its zone {name[:60]!r} has no IANA name") from None


def _cron(fields: dict[str, Any]) -> str:
    """The fields in cron's order, seconds and years only where they are used.

    APScheduler counts weekdays from Monday, so that they are written by name; it wants day and
    weekday both to match, where cron wants one of them.
    """
    text = {name: str(field) for name, field in fields.items()}
    if text["week"] != "*":
        raise _NotMapped(f"weeks of the year (week={text['week']}) have no equivalent")
    weekday = _weekdays(fields["day_of_week"])
    day, position = _days(text["day"])
    if position:
        weekday, day = (position, "*") if weekday == "*" else (weekday, text["day"])
    if day != "*" and weekday != "*":
        both = f"day={text['day']} and day_of_week={text['day_of_week']}"
        raise _NotMapped(f"{both} must both match, which cron cannot say")
    parts = [text["minute"], text["hour"], day, text["month"], weekday]
    if text["second"] != "0" or text["year"] != "*":
        parts.insert(0, text["second"])
    if text["year"] != "*":
        parts.append(text["year"])
    return " ".join(parts)


def _days(text: str) -> tuple[str, str]:
    """The day field, or in its place the weekday field that says the same."""
    if text == "last":
        return "L", ""
    found = re.fullmatch(r"(?:([1-5])(?:st|nd|rd|th)|last) (\w+)", text)
    if found is not None:
        name = found[2].upper()
        return "", f"{name}#{found[1]}" if found[1] else f"{name}L"
    if re.search(r"[a-z]", text):
        raise _NotMapped(f"day={text} has no equivalent")
    return text, ""


def _weekdays(field: Any) -> str:
    days: set[int] = set()
    for one in field.expressions:
        first, last = getattr(one, "first", 0), getattr(one, "last", 6)
        # A name alone is that day; a number with a step goes on to the end.
        last = (first if one.step is None else 6) if last is None else last
        days.update(range(first, last + 1, one.step or 1))
    return "*" if len(days) == 7 else ",".join(_DAYS[day] for day in sorted(days))
