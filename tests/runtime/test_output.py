"""An output that is too long for its row is in a file, and all of it can be read and sent."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, Command, Message, Output, Receipt, Retry, Run, RunState
from acron.actions import live
from acron.model import OUTPUT_LIMIT, Settings
from acron.runtime import files
from acron.stores.json_file import JsonFileStore
from acron.testing import RecordingAdapter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from acron.abc import Settle
    from acron.model import Decision, End
    from acron.testing import VirtualTime

LINES = "".join(f"line {n}\n" for n in range(20_000))


class Taker(RecordingAdapter):
    """Takes files, and reads them."""

    takes_files = True
    limit = 1000

    def __init__(self) -> None:
        super().__init__("taker")
        self.read: dict[str, str] = {}

    async def send(self, message: Message) -> Receipt:
        self.read |= {path.name: path.read_text() for path in message.files}
        return await super().send(message)


class Looks(JsonFileStore):
    """Notes whether the files that an end names are there before it is written."""

    there: list[bool]

    async def finish(self, ends: Sequence[End], settle: Settle) -> list[Decision | None]:
        found = list(self.path.parent.glob("output/*/*.files/*"))
        self.there = [len(found) == len(end.outcome.files) for end in ends]
        return await super().finish(ends, settle)

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path


def prints(code: str) -> Command:
    return Command((sys.executable, "-c", code))


async def run_of(time: VirtualTime, home: Path, what: Any, **more: Any) -> tuple[Run, str]:
    """One run of a job that does ``what``; and all that it said."""
    store = Looks(home / "jobs.json")
    app = Acron(store, clock=time.clock, adapters={"taker": Taker()} | more.pop("adapters", {}))
    async with app:
        if not isinstance(what, Command):
            app.action(what)
        await app.add("every 24h", what, id="news", **more)
        run = await app.run_now("news", wait=True)
        assert store.there == [True]
        await time.settle()
        return await app.get_run(run.id), await app.output(run.id)


def the_file(home: Path) -> Path:
    (path,) = home.glob("output/news/*.files/output.txt")
    return path


async def test_of_a_command_all_is_kept(acron_time: VirtualTime, tmp_path: Path) -> None:
    taker = Taker()
    what = prints("for n in range(20_000): print('line', n)")
    run, said = await run_of(acron_time, tmp_path, what, deliver="taker", adapters={"taker": taker})
    assert (run.state, run.files) == (RunState.SUCCEEDED, ("output.txt",))
    assert said == LINES
    assert run.output is not None
    assert len(run.output.encode()) <= OUTPUT_LIMIT
    assert run.output.startswith("line 0\n")
    assert run.output.endswith("line 19999\n")
    assert " bytes left out; all of it: output.txt …]" in run.output
    assert the_file(tmp_path).stat().st_mode & 0o777 == 0o600
    assert taker.read == {"output.txt": LINES}
    assert len(taker.messages) == 10
    assert "more characters: acron output" in taker.texts[-1]
    assert list((tmp_path / "output" / "live").iterdir()) == []


async def test_of_a_function_and_beside_its_own_files(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    own = tmp_path / "output.txt"
    own.write_text("mine")

    async def news() -> str:
        return Output(LINES, files=[own])

    run, said = await run_of(acron_time, tmp_path, news)
    assert run.files == ("output.txt", "2-output.txt")
    assert said == LINES
    assert own.read_text() == "mine"


async def test_a_file_of_that_name_is_not_taken_for_the_output(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    own = tmp_path / "output.txt"
    own.write_bytes(b"\xffmine")

    async def news() -> str:
        return Output("hello", files=[own])

    run, said = await run_of(acron_time, tmp_path, news)
    assert said == run.output == "hello"
    (kept,) = tmp_path.glob(f"output/news/*.files/{run.files[0]}")  # noqa: ASYNC240 (a look)
    assert kept.read_bytes() == own.read_bytes()


async def test_no_file_takes_the_place_of_another(acron_time: VirtualTime, tmp_path: Path) -> None:
    given = [tmp_path / "a" / "x", tmp_path / "b" / "3-x", tmp_path / "c" / "x"]
    for path in given:
        path.parent.mkdir()
        path.write_text(path.parent.name)

    async def news() -> str:
        return Output("hello", files=given)

    run, _ = await run_of(acron_time, tmp_path, news)
    kept = {path.read_text() for path in tmp_path.glob("output/news/*.files/*")}  # noqa: ASYNC240
    assert (len(run.files), kept) == (3, {"a", "b", "c"})


async def test_what_is_left_out_is_told_once(acron_time: VirtualTime, tmp_path: Path) -> None:
    missing = [tmp_path / f"{n}-{'x' * 90}.csv" for n in range(5)]

    async def news() -> str:
        return Output("x" * 2 * OUTPUT_LIMIT, files=missing)

    run, _ = await run_of(acron_time, tmp_path, news)
    assert run.output is not None
    assert len(run.output.encode()) <= OUTPUT_LIMIT
    assert run.output.count("left out") == 1
    assert "of 131,072 bytes left out; all of it: output.txt …]" in run.output
    assert run.output.count("[not attached: ") == 5


async def test_what_cannot_be_kept_at_all_is_no_reason_to_lose_the_end(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    async def news() -> str:
        return Output("hello", whole="no\0name")

    run, said = await run_of(acron_time, tmp_path, news)
    assert (run.state, run.files, said) == (RunState.SUCCEEDED, (), "hello")


async def test_it_waits_for_no_thread_of_a_job(tmp_path: Path) -> None:
    """In real time: the virtual one stands still for the thread."""
    free = threading.Event()
    app = Acron(str(tmp_path / "jobs.json"), settings=Settings(max_threads=1))

    @app.action
    def holds() -> None:
        free.wait(20)

    @app.action
    async def news() -> str:
        return LINES

    async with app:
        await app.add("every 24h", "holds", id="holds")
        await app.add("every 24h", "news", id="news")
        held = await app.run_now("holds")
        try:
            async with asyncio.timeout(10):
                run = await app.run_now("news", wait=True)
            assert (await app.get_run(held.id)).state is RunState.RUNNING
        finally:
            free.set()
        assert await app.output(run) == LINES


@pytest.mark.parametrize("retry", [None, Retry(attempts=1)])
async def test_of_a_failure(acron_time: VirtualTime, tmp_path: Path, retry: Retry | None) -> None:
    what = prints("print('tea\\n' * 30_000); raise SystemExit(3)")
    run, said = await run_of(acron_time, tmp_path, what, retry=retry)
    assert (run.state, run.files) == (RunState.FAILED, ("output.txt",))
    assert said == "tea\n" * 30_000 + "\n"


async def test_of_a_command_that_is_stopped(tmp_path: Path) -> None:
    """In real time: the virtual one waits for processes."""
    app = Acron(str(tmp_path / "jobs.json"))
    async with app:
        what = prints("import time; print('tea\\n' * 30_000, flush=True); time.sleep(60)")
        await app.add("every 24h", what, id="news")
        run = await app.run_now("news")
        heard = 0
        async for text in app.follow(run.id):
            heard += len(text)
            if heard == 120_001:
                await app.cancel(run.id)
        run = await app.get_run(run.id)
        assert (run.state, run.files) == (RunState.CANCELLED, ("output.txt",))
        assert await app.output(run) == "tea\n" * 30_000 + "\n"


async def test_what_is_short_makes_no_file(acron_time: VirtualTime, tmp_path: Path) -> None:
    async def news() -> str:
        return "ä" * (OUTPUT_LIMIT // 2)

    run, said = await run_of(acron_time, tmp_path, news)
    assert (run.output, run.files) == (said, ())
    assert list(tmp_path.glob("output/news/*")) == []  # noqa: ASYNC240 (a look)


async def test_it_has_a_bound(
    acron_time: VirtualTime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LARGEST", 100_000)
    what = prints("print('x' * 150_000); print('last')")
    run, said = await run_of(acron_time, tmp_path, what)
    assert said == "x" * 100_000 + "\n[… cut after 100,000 bytes]\n"
    assert (run.output or "").endswith("xxx\nlast\n")


async def test_so_has_a_text(
    acron_time: VirtualTime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGEST_OUTPUT", 100_000)

    async def news() -> str:
        return "x" * 150_000

    _, said = await run_of(acron_time, tmp_path, news)
    assert said == "x" * 100_000 + "\n[… cut after 100,000 characters]\n"


async def test_it_holds_no_secret_and_no_control_character(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    """Also not one of several lines that lies where the text is read in blocks."""
    key = "\n".join(["-----BEGIN RSA PRIVATE KEY-----", *["SECRET" * 10] * 20, "-----END KEY-----"])
    filler = "tea with milk\n" * 4600  # almost a block

    async def news() -> str:
        return f"password=SECRET\x1b[2J\r\n{filler}{key}\n{filler}tea\n"

    _, said = await run_of(acron_time, tmp_path, news)
    assert "SECRET" not in said
    assert "\x1b" not in said
    assert said.startswith("password=***")
    assert said.endswith("milk\ntea\n")
    assert said.count("milk") == 9200


async def test_a_disk_that_takes_no_file_costs_the_rest_only(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "news").write_text("in the way")

    async def news() -> str:
        return LINES

    run, said = await run_of(acron_time, tmp_path, news)
    assert (run.state, run.files) == (RunState.SUCCEEDED, ())
    assert said == run.output
    assert "bytes left out; Not a directory …]" in said


async def test_so_does_one_that_takes_no_words_of_a_command(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "live").write_text("in the way")
    run, said = await run_of(acron_time, tmp_path, prints("print('tea\\n' * 30_000)"))
    assert (run.state, run.files) == (RunState.SUCCEEDED, ())
    assert "bytes left out; the rest could not be kept …]" in said


async def test_elsewhere_the_row_is_all_there_is(acron_time: VirtualTime, tmp_path: Path) -> None:
    """And who is to send it from there sends it without the file."""
    taker = Taker()
    taker.fail()
    app = Acron(str(tmp_path / "jobs.json"), clock=acron_time.clock, adapters={"taker": taker})

    @app.job("in 1m", deliver="taker")
    async def news() -> str:
        return LINES

    async with app:
        await acron_time.advance(minutes=1, seconds=1)
        the_file(tmp_path).unlink()
        await acron_time.advance(minutes=5)
        (run,) = await app.runs()
        assert [one.state for one in run.deliveries] == ["delivered"]
        assert await app.output(run) == run.output
    assert taker.read == {}


async def test_who_follows_hears_the_rest(acron_time: VirtualTime, tmp_path: Path) -> None:
    app = Acron(str(tmp_path / "jobs.json"), clock=acron_time.clock)
    async with app:
        what = prints("print('tea\\n' * 30_000, end='')")
        await app.add("every 24h", what, id="news")
        run = await app.run_now("news")
        said = "".join([text async for text in app.follow(run.id)])
    assert said == "tea\n" * 30_000
