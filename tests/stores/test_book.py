"""The book against a plain model that looks at every row every time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from acron.model import Decision, Policy, RunState
from acron.specs import Call
from acron.stores.book import Book
from acron.stores.lanes import rank
from acron.testing.contracts._stores_base import (
    a_job,
    a_run,
    a_skip,
    at,
    end_of,
    ended,
    keeps,
    starts,
)

if TYPE_CHECKING:
    from acron.model import Due, Run, Skip

IDS = st.sampled_from("abcd")
SECONDS = st.integers(0, 12)
NEEDS = st.sampled_from(["f", "g"])
CAN = st.sampled_from([{"call:f"}, {"call:g"}, {"call:f", "call:g"}])
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), IDS, SECONDS, NEEDS, st.booleans(), st.integers(0, 2)),
        st.tuples(st.just("remove"), IDS),
        st.tuples(st.just("wait"), IDS, SECONDS),
        st.tuples(st.just("cancel"), st.integers(0, 5)),
        st.tuples(st.just("claim"), SECONDS, st.integers(1, 3), CAN, st.sets(IDS)),
        st.tuples(st.just("only"), SECONDS, IDS, CAN),
        st.tuples(st.just("finish"), st.integers(0, 5)),
        st.tuples(st.just("sweep")),
        st.tuples(st.just("list")),
    ),
    max_size=25,
)


def rows(book: Book, can_run: set[str]) -> list[tuple[Any, int, str, str]]:
    """What waits, by looking at all there is."""
    found = [
        (job.due_at, rank(job), job.id, "")
        for job in book.jobs.values()
        if job.due_at is not None and job.action.needs in can_run
    ]
    found += [
        (run.due_at, rank(book.jobs[run.job_id]), run.job_id, run.id)
        for run in book.pending.values()
        if run.job_id in book.jobs and book.jobs[run.job_id].action.needs in can_run
    ]
    return sorted(found)


@given(OPERATIONS)
def test_it_finds_what_a_plain_look_finds(operations: list[tuple[Any, ...]]) -> None:
    book = Book()
    for operation in operations:
        step(book, *operation)
        for can_run in ({"call:f"}, {"call:f", "call:g"}):
            for seconds in (3, 7, 5):
                later = [due for due, *_ in rows(book, can_run) if due > at(seconds)]
                assert book.next_due(at(seconds), can_run) == min(later, default=None)
        assert [job.id for job in book.index.page("", 99, None, None)] == sorted(book.jobs)


def step(book: Book, kind: str, *args: Any) -> None:
    if kind == "put":
        job_id, due, needs, paused, priority = args
        job = a_job(job_id, due, action=Call(needs), paused="" if paused else None)
        job = replace(job, policy=Policy(priority=priority))
        book.apply(book.write([job_id], lambda *_: Decision(job)))
    elif kind == "remove":
        book.apply(book.write([args[0]], lambda *_: Decision(None)))
    elif kind == "wait":
        job_id, due = args
        book.apply(
            book.write(
                [job_id], lambda _, job, __, mint: Decision(job, (a_run(job_id, mint, due),))
            )
        )
    elif kind == "cancel":
        if len(book.pending) > args[0]:
            changes, _ = book.request_cancel(list(book.pending)[args[0]], at(0))
            assert changes is not None
            book.apply(changes)
    elif kind == "claim":
        claim(book, *args)
    elif kind == "only":
        seconds, job_id, can_run = args
        expected = [
            row for row in rows(book, can_run) if row[0] <= at(seconds) and row[2] == job_id
        ]
        changes = book.claim(at(seconds), 1, can_run, starts(then=20.0), job_id)
        assert len(changes.ids) == min(len(expected), 1)
        book.apply(changes)
    elif kind == "finish":
        running = [run for run in book.runs.values() if run.state is RunState.RUNNING]
        if len(running) > args[0]:
            changes, (result,) = book.finish([end_of(running[args[0]])], ended)
            assert result is not None
            book.apply(changes)
    elif kind == "list":  # only now is the order of runs brought up to date
        runs = sorted([*book.runs.values(), *book.pending.values()], key=age, reverse=True)
        assert book.list_runs(None, None, None, 99) == runs
    else:
        book.sweep()


def age(run: Run) -> tuple[int, str]:
    return run.token, run.id


def claim(book: Book, seconds: int, limit: int, can_run: set[str], blocked: set[str]) -> None:
    expected: list[tuple[str, str]] = []
    for due, _, job_id, run_id in rows(book, can_run):
        taken = {one for one, _ in expected}
        if due <= at(seconds) and job_id not in blocked | taken and len(expected) < limit:
            expected.append((job_id, run_id))
    asked: list[tuple[str, str]] = []

    def decide(due: Due, mint: Any) -> Decision | None:
        row = (due.job.id, "" if due.run is None else due.run.id)
        assert row not in asked, "asked twice about a row"
        asked.append(row)
        return None if due.job.id in blocked else starts(then=20.0)(due, mint)

    changes = book.claim(at(seconds), limit, can_run, decide)
    assert [row for row in asked if row[0] not in blocked] == expected
    book.apply(changes)


def test_stale_rows_are_swept_away() -> None:
    book = Book()
    for n in range(5000):
        job = a_job("a", n)
        book.apply(book.write(["a"], keeps(job)))
    assert book._agenda.size < 1100
    assert book.next_due(at(-1), {"call:f"}) == at(4999)


def test_runs_written_out_of_order_are_listed_in_order() -> None:
    book = Book()
    runs = [
        a_run("a", iter([n]).__next__, state=RunState.SUCCEEDED, finished_at=at(0))
        for n in (5, 2, 9, 2)
    ]
    runs[3] = replace(runs[3], id="r0")
    for run in runs:
        book.apply(book.write(["a"], lambda *_, run=run: Decision(None, (run,))))
    listed = book.list_runs(None, None, None, 10)
    assert [(run.token, run.id) for run in listed] == [(9, "r9"), (5, "r5"), (2, "r2"), (2, "r0")]


class Closed(list["Skip"]):
    """Rows that nobody may walk over."""

    def __iter__(self) -> Any:
        raise AssertionError

    __reversed__ = __iter__


def test_the_skips_of_one_job_cost_what_they_give() -> None:
    book = Book()
    rows = [a_skip("abc"[n % 3], n) for n in range(30)]
    for row in rows:
        book.apply(book.write([row.job_id], lambda *_, row=row: Decision(None, (), (row,))))
    everything, book.skips = book.skips, Closed(book.skips)
    assert book.list_skips("b", 2) == [rows[28], rows[25]]
    assert book.list_skips("nobody", 9) == []
    with pytest.raises(AssertionError):
        book.list_skips(None, 9)
    book.skips = everything
    changes, count = book.prune(at(0), 3)
    assert changes is not None
    book.apply(changes)
    assert count == 21
    assert book.list_skips(None, 99) == rows[:20:-1]
    assert book.list_skips("b", 99) == [rows[28], rows[25], rows[22]]
