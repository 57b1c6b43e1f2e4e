"""``jobs.json``: what was declared, in the hands of people.

A record that is not touched is kept byte for byte, and so is every field that we do not know;
a record that cannot be read stays where it is, and does not stop its siblings.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from acron.errors import InvalidJob
from acron.records import job_from_record, job_to_record
from acron.timetable import bind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from acron.model import Decision, Job

SCHEMA = 1

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{},]', re.DOTALL)
_MEMBER = re.compile(rb'\s*("[^"\\]*(?:\\.[^"\\]*)*")\s*:(.*)', re.DOTALL)
_ID = re.compile(rb'"id"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")')
_CLOSING = {b"[": b"]", b"{": b"}"}
_PLACE = re.compile(r"byte (\d+)")
_BROKEN = (ValueError, TypeError, ArithmeticError, LookupError, RecursionError)


class Unreadable(Exception):
    """The file as a whole is not ours to read: why, and where."""


class _Identity(Struct):
    id: str


class Document:
    """The file, taken apart: raw records, and the raw members around them."""

    def __init__(
        self, records: list[bytes], revision: int = 0, others: dict[str, bytes] | None = None
    ) -> None:
        self.records = records
        self.revision = revision
        self.others = others or {}

    @classmethod
    def parse(cls, data: bytes) -> Document:
        """Raises Unreadable."""
        data = data.removeprefix(b"\xef\xbb\xbf")
        if not data.strip(b"\0 \t\r\n"):
            raise Unreadable("the file is empty" if not data.strip() else "it holds only NULs")
        members = _members(data)
        schema, revision = _number(members, "acron", SCHEMA), _number(members, "revision", 0)
        if schema > SCHEMA:
            message = f"it was written by a newer acron (schema {schema}, known is {SCHEMA})"
            raise Unreadable(message)
        if not members.get("jobs", b"").lstrip().startswith(b"["):
            raise Unreadable('it has no list of "jobs"')
        others = {
            key: bytes(value)
            for key, value in members.items()
            if key not in {"acron", "revision", "jobs"}
        }
        return cls(_elements(members["jobs"]), revision, others)

    def updated(self, jobs: Mapping[str, Job | None]) -> Document:
        """With these jobs declared anew, or taken out (None)."""
        records: list[bytes] = []
        placed: set[str] = set()
        for raw in self.records:
            job_id = identify(raw)
            if job_id is None or job_id not in jobs:
                records.append(raw)
            elif (job := jobs[job_id]) is not None:
                records.append(raw if job_id in placed else _record(job))
                placed.add(job_id)
        records += [
            _record(job) for job in jobs.values() if job is not None and job.id not in placed
        ]
        return Document(records, self.revision + 1, self.others)

    def render(self) -> bytes:
        members = [b'"acron": %d' % SCHEMA, b'"revision": %d' % self.revision]
        members += [
            msgspec.json.encode(key) + b": " + value.strip() for key, value in self.others.items()
        ]
        records = b",\n".join(b"    " + raw.strip() for raw in self.records)
        members.append(b'"jobs": [\n%b\n  ]' % records if records else b'"jobs": []')
        return b"{\n  %b\n}\n" % b",\n  ".join(members)


class Reading(Struct):
    """What the file says against the jobs we know: what differs, and what cannot be taken."""

    decisions: dict[str, Decision | None]  # None: it is there no more
    problems: list[str]


def read(document: Document, jobs: Mapping[str, Job], now: datetime) -> Reading:
    """Compare ``document`` with ``jobs``. A job whose record went bad is as it was."""
    reading = Reading({}, [])
    there: set[str] = set()
    for index, raw in enumerate(document.records):
        where = f"$.jobs[{index}]"
        job_id = identify(raw)
        shown = where if job_id is None else f"{where} (id {_shown(job_id)})"
        if job_id in there:
            reading.problems.append(f"{shown}: there is a job of this id above; this one waits")
            continue
        if job_id is not None:
            there.add(job_id)
        try:
            new = job_from_record(_decoded(raw))
            old = jobs.get(new.id)
            decision = bind(new, old, now)
        except InvalidJob as error:
            reading.problems.append(_problem(shown, where + error.where[1:], error))
        except _BROKEN as error:
            path = f"{where}.schedule" if hasattr(error, "hint") else where
            reading.problems.append(_problem(shown, path, error))
        else:
            if decision.job != old or decision.skips:
                reading.decisions[new.id] = decision
    reading.decisions |= {job_id: None for job_id in jobs if job_id not in there}
    return reading


def identify(raw: bytes) -> str | None:
    """The id of a record, if it can be made out at all."""
    try:
        return msgspec.json.decode(raw, type=_Identity).id
    except (msgspec.DecodeError, ValueError, RecursionError):
        found = _ID.search(raw)
    try:
        text = None if found is None else json.loads(found[1])
    except ValueError:
        return None
    return text if isinstance(text, str) else None


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _record(job: Job) -> bytes:
    text = msgspec.json.format(msgspec.json.encode(job_to_record(job)), indent=2)
    return text.replace(b"\n", b"\n    ")


def _members(data: bytes) -> dict[str, bytes]:
    try:
        members = msgspec.json.decode(data, type=dict[str, Raw])
        return {key: bytes(value) for key, value in members.items()}
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        # Perhaps one record is bad: take the file apart by its brackets alone.
        why = _placed(error, data)
    if not data.lstrip().startswith(b"{"):
        raise Unreadable(why)
    found = {}
    for part in _parts(data, why):
        member = _MEMBER.fullmatch(part)
        if member is None:
            raise Unreadable(why)
        try:
            found[json.loads(member[1])] = member[2]
        except ValueError:
            raise Unreadable(why) from None
    for key in found.keys() - {"jobs"}:
        try:
            msgspec.json.decode(found[key], type=Raw)
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise Unreadable(why) from None
    return found


def _elements(data: bytes) -> list[bytes]:
    try:
        return [bytes(raw) for raw in msgspec.json.decode(data, type=list[Raw])]
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return _parts(data, _placed(error, data))


def _parts(data: bytes, why: str) -> list[bytes]:
    """What stands between the commas of a JSON list or object, however bad it is inside.

    Raises Unreadable (``why``) when its brackets or quotes do not match.
    """
    open_brackets: list[bytes] = []
    parts: list[bytes] = []
    start = 0
    for token in _TOKEN.finditer(data):
        what = token[0]
        if what in _CLOSING:
            if not open_brackets:
                start = token.end()
            open_brackets.append(_CLOSING[what])
        elif what in {b"]", b"}"}:
            if not open_brackets or open_brackets.pop() != what:
                break
            if not open_brackets:
                if data[token.end() :].strip():
                    break
                last = data[start : token.start()]
                return [*parts, last] if last.strip() or parts else []
        elif what == b"," and len(open_brackets) == 1:
            parts.append(data[start : token.start()])
            start = token.end()
        elif what == b'"':
            break
    raise Unreadable(why)


def _number(members: Mapping[str, bytes], key: str, default: int) -> int:
    try:
        return msgspec.json.decode(members[key], type=int) if key in members else default
    except (msgspec.DecodeError, ValueError):
        raise Unreadable(f'"{key}" is not a whole number') from None


def _placed(error: BaseException, data: bytes) -> str:
    """A decoder's message, with the line instead of the byte."""
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    found = _PLACE.search(str(error))
    if found is None:
        return f"{error} (at its end: is it cut off?)"
    line = data.count(b"\n", 0, int(found[1])) + 1
    return f"{error}, line {line}"


def _problem(shown: str, path: str, error: BaseException) -> str:
    message = "nested too deep" if isinstance(error, RecursionError) else str(error)
    return f"{shown}: {path}: {_printable(message)}"


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:59] + "…")


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text[:500])
