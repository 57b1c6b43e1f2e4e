"""FAULTS 8-10, 12: whatever step of the disk fails, a transaction happened or it did not."""

from __future__ import annotations

import errno
import getpass
import os
import resource
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from acron.errors import StoreError, StoreUnavailable
from acron.model import Decision, RunState
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

from .faults import Crash, FaultyFiles

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from acron.abc import Store
    from acron.model import Due
    from tests.disks import SmallDisk

    Step = Callable[[Store], Awaitable[Any]]


async def _add(store: Store) -> None:
    jobs = [a_job(one) for one in "abc"]
    await store.write([job.id for job in jobs], keeps(*jobs), NOW)


async def _claim(store: Store) -> None:
    assert len(await store.claim(NOW, 2, CAN, starts())) == 2


async def _finish(store: Store) -> None:
    running = await store.runs(state=RunState.RUNNING)
    await store.finish([end_of(running[0])], ended)


async def _pause(store: Store) -> None:
    await store.write(
        ["a"], lambda _, job, *__: Decision(replace(job, paused="x", revision=2)), NOW
    )


async def _wait(store: Store) -> None:
    await store.write(["b"], lambda _, job, __, mint: Decision(job, (a_run("b", mint, 60),)), NOW)


async def _remove(store: Store) -> None:
    await store.write(["c"], removes, NOW)


async def _give_up(store: Store) -> None:
    """A job that pauses itself: its end and its definition in one."""
    running = await store.runs(state=RunState.RUNNING)
    await store.finish(
        [end_of(running[0], state=RunState.FAILED)],
        lambda job, *rest: Decision(replace(job, paused="failing"), ended(job, *rest).runs),
    )


async def _prune(store: Store) -> None:
    assert await store.prune(at(1e6), 0) > 0


STEPS: list[Step] = [_add, _claim, _finish, _pause, _wait, _remove, _give_up, _prune]


async def view(store: Store) -> list[Any]:
    jobs = await store.page()
    runs = await store.runs()
    return [
        [(job.id, job.paused, job.completed, job.fired) for job in jobs],
        [(run.id, run.state, run.token) for run in runs],
    ]


async def walk(path: Path, files: FaultyFiles, steps: list[Step], **how: Any) -> list[list[Any]]:
    """What there is to be seen before and after each step, until one fails."""
    store = JsonFileStore(path, files=files, **how)
    await store.open(NOW)
    views = [await view(store)]
    try:
        for step in steps:
            await step(store)
            views.append(await view(store))
    except StoreUnavailable:
        assert await view(store) == views[-1], "the failed transaction is half seen"
        files.at = 0
        async with _again(path) as other:
            assert await view(other) == views[-1], "it happened after all"
        for step in steps[len(views) - 1 :]:
            await step(store)  # the very step that failed, and the others, go through
        views.append([])  # failed at the one before
    except Crash:
        views.append([])
    if files.crashed:
        store._let_go()  # as the system does for a dead process
        assert store._executor is not None
        store._executor.shutdown()
    else:
        await store.close()
    return views


@pytest.fixture(params=[10**9, 1], ids=["journal", "compacted all the time"])
def how(request: pytest.FixtureRequest) -> dict[str, int]:
    return {"compact_beyond": request.param}


async def test_a_failing_disk_at_every_step(tmp_path: Path, how: dict[str, int]) -> None:
    whole = FaultyFiles()
    good = await walk(tmp_path / "good.json", whole, STEPS, **how)
    assert len(good) == len(STEPS) + 1
    opening = FaultyFiles()
    await walk(tmp_path / "open.json", opening, [])
    for at_step in range(opening.steps + 1, whole.steps + 1):
        path = tmp_path / f"{at_step}.json"
        files = FaultyFiles(at_step)
        views = await walk(path, files, STEPS, **how)
        done = len(views) - (2 if views[-1] == [] else 1)
        assert views[: done + 1] == good[: done + 1]
        async with _again(path) as store:
            jobs = [one[:2] for one in (await view(store))[0]]
            assert jobs == [one[:2] for one in good[-1][0]]
            assert await store.problems() == []


