"""What works outside the loop holds virtual time, for as long as it does and no longer.

Each worker really takes a few milliseconds. Beside it runs a timer of an hour: if time were not
held it would fire first.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import aiofiles
import aiosqlite
import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from acron.testing import START, HoldDropped, VirtualTime, virtual_time
from acron.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

BRIEFLY = 0.05


@contextmanager
def standing_still(acron_time: VirtualTime) -> Iterator[None]:
    """Time must not have moved inside, though a timer invites it to."""
    before = acron_time.now()
    timer = asyncio.get_running_loop().call_later(3600, lambda: None)
    yield
    timer.cancel()
    assert acron_time.now() == before


async def test_acron_s_threads(acron_time: VirtualTime) -> None:
    with standing_still(acron_time):
        await Threads().run(time.sleep, BRIEFLY)


async def test_executors(acron_time: VirtualTime) -> None:
    loop = asyncio.get_running_loop()
    with standing_still(acron_time), ThreadPoolExecutor(1) as pool:
        await loop.run_in_executor(None, time.sleep, BRIEFLY)
        await loop.run_in_executor(pool, time.sleep, BRIEFLY)
        await asyncio.to_thread(time.sleep, BRIEFLY)


async def test_aiofiles(acron_time: VirtualTime, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x" * 100_000)
    with standing_still(acron_time):
        async with aiofiles.open(path) as file:
            assert len(await file.read()) == 100_000


async def test_anyio_s_threads(acron_time: VirtualTime) -> None:
    with standing_still(acron_time):
        await anyio.to_thread.run_sync(time.sleep, BRIEFLY)
        limiter = anyio.CapacityLimiter(1)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(
                    lambda: anyio.to_thread.run_sync(time.sleep, 0.01, limiter=limiter)
                )
    assert limiter.borrowed_tokens == 0


async def test_waiting_for_anyio_s_token_holds_nothing(acron_time: VirtualTime) -> None:
    limiter = anyio.CapacityLimiter(1)
    await limiter.acquire_on_behalf_of(object())
    with anyio.move_on_after(10) as scope:
        await anyio.to_thread.run_sync(time.sleep, 0, limiter=limiter)
    assert scope.cancelled_caught
    assert (acron_time.now() - START).total_seconds() == 10


async def test_subprocesses_until_their_end(acron_time: VirtualTime) -> None:
    program = f"import time; time.sleep({BRIEFLY}); print('done')"
    command = [sys.executable, "-S", "-c", program]
    with standing_still(acron_time):
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert (await process.communicate())[0] == b"done\n"
        shell = await asyncio.create_subprocess_shell(f"sleep {BRIEFLY}")
        assert await shell.wait() == 0
        assert (await anyio.run_process(command)).stdout == b"done\n"


async def test_when_it_ends_time_goes_on(acron_time: VirtualTime) -> None:
    work = asyncio.create_task(asyncio.to_thread(time.sleep, BRIEFLY))
    await asyncio.sleep(3600)
    assert work.done()
    assert (acron_time.now() - START).total_seconds() == 3600


async def test_a_hold_by_hand(acron_time: VirtualTime) -> None:
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    with standing_still(acron_time), acron_time.hold("a real socket"):
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.close()
    server.close()
    await server.wait_closed()
    assert loop.time() == acron_time.clock.monotonic()


async def in_executor(function: Callable[..., Any], *args: Any) -> None:
    await asyncio.get_running_loop().run_in_executor(None, function, *args)


async def in_anyio(function: Callable[..., Any], *args: Any) -> None:
    await anyio.to_thread.run_sync(function, *args, abandon_on_cancel=True)


async def in_subprocess(function: Callable[..., Any], *args: Any) -> None:
    process = await asyncio.create_subprocess_exec("sleep", "0.2")
    try:
        await process.wait()
    finally:
        process.kill()
        await process.wait()


@pytest.mark.acron_time(hold=0.02)
@pytest.mark.parametrize(
    "run, label",
    [
        (Threads().run, "sleep held"),
        (in_executor, "executor: sleep held"),
        (in_anyio, "anyio thread: sleep held"),
        (in_subprocess, "subprocess: sleep 0.2 held"),
    ],
)
async def test_a_hold_is_dropped_after_its_bound_and_named(
    acron_time: VirtualTime, run: Any, label: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.warns(HoldDropped, match=label), pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await run(time.sleep, 0.2)
    assert (acron_time.now() - START).total_seconds() == 60
    assert label in caplog.text


def test_where_warnings_are_errors_it_is_raised_at_the_end() -> None:
    ends: list[float] = []

    async def main() -> None:
        await asyncio.to_thread(time.sleep, 0.1)
        await asyncio.sleep(1)
        ends.append(asyncio.get_running_loop().time())

    with pytest.raises(HoldDropped, match="executor: sleep held"), virtual_time(hold=0.02):
        asyncio.run(main())
    assert len(ends) == 1


async def test_only_idle_waiting_counts(
    acron_time: VirtualTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = [0.0]
    monkeypatch.setattr("acron.testing.loop._real_seconds", lambda: real[0])
    with acron_time.hold("slow test"):
        for _ in range(10):
            real[0] += 1.0  # a test that is busy, not idle
            await asyncio.to_thread(time.sleep, 0)
    assert acron_time.now() == START


async def test_many_calls_in_flight(acron_time: VirtualTime) -> None:
    with standing_still(acron_time):
        threads = Threads(limit=4)
        values = await asyncio.gather(*(threads.run(int, n) for n in range(500)))
    assert values == list(range(500))


async def test_a_connection_of_aiosqlite(acron_time: VirtualTime, tmp_path: Path) -> None:
    with standing_still(acron_time):
        async with aiosqlite.connect(tmp_path / "bot.db") as db:
            await db.execute("create table seen (id)")
            await db.executemany("insert into seen values (?)", [(n,) for n in range(1000)])
            async with db.execute("select count(*) from seen") as rows:
                assert await rows.fetchone() == (1000,)


async def test_a_thread_that_waits_for_the_loop_holds_nothing(acron_time: VirtualTime) -> None:
    loop = asyncio.get_running_loop()

    async def later(value: int) -> int:
        await asyncio.sleep(60)
        return value

    def asks() -> int:
        value = asyncio.run_coroutine_threadsafe(later(1), loop).result(10)
        time.sleep(BRIEFLY)  # and now it holds again
        return value + anyio.from_thread.run(later, 2)

    timer = loop.call_later(3600, lambda: None)
    assert await anyio.to_thread.run_sync(asks) == 3
    timer.cancel()
    assert (acron_time.now() - START).total_seconds() == 120


async def test_one_that_waits_beside_one_that_works(acron_time: VirtualTime) -> None:
    loop, ends = asyncio.get_running_loop(), []

    def asks() -> None:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(60), loop).result(10)
        ends.append("asks")

    def works() -> None:
        time.sleep(BRIEFLY)
        ends.append("works")

    await asyncio.gather(Threads().run(asks), asyncio.to_thread(works))
    assert ends == ["works", "asks"]
    assert (acron_time.now() - START).total_seconds() == 60


async def test_a_raw_thread_has_nothing_to_lend(acron_time: VirtualTime) -> None:
    loop, never = asyncio.get_running_loop(), asyncio.Event()
    handed = threading.Event()

    def hands_over() -> None:
        asyncio.run_coroutine_threadsafe(never.wait(), loop)
        handed.set()

    threading.Thread(target=hands_over).start()
    with standing_still(acron_time):
        await asyncio.to_thread(handed.wait, 10)
        await asyncio.to_thread(time.sleep, BRIEFLY)
    never.set()


async def test_signals_are_heard_while_time_jumps(acron_time: VirtualTime) -> None:
    loop, heard = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, heard.set)
    with standing_still(acron_time):
        signal.raise_signal(signal.SIGUSR1)
        await heard.wait()
    loop.remove_signal_handler(signal.SIGUSR1)


async def test_a_thread_that_waits_for_many_things_lends_one_hold(acron_time: VirtualTime) -> None:
    """And not those of the others."""
    loop, waits = asyncio.get_running_loop(), threading.Event()

    def wait_for_many() -> None:
        things = [asyncio.run_coroutine_threadsafe(asyncio.sleep(3600), loop) for _ in range(3)]
        loop.call_soon_threadsafe(waits.set)
        for one in things:
            one.result()

    def work() -> datetime:
        waits.wait()
        time.sleep(BRIEFLY)
        return acron_time.now()

    worked, _ = await asyncio.gather(asyncio.to_thread(work), asyncio.to_thread(wait_for_many))
    assert worked == START
    assert acron_time.now() == START + timedelta(hours=1)
