"""FAULTS 8: the journal is the truth, up to its last whole line."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from acron.errors import StoreCorrupt
from acron.model import PROGRESS, Decision, Delivery, Run, RunState
from acron.stores.files import Files
from acron.stores.journal import Header, Journal, Progress
from acron.stores.json_file import JsonFileStore
from acron.testing.contracts._stores_base import (
    CAN,
    NOW,
    a_job,
    a_run,
    at,
    end_of,
    ended,
    keeps,
    removes,
    starts,
)

if TYPE_CHECKING:
    from pathlib import Path

    from acron.stores.book import Book


def state(book: Book) -> list[Any]:
    return [
        book.jobs,
        dict(sorted(book.runs.items())),
        book.pending,
        book.open,
        dict(sorted(book.unsent.items())),
        dict(sorted(book.untold.items())),
        book.skips,
        book.token,
    ]


async def history(path: Path) -> list[list[Any]]:
    """A life of a store; the state of its book after each line of its journal."""
    store = JsonFileStore(path)
    await store.open(NOW)
    journal = store._journal
    states: list[list[Any]] = []

    def note() -> None:
        import copy

        assert journal._lines == len(states) + 1
        states.append(copy.deepcopy(state(journal.book)))

    note()
    await store.write(["a", "b"], keeps(a_job("a"), a_job("b", 30)), NOW)
    note()
    (first,) = await store.claim(NOW, 9, CAN, starts(then=60.0))
    note()
    await store.write(["a"], lambda _, job, __, mint: Decision(job, (a_run("a", mint, 5),)), NOW)
    note()
    await store.finish(
        [end_of(first.runs[0], output="☕")],
        lambda job, run, end, mint: Decision(
            job,
            (
                replace(ended(job, run, end, mint).runs[0], deliveries=(Delivery("x"),)),
                a_run("a", mint, 90, attempt=2),
            ),
        ),
    )
    note()
    (done,) = await store.runs("a", state=RunState.SUCCEEDED)
    await store.mark(done, lambda _: (Delivery("x", "delivered", "17"),))
    note()
    await store.write(["b"], removes, NOW)
    note()
    await store.prune(at(1e6), 0)
    note()
    await store.close()
    return states


def replayed(path: Path) -> Journal:
    journal = Journal(path, Files())
    try:
        journal.catch_up()
    finally:
        journal.close()
    return journal


def test_progress_is_the_lower_half_of_a_job() -> None:
    assert Progress.__struct_fields__ == ("id", *PROGRESS)
    assert all(getattr(Progress("a"), name) is UNSET for name in PROGRESS)


async def test_a_replay_of_every_prefix(tmp_path: Path) -> None:
    states = await history(tmp_path / "bot.json")
    whole = (tmp_path / "bot.journal").read_bytes()
    cut = tmp_path / "cut.journal"
    for size in range(len(whole) + 1):
        cut.write_bytes(whole[:size])
        lines = whole[:size].count(b"\n")
        if lines == 0:
            with pytest.raises(StoreCorrupt, match="line 1"):
                replayed(cut)
        else:
            assert state(replayed(cut).book) == states[lines - 1]
    assert len(states) == whole.count(b"\n")


async def test_a_damaged_byte(tmp_path: Path) -> None:
    states = await history(tmp_path / "bot.json")
    whole = (tmp_path / "bot.journal").read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    bad = tmp_path / "bad.journal"
    for place in range(len(whole) - 1):
        if whole[place] == 0x0A:
            continue  # two lines become one: see the next test
        bad.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        if place >= last:
            assert state(replayed(bad).book) == states[-2]
        else:
            line = whole[:place].count(b"\n") + 1
            with pytest.raises(StoreCorrupt, match=f"line {line}: "):
                replayed(bad)


async def test_a_lost_line_end_in_the_middle(tmp_path: Path) -> None:
    await history(tmp_path / "bot.json")
    whole = (tmp_path / "bot.journal").read_bytes()
    lines = whole.splitlines(keepends=True)
    bad = tmp_path / "bad.journal"
    bad.write_bytes(b"".join([lines[0], lines[1].rstrip(), *lines[2:]]))
    with pytest.raises(StoreCorrupt, match="line 2: "):
        replayed(bad)
    assert bad.stat().st_size == len(whole) - 1


@pytest.mark.parametrize("tail", [b"\0" * 5000, b"\0\n", b"12345678 {}\n", b"garbage"])
async def test_a_torn_line_never_happened(tmp_path: Path, tail: bytes) -> None:
    states = await history(tmp_path / "bot.json")
    path = tmp_path / "bot.journal"
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    store = JsonFileStore(tmp_path / "bot.json")
    await store.open(NOW)
    assert state(store._journal.book) == states[-1]
    assert path.read_bytes() == whole + tail
    await store.write(["n"], keeps(a_job("n")), NOW)
    await store.close()
    assert path.read_bytes().startswith(whole)
    added = path.read_bytes()[len(whole) :]
    assert added.endswith(b"\n")
    assert added.count(b"\n") == 1
    assert "n" in replayed(path).book.jobs


async def test_a_damaged_journal_is_left_alone(tmp_path: Path) -> None:
    await history(tmp_path / "bot.json")
    path = tmp_path / "bot.journal"
    lines = path.read_bytes().splitlines(keepends=True)
    bad = b"".join([*lines[:3], b"deadbeef {}\n", *lines[3:]])
    path.write_bytes(bad)
    with pytest.raises(StoreCorrupt, match="line 4: the checksum fails"):
        await JsonFileStore(tmp_path / "bot.json").open(NOW)
    assert path.read_bytes() == bad


@pytest.mark.parametrize("header", [Header(99), Header(1, kind="letter")])
async def test_what_a_newer_acron_wrote_is_refused(tmp_path: Path, header: Header) -> None:
    path = tmp_path / "bot.journal"
    journal = Journal(path, Files())
    path.write_bytes(journal._packed(header))
    with pytest.raises(StoreCorrupt, match="line 1"):
        await JsonFileStore(tmp_path / "bot.json").open(NOW)


async def test_an_emptied_journal_is_no_new_beginning(tmp_path: Path) -> None:
    await history(tmp_path / "bot.json")
    (tmp_path / "bot.journal").write_bytes(b"")
    with pytest.raises(StoreCorrupt, match="line 1"):
        await JsonFileStore(tmp_path / "bot.json").open(NOW)


async def test_compaction_keeps_everything(tmp_path: Path) -> None:
    await history(tmp_path / "bot.json")
    path = tmp_path / "bot.journal"
    journal = Journal(path, Files())
    journal.catch_up()
    before = state(journal.book)
    journal.compact()
    assert state(replayed(path).book) == before
    journal.compact()
    assert journal.size == path.stat().st_size
    assert state(replayed(path).book) == before
    journal.close()


async def test_others_follow_a_compaction(tmp_path: Path) -> None:
    one = JsonFileStore(tmp_path / "bot.json", compact_beyond=2000)
    two = JsonFileStore(tmp_path / "bot.json", compact_beyond=2000)
    await one.open(NOW)
    await two.open(NOW)
    inodes = set()
    for n in range(60):
        store, other = (one, two) if n % 2 else (two, one)
        await store.write(["a"], keeps(a_job("a", n)), NOW)
        job = await other.get("a")
        assert job is not None
        assert job.next_fire_at == at(n)
        inodes.add((tmp_path / "bot.journal").stat().st_ino)
    assert (tmp_path / "bot.journal").stat().st_size < 8000
    assert len(inodes) > 1
    await one.close()
    await two.close()


async def test_a_journal_deleted_under_way_is_written_again(tmp_path: Path) -> None:
    store = JsonFileStore(tmp_path / "bot.json")
    await store.open(NOW)
    await store.write(["a"], keeps(a_job("a")), NOW)
    (tmp_path / "bot.journal").unlink()
    assert await store.get("a") == a_job("a")
    await store.claim(NOW, 9, CAN, starts())
    await store.close()
    book = replayed(tmp_path / "bot.journal").book
    assert [run.job_id for run in book.runs.values()] == ["a"]


async def test_it_can_be_copied_elsewhere(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    states = await history(old / "bot.json")
    shutil.copytree(old, new)
    store = JsonFileStore(new / "bot.json")
    await store.open(at(60))
    assert state(store._journal.book) == states[-1]
    await store.close()


def test_a_run_is_short_in_the_journal() -> None:
    from acron.stores.book import Book, Changes
    from acron.stores.journal import line_of

    book = Book()
    run = Run(id="r1", job_id="a", due_at=NOW, state=RunState.SUCCEEDED, output="x" * 60_000)
    book.apply(Changes(["a"], [Decision(None, (run,))], 1))
    marked = replace(run, deliveries=(Delivery("log"),))
    line = line_of(Changes(["a"], [Decision(None, (marked,))], 1), book)
    assert line.runs == []
    assert [(mark.id, mark.deliveries) for mark in line.marks] == [("r1", marked.deliveries)]