async def test_after_a_failed_sync_the_journal_is_read_again(tmp_path: Path) -> None:
    files = FaultyFiles()
    opened: list[str] = []
    real = files.open

    def note(path: Path) -> int:
        opened.append(path.name)
        return real(path)

    files.open = note  # type: ignore[method-assign]
    store = JsonFileStore(tmp_path / "bot.json", files=files)
    await store.open(NOW)
    await _add(store)
    files.names.clear()
    files.at = files.steps + 2
    with pytest.raises(StoreUnavailable):
        await _claim(store)
    assert files.names[:2] == ["write", "sync"]
    assert files.names.count("sync") == 1, "never tried again"
    opened.clear()
    await _claim(store)
    assert opened == ["bot.journal"]
    await store.close()


async def test_a_token_is_not_given_again_when_the_journal_is(tmp_path: Path) -> None:
    tokens: list[int] = []

    def decide(_due: object, mint: Callable[[], int]) -> Decision:
        tokens.append(mint())
        raise LookupError

    async with _again(tmp_path / "bot.json") as store:
        await _add(store)
        with pytest.raises(LookupError):
            await store.claim(NOW, 1, CAN, decide)
        store._journal.forget()
        (decision,) = await store.claim(NOW, 1, CAN, starts())
        assert decision.runs[0].token > tokens[0]


async def test_a_failing_disk_while_opening(tmp_path: Path) -> None:
    opening = FaultyFiles()
    await walk(tmp_path / "good.json", opening, [])
    assert opening.steps > 0
    for at_step in range(1, opening.steps + 1):
        path = tmp_path / f"{at_step}.json"
        with pytest.raises(StoreUnavailable):
            await walk(path, FaultyFiles(at_step), [])
        assert len(await walk(path, FaultyFiles(), STEPS)) == len(STEPS) + 1


async def test_a_crash_at_every_step(tmp_path: Path, how: dict[str, int]) -> None:
    steps = [step for step in STEPS if step is not _give_up]
    whole = FaultyFiles()
    good = await walk(tmp_path / "good.json", whole, steps, **how)
    opening = FaultyFiles()
    await walk(tmp_path / "open.json", opening, [])
    either: set[bool] = set()
    for at_step in range(opening.steps + 1, whole.steps + 1):
        path = tmp_path / f"{at_step}.json"
        views = await walk(path, FaultyFiles(at_step, Crash), steps, **how)
        done = len(views) - 2
        async with _again(path) as store:
            found = await view(store)
            assert found in good[done : done + 2], whole.names[at_step - 1]
            either.add(found == good[done])
            assert await store.problems() == []
            await _add(store)
    assert either == {True, False}, "some crashes come before the commit, and some after"


def _again(path: Path) -> Any:
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def opened() -> Any:
        store = JsonFileStore(path)
        await store.open(NOW)
        yield store
        await store.close()

    return opened()


@pytest.mark.parametrize("code", ["ENOSPC", "EROFS", "EACCES", "EMFILE", "EDQUOT"])
async def test_the_error_names_the_reason_and_who_we_are(tmp_path: Path, code: str) -> None:
    number = getattr(errno, code)
    files = FaultyFiles(0, lambda: OSError(number, os.strerror(number)))
    store = JsonFileStore(tmp_path / "bot.json", files=files)
    await store.open(NOW)
    files.at = files.steps + 1
    with pytest.raises(StoreUnavailable) as caught:
        await _add(store)
    assert os.strerror(number) in str(caught.value)
    assert str(tmp_path / "bot.json") in str(caught.value)
    ours = code in {"EROFS", "EACCES"}  # may be, if somebody else could
    assert (f" as user {getpass.getuser()}" in str(caught.value)) == ours
    await store.close()


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Call it to bound the size of files for real: writes come back short, then fail."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_disk_that_is_really_full(
    tmp_path: Path, small_files: Callable[[int], None]
) -> None:
    store = JsonFileStore(tmp_path / "bot.json")
    await store.open(NOW)
    await _add(store)
    before = await view(store)
    journal = tmp_path / "bot.journal"
    size = journal.stat().st_size
    small_files(size + 20)
    with pytest.raises(StoreUnavailable):
        await _claim(store)
    assert journal.stat().st_size == size
    assert await view(store) == before
    small_files(10**9)
    await _claim(store)
    await store.close()
    async with _again(tmp_path / "bot.json") as again:
        assert len(await again.runs(state=RunState.RUNNING)) == 2


