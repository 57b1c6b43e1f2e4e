"""The fields of a job as options of ``add`` and ``edit``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from acron.cli.base import Usage, option
from acron.errors import InvalidJob
from acron.model import CatchUp, Overlap

if TYPE_CHECKING:
    from collections.abc import Mapping

Gap = Literal["shift", "skip"]
Fold = Literal["first", "last", "both"]

_TEXT = str | None
_COUNT = int | None

#: Option by field, in the order of ``--help``. The values are as in a job's record.
FIELDS: dict[str, Any] = {
    "command": option(_TEXT, "--command", "SH", "Run this shell command."),
    "call": option(_TEXT, "--call", "NAME", "Call the function registered under this name."),
    "kwargs": option(_TEXT, "--kwargs", "JSON", "Arguments of the function, a JSON object."),
    "name": option(_TEXT, "--name", "TEXT", "A name to call the job by; need not be unique."),
    "tz": option(_TEXT, "--tz", "ZONE", "The job's zone, like Europe/Paris."),
    "deliver": option(
        list[str] | None, "--deliver", "TARGET", "Where its output goes; may be repeated."
    ),
    "tag": option(list[str] | None, "--tag", "TEXT", "A word to group jobs by; may be repeated."),
    "repeat": option(_COUNT, "--repeat", "N", "Complete after N occurrences."),
    "start": option(_TEXT, "--start", "ISO", "No instant before this one."),
    "until": option(_TEXT, "--until", "ISO", "No instant after this one."),
    "catch_up": option(
        CatchUp | None, "--catch-up", None, "What of the instants missed is still run."
    ),
    "catch_up_limit": option(_COUNT, "--catch-up-limit", "N", "At most so many of them (100)."),
    "grace": option(_TEXT, "--grace", "TIME", "How late is not late, as in 5m."),
    "still_relevant": option(
        _TEXT, "--still-relevant", "NAME", "Registered function: False ends a run as a skip."
    ),
    "overlap": option(
        Overlap | None, "--overlap", None, "When the run before still goes on (skip)."
    ),
    "key": option(_TEXT, "--key", "TEXT", "Jobs with the same key overlap each other."),
    "priority": option(
        _COUNT, "--priority", "N", "Of what is due at the same instant, the higher starts first."
    ),
    "max_running": option(_COUNT, "--max-running", "N", "With --overlap allow: at most N at once."),
    "timeout": option(_TEXT, "--timeout", "TIME", "Stop a run after this time, as in 90s."),
    "idle_timeout": option(
        _TEXT, "--idle-timeout", "TIME", "Stop a run that tells of no progress for so long."
    ),
    "retry": option(_COUNT, "--retry", "N", "Attempts in all, when one fails."),
    "jitter": option(_TEXT, "--jitter", "TIME", "Delay each instant by up to this."),
    "pause_after": option(_COUNT, "--pause-after", "N", "Pause after N failures in a row."),
    "idempotent": option(bool, "--idempotent", None, "Running an occurrence twice is harmless."),
    "before": option(_TEXT, "--before", "NAME", "Registered function, called first in each run."),
    "after": option(_TEXT, "--after", "NAME", "Registered function, called when a run has ended."),
    "on_error": option(_TEXT, "--on-error", "NAME", "Registered function, called on a failure."),
    "gap": option(Gap | None, "--gap", None, "A time that the clocks skip."),
    "fold": option(Fold | None, "--fold", None, "A time that comes twice."),
}


def to_record(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, in the words of a job's record. Raises Usage, InvalidJob."""
    record = dict(fields)
    if "kwargs" in record:
        if "call" not in record:
            raise Usage("--kwargs are the arguments of --call NAME")
        record["kwargs"] = _object(record["kwargs"])
    if "deliver" in record:
        record["deliver"] = [one for text in record["deliver"] for one in text.split(",")]
    if "tag" in record:
        record["tags"] = record.pop("tag")
    return record


def _object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.ValidationError:
        raise InvalidJob('expected a JSON object, like {"text": "tea"}', where="$.kwargs") from None
    except msgspec.DecodeError as error:
        raise InvalidJob(f"--kwargs is not JSON: {error}", where="$.kwargs") from None
