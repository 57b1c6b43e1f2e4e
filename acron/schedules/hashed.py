"""``H`` in a cron field: a place that the job's id chooses, the same on every machine."""

from __future__ import annotations

import re
from hashlib import blake2b

from acron.schedules.fields import MONTH_DAY, WEEKDAY, Field, Refused

_ITEM = re.compile(r"H(?:\((\d{1,4})-(\d{1,4})\))?(?:/(\d{1,4}))?", re.ASCII)
HINT = "write 'H', 'H(0-29)', 'H/15' or 'H(0-29)/10'"


def resolve(text: str, field: Field, job_id: str | None) -> str:
    """The field in upper case with every ``H``, ``H(a-b)``, ``H/step`` replaced by numbers.

    The number is a BLAKE2 hash of field and job id, so that the fields of a job are spread
    independently. Raises Refused without a job id.
    """
    items = text.split(",")
    return ",".join(_item(item, field, job_id) if item[:1] == "H" else item for item in items)


def _item(item: str, field: Field, job_id: str | None) -> str:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise Refused(f"{item[:30]!r} is not a hashed field", HINT)
    if job_id is None:
        raise Refused(
            "'H' is chosen by the id of a job, and there is none", "give a job id, or a number"
        )
    # Every month has 28 days, and Sunday has one number.
    top = {MONTH_DAY: 28, WEEKDAY: 6}.get(field, field.high)
    low, high = (field.low, top) if match[1] is None else (int(match[1]), int(match[2]))
    if not field.low <= low < high <= field.high:
        raise Refused(f"{item!r} is no range of the {field.name} field", HINT)
    digest = blake2b(f"{field.name}\0{job_id}".encode("utf-8", "surrogatepass"), digest_size=8)
    number = int.from_bytes(digest.digest(), "big")
    if match[3] is None:
        return _named(low + number % (high - low + 1), field)
    step = int(match[3])
    if not 1 <= step <= high - low + 1:
        raise Refused(f"a step of {step} does not fit into {item!r}", HINT)
    values = range(low + number % step, high + 1, step)
    if field is WEEKDAY or len(values) == 1:
        return ",".join(_named(value, field) for value in values)
    return (
        f"{values[0]}-{high}/{step}"
        if len(values) > 2 or values[-1] != high
        else (f"{values[0]},{values[-1]}")
    )


def _named(value: int, field: Field) -> str:
    """Weekdays by name, as expressions with seconds want them."""
    return list(field.names)[value % 7] if field is WEEKDAY else str(value)
