"""What somebody's editor makes of jobs.json."""

from __future__ import annotations

import json
from typing import Any

#: What leaves nothing that can be read, or read by us.
UNREADABLE = frozenset({"truncates", "empties", "zeroes", "newer schema"})
#: Records that no job can be read from.
JUNK: dict[str, tuple[dict[str, Any], ...]] = {
    "junk record": ({"id": "junk", "schedule": 5},),
    "NaN": ({"id": "junk", "schedule": "every 1h", "command": "x", "timeout": float("nan")},),
    "deep record": ({"id": "junk", "schedule": "every 1h", "command": "x", "args": "DEEP"},),
    "same id twice": ({"id": "junk", "schedule": 5}, {"id": "junk", "schedule": 6}),
}


def spoilt(good: bytes, how: str) -> bytes:
    """The file when somebody ``truncates`` it, and so on."""
    if how == "truncates":
        return good[: len(good) // 2]
    if how == "newer schema":
        return good.replace(b'"acron": 1', b'"acron": 99')
    return b"" if how == "empties" else bytes(len(good))


def edited(good: bytes, how: str) -> tuple[bytes, set[str]]:
    """The file with what somebody adds to it, and the ids of jobs that got an ``unknown field``:
    ``later``, with the value ``kept``."""
    document, marked = json.loads(good), set()
    document["jobs"].extend(JUNK.get(how, ()))
    if how == "unknown field":
        for record in document["jobs"][:1]:
            record["later"] = "kept"
            marked.add(record["id"])
    text = json.dumps(document, indent=2).replace('"DEEP"', "[" * 2000 + "]" * 2000)
    return text.encode(), marked
