"""The turns of a loop in virtual time are our own where they can be, and as asyncio's are."""

from __future__ import annotations

import asyncio
import socket
import time
from asyncio.selector_events import BaseSelectorEventLoop

import pytest

from acron.testing import START, VirtualTime, virtual_time

DAY = 86_400.0


async def test_debug_mode(acron_time: VirtualTime) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    await asyncio.sleep(DAY)
    loop.set_debug(False)
    await asyncio.sleep(DAY)
    assert (acron_time.now() - START).days == 2


async def test_cancelled_timers_are_let_go(acron_time: VirtualTime) -> None:
    loop = asyncio.get_running_loop()
    for delay in range(1000):
        loop.call_later(10 * DAY + delay, pytest.fail).cancel()
    kept: list[str] = []
    loop.call_later(11 * DAY, kept.append, "tea")
    sizes: list[int] = []
    loop.call_later(1, lambda: sizes.append(len(loop._scheduled)))  # type: ignore[attr-defined]
    await asyncio.sleep(2)
    assert sizes[0] < 10  # though none of them has come to the front
    await acron_time.advance(days=12)
    assert kept == ["tea"]


async def test_a_cancelled_timer_moves_no_time(acron_time: VirtualTime) -> None:
    loop = asyncio.get_running_loop()
    timer = loop.call_later(5, pytest.fail)
    loop.call_later(2, timer.cancel)
    await asyncio.sleep(9)
    assert (acron_time.now() - START).total_seconds() == 9


async def test_what_fails_in_a_callback_is_handled_by_the_loop(acron_time: VirtualTime) -> None:
    loop, told = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))
    loop.call_later(1, int, "tea")
    ended: list[str] = []
    loop.call_later(1, ended.append, "after it")
    await acron_time.advance(1)
    assert len(told) == 1
    assert "tea" in told[0]
    assert ended == ["after it"]


async def test_callbacks_have_their_turns(acron_time: VirtualTime) -> None:
    """What a callback makes ready runs a turn later, after all that was ready before."""
    loop, order = asyncio.get_running_loop(), []

    def first() -> None:
        order.append("first")
        loop.call_soon(order.append, "third")

    loop.call_soon(first)
    loop.call_soon(order.append, "second")
    await acron_time.settle()
    assert order == ["first", "second", "third"]


async def test_what_was_to_be_next_may_be_cancelled(acron_time: VirtualTime) -> None:
    loop, told = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))
    handle = loop.call_soon(pytest.fail)
    assert not handle.cancelled()
    handle.cancel()
    assert handle.cancelled()
    loop.call_soon(int, "tea")
    await acron_time.settle()
    assert [text.partition("'")[2] for text in told] == ["tea'"]


def test_a_closed_loop_takes_nothing() -> None:
    with virtual_time(), asyncio.Runner() as runner:
        loop = runner.get_loop()
        runner.run(asyncio.sleep(1))
        runner.close()
        for call in (loop.call_soon, lambda what: loop.call_later(1, what)):
            with pytest.raises(RuntimeError, match="closed"):
                call(print)


async def test_sockets_within_the_process_come_before_the_next_timer(
    acron_time: VirtualTime,
) -> None:
    here, there = socket.socketpair()
    here.setblocking(False)
    there.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        for _ in range(50):
            await loop.sock_sendall(here, b"tea")
            async with asyncio.timeout(1):
                assert await loop.sock_recv(there, 3) == b"tea"
    finally:
        here.close()
        there.close()
    assert acron_time.now() == START


def test_a_loop_with_turns_of_its_own_keeps_them() -> None:
    class Counting(asyncio.SelectorEventLoop):
        turns = 0

        def _run_once(self) -> None:
            self.turns += 1
            super()._run_once()  # type: ignore[misc]

    with virtual_time() as time, asyncio.Runner(loop_factory=Counting) as runner:
        runner.run(asyncio.sleep(DAY))
        assert (time.now() - START).days == 1
        loop = runner.get_loop()
    assert isinstance(loop, Counting)
    assert loop.turns > 3


def test_a_loop_that_has_no_signals() -> None:
    """As on Windows, where only the selector loop can be had in virtual time."""
    with (
        virtual_time() as acron_time,
        asyncio.Runner(loop_factory=BaseSelectorEventLoop) as runner,
    ):
        runner.run(asyncio.sleep(DAY))
        assert (acron_time.now() - START).days == 1


def test_a_loop_that_has_its_own_time_back_sleeps_by_it() -> None:
    async def main() -> float:
        with virtual_time() as virtual:
            await virtual.advance(days=3650)
        busy = asyncio.create_task(_turns(200))
        began = time.monotonic()
        await asyncio.sleep(0.05)
        await busy
        return time.monotonic() - began

    assert asyncio.run(main()) > 0.04


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
