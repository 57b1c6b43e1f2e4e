"""FAULTS 13, 15: whatever is typed into jobs.json, each record is read or named, or all refused."""

from __future__ import annotations

import json

from hypothesis import event, example, given
from hypothesis import strategies as st

from acron.stores.definitions import Document, Unreadable, read
from acron.testing.contracts._stores_base import NOW

RECORDS = [
    json.dumps({"id": name, "schedule": "every 2h", "command": f"say '{name}]}}'"}).encode()
    for name in ("tea", "coffee", "cocoa", "milk")
]
WHOLE = Document(RECORDS, 7, {"mine": b'{"a": [1, null]}'}).render()
#: What breaks a JSON text, and what is JSON and no job.
TYPED = st.one_of(
    st.sampled_from([*b'{}[]",:\\\0\n\x80'.decode("latin-1")]).map(str.encode),
    st.sampled_from([b"NaN", b"1e999", b"null,", b"{},", b'"id": "tea", ', b"[" * 9000]),
    st.binary(max_size=6),
    st.sampled_from(RECORDS).map(lambda one: one + b","),
)


@given(st.integers(0, len(WHOLE)), st.integers(0, 9), TYPED)
@example(82, 0, RECORDS[1] + b",")  # a record in the middle of another, which then bears its id
def test_a_slip_of_the_hand(place: int, cut: int, typed: bytes) -> None:
    data = WHOLE[:place] + typed + WHOLE[place + cut :]
    try:
        document = Document.parse(data)
    except Unreadable:
        event("refused")
        return
    reading = read(document, {}, NOW)
    event(f"{len(reading.problems)} problems")
    assert len(reading.decisions) + len(reading.problems) == len(document.records)
    assert all(problem.isprintable() and len(problem) < 1000 for problem in reading.problems)
    there = {raw.strip() for raw in document.records}
    for raw in RECORDS:
        job_id = json.loads(raw)["id"]
        waits = f"(id '{job_id}'): there is a job of this id above; this one waits"
        told = any(waits in problem for problem in reading.problems)
        assert raw not in there or job_id in reading.decisions or told
    again = Document.parse(document.render())
    assert [raw.strip() for raw in again.records] == [raw.strip() for raw in document.records]
    assert again.others.keys() == document.others.keys()