async def test_a_full_file_system_heals(small_disk: SmallDisk) -> None:
    path = small_disk.place / "bot.json"
    store = JsonFileStore(path)
    await store.open(NOW)
    await _add(store)
    small_disk.fill()
    views: list[Any] = []

    async def put_until_it_fails() -> None:
        for n in range(1000):
            views.append(await view(store))
            await store.write([f"more{n}"], keeps(a_job(f"more{n}", 60.0 + n)), NOW)

    with pytest.raises(StoreUnavailable) as caught:
        await put_until_it_fails()
    assert str(caught.value) == f"{path}: cannot use it: No space left on device"
    assert await view(store) == views[-1]
    small_disk.empty()
    await _claim(store)
    await store.close()
    async with _again(path) as again:
        assert len(await again.runs(state=RunState.RUNNING)) == 2


async def test_a_read_only_file_system(small_disk: SmallDisk) -> None:
    path = small_disk.place / "bot.json"
    async with _again(path) as store:
        await _add(store)
    small_disk.make_read_only()
    with pytest.raises(StoreUnavailable) as caught:
        async with _again(path):
            pass
    assert str(path.parent) in str(caught.value)
    assert f" as user {getpass.getuser()}" in str(caught.value)


async def test_a_failed_compaction_harms_nobody(tmp_path: Path) -> None:
    files = FaultyFiles()
    store = JsonFileStore(tmp_path / "bot.json", files=files, compact_beyond=10**9)
    await store.open(NOW)
    await _add(store)
    store._journal._compact_beyond = 1
    real, files.replace = files.replace, _no_replace  # type: ignore[method-assign]
    await _claim(store)
    assert "cannot compact" in (await store.problems())[0]
    files.replace = real  # type: ignore[method-assign]
    for n in range(20):
        await _wait(store) if n else await _finish(store)
    assert await store.problems() == []
    expected = await view(store)
    await store.close()
    async with _again(tmp_path / "bot.json") as again:
        assert await view(again) == expected


def _no_replace(old: Path, new: Path) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_no_hard_links(tmp_path: Path) -> None:
    files = FaultyFiles()

    def link(old: Path, new: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    files.link = link  # type: ignore[method-assign]
    assert len(await walk(tmp_path / "bot.json", files, STEPS)) == len(STEPS) + 1
    assert (tmp_path / "bot.json.last").exists()


async def test_values_that_are_no_json_write_nothing(tmp_path: Path) -> None:
    from acron.specs import Call

    async with _again(tmp_path / "bot.json") as store:
        with pytest.raises(TypeError):
            await store.write(["a"], keeps(a_job("a", action=Call("f", {"x": object()}))), NOW)
        assert await store.page() == []
        assert not (tmp_path / "bot.json").exists()
        await _add(store)


async def test_a_claim_that_is_no_json_leaves_it_owed(tmp_path: Path) -> None:
    def decide(due: Due, mint: Callable[[], int]) -> Decision:
        job = replace(due.job, next_fire_at=None, extra={"x": object()})
        return Decision(job, (a_run(job.id, mint),))

    async with _again(tmp_path / "bot.json") as store:
        await _add(store)
        with pytest.raises(TypeError):
            await store.claim(NOW, 9, CAN, decide)
        assert len(await store.claim(NOW, 9, CAN, starts())) == 3


async def test_stop_iteration_is_an_error_like_others(tmp_path: Path) -> None:
    def stop(*_: object) -> Decision:
        raise StopIteration

    async with _again(tmp_path / "bot.json") as store:
        with pytest.raises((RuntimeError, StoreError), match="StopIteration"):
            await store.write(["a"], stop, NOW)
        await _add(store)


async def test_a_commit_is_synced_before_anybody_is_told(tmp_path: Path) -> None:
    files = FaultyFiles()
    store = JsonFileStore(tmp_path / "bot.json", files=files)
    await store.open(NOW)
    commit = ["write", "sync"]
    whole = ["create", *commit]
    expected = {
        _add: [*whole, "replace", "sync", "sync", *commit],  # once, the journal's own name too
        _claim: commit,
        _finish: commit,
        _pause: [*whole, "remove", "link", "replace", "sync", *commit],
    }
    for step, names in expected.items():
        files.names.clear()
        await step(store)
        assert files.names == names
    await store.close()
