"""acron's own threads, on a real loop: what is waited for is an event, never a duration."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest

from acron.threads import Threads, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 10.0  # seconds after which a test that hangs has failed


class Gate:
    """A blocking function that says when it is in, and stays until it is let go."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self, value: str = "through") -> str:
        self.inside.release()
        assert self._open.wait(PATIENCE)
        return value

    def open(self) -> None:
        self._open.set()

    async def entered(self, times: int = 1) -> None:
        """Without a worker thread of its own: those are what is tested."""
        while times:
            times -= self.inside.acquire(blocking=False)
            await asyncio.sleep(0)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 (threads set no asyncio.Event)
            await asyncio.sleep(0)


async def test_gives_the_value_of_a_call_made_in_a_daemon_thread() -> None:
    threads = Threads(name="ours")

    def where(*args: int, **kwargs: int) -> tuple[Any, ...]:
        return threading.current_thread(), args, kwargs

    thread, args, kwargs = await threads.run(where, 1, 2, x=3)
    assert thread is not threading.current_thread()
    assert thread.daemon
    assert thread.name.startswith("ours-")
    assert (args, kwargs) == ((1, 2), {"x": 3})


async def test_uses_its_threads_again() -> None:
    threads = Threads()
    seen = {await threads.run(threading.get_ident) for _ in range(20)}
    assert len(seen) == 1


async def test_an_idle_thread_ends() -> None:
    threads = Threads(idle=0.01)
    thread = await threads.run(threading.current_thread)
    await until(lambda: not thread.is_alive())
    assert await threads.run(threading.current_thread) is not thread


async def test_the_context_is_copied() -> None:
    word = contextvars.ContextVar("word", default="none")
    word.set("ours")

    def look_and_set() -> str:
        seen = word.get()
        word.set("the thread's")
        return seen

    assert await Threads().run(look_and_set) == "ours"
    assert word.get() == "ours"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("v"),
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        asyncio.CancelledError("the function's own"),
        StopAsyncIteration(),
    ],
    ids=repr,
)
async def test_what_the_function_raises_comes_as_raised(error: BaseException) -> None:
    def fail() -> None:
        raise error

    threads = Threads()
    with pytest.raises(type(error)) as caught:
        await threads.run(fail)
    assert caught.value is error
    assert (threads.busy, threads.abandoned) == (0, ())
    assert await threads.run(lambda: "the thread lives") == "the thread lives"


async def test_stop_iteration_is_wrapped() -> None:
    def fail() -> None:
        raise StopIteration(7)

    with pytest.raises(RuntimeError, match=r"fail raised StopIteration") as caught:
        await Threads().run(fail)
    assert isinstance(caught.value.__cause__, StopIteration)
    assert caught.value.__cause__.value == 7


async def test_at_the_limit_callers_wait_in_order(gate: Gate) -> None:
    threads = Threads(limit=1)
    order: list[int] = []
    first = asyncio.create_task(threads.run(gate))
    await gate.entered()
    others = [asyncio.create_task(threads.run(order.append, n)) for n in range(5)]
    await asyncio.sleep(0)
    assert threads.busy == 1
    assert order == []
    gate.open()
    assert await first == "through"
    await asyncio.gather(*others)
    assert order == [0, 1, 2, 3, 4]
    assert threads.busy == 0


async def test_a_caller_may_leave_the_queue(gate: Gate) -> None:
    threads = Threads(limit=1)
    ran: list[str] = []
    first = asyncio.create_task(threads.run(gate))
    await gate.entered()
    leaving = asyncio.create_task(threads.run(ran.append, "leaving"))
    staying = asyncio.create_task(threads.run(ran.append, "staying"))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    gate.open()
    await asyncio.gather(first, staying)
    assert ran == ["staying"]
    assert (threads.busy, threads.abandoned) == (0, ())


async def test_a_turn_given_to_one_who_leaves_goes_on_to_the_next(gate: Gate) -> None:
    threads = Threads(limit=1)

    async def first() -> None:
        await threads.run(gate)
        leaving.cancel()  # it was given the turn just now, and has not woken yet

    running = asyncio.create_task(first())
    await gate.entered()
    leaving = asyncio.create_task(threads.run(lambda: "leaving"))
    staying = asyncio.create_task(threads.run(lambda: "staying"))
    await asyncio.sleep(0)
    gate.open()
    async with asyncio.timeout(PATIENCE):
        assert await staying == "staying"
    await asyncio.wait([running, leaving])
    assert leaving.cancelled()
    assert threads.busy == 0


async def test_a_cancelled_call_is_abandoned_at_once_and_named(gate: Gate) -> None:
    threads = Threads(limit=1)
    task = asyncio.create_task(threads.run(gate, label="digest"))
    await gate.entered()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert threads.abandoned == ("digest",)
    assert threads.busy == 0
    assert await threads.run(lambda: "its place is free") == "its place is free"
    gate.open()
    await until(lambda: not threads.abandoned)


async def test_without_a_label_an_abandoned_call_bears_the_function_s_name() -> None:
    stop = threading.Event()

    def stuck() -> None:
        stop.wait(PATIENCE)

    threads = Threads()
    task = asyncio.create_task(threads.run(stuck))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert [label.rpartition(".")[2] for label in threads.abandoned] == ["stuck"]
    stop.set()


async def test_abandoned_threads_are_replaced_up_to_twice_the_limit(gate: Gate) -> None:
    threads = Threads(limit=2)
    for _ in range(2):
        tasks = [asyncio.create_task(threads.run(gate)) for _ in range(2)]
        await gate.entered(2)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert len(threads.abandoned) == 4
    late = asyncio.create_task(threads.run(lambda: "late"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not late.done()
    assert threads.busy == 0
    gate.open()
    async with asyncio.timeout(PATIENCE):
        assert await late == "late"


async def test_a_call_that_ended_before_the_cancellation_is_not_abandoned(gate: Gate) -> None:
    threads = Threads()
    ended = threading.Event()

    def work() -> None:
        ended.set()

    task = asyncio.create_task(threads.run(work))
    await asyncio.sleep(0)
    assert ended.wait(PATIENCE)
    await until(lambda: task.done() or len(threads._free) == 1)
    task.cancel()
    await asyncio.wait([task])
    assert threads.abandoned == ()


def test_a_result_after_the_loop_is_closed_is_harmless(gate: Gate) -> None:
    threads = Threads()

    async def leave() -> None:
        task = asyncio.create_task(threads.run(gate, label="late"))
        await gate.entered()
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(leave())
    assert threads.abandoned == ("late",)
    gate.open()
    asyncio.run(until(lambda: not threads.abandoned))
    assert asyncio.run(threads.run(lambda: "on another loop")) == "on another loop"


async def test_close_waits_for_what_runs(gate: Gate) -> None:
    threads = Threads()
    task = asyncio.create_task(threads.run(gate))
    await gate.entered()
    closing = asyncio.create_task(threads.close(PATIENCE))
    await asyncio.sleep(0)
    assert not closing.done()
    gate.open()
    await closing
    assert await task == "through"
    with pytest.raises(RuntimeError, match="closed"):
        await threads.run(gate)


async def test_close_refuses_those_who_wait(gate: Gate) -> None:
    threads = Threads(limit=1)
    task = asyncio.create_task(threads.run(gate))
    await gate.entered()
    waiting = asyncio.create_task(threads.run(gate))
    await asyncio.sleep(0)
    closing = asyncio.create_task(threads.close(PATIENCE))
    with pytest.raises(RuntimeError, match="closed"):
        await waiting
    gate.open()
    await asyncio.gather(task, closing)


async def test_close_is_bounded_and_ends_idle_threads(gate: Gate) -> None:
    threads = Threads()
    stuck = asyncio.create_task(threads.run(gate, label="stuck"))
    await gate.entered()
    idle = await threads.run(threading.current_thread)
    await threads.close(0.01)
    stuck.cancel()
    await asyncio.wait([stuck])
    assert threads.abandoned == ("stuck",)
    await until(lambda: not idle.is_alive())


def test_a_stuck_thread_does_not_hold_the_process() -> None:
    program = """
        import asyncio, threading
        from acron.threads import Threads

        async def main():
            task = asyncio.create_task(Threads().run(threading.Event().wait))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            print("left")

        asyncio.run(main())
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert (ended.stdout, ended.stderr) == ("left\n", "")


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Threads(limit=0)


async def test_the_loop_is_held_while_a_call_is_in_flight(gate: Gate) -> None:
    held: list[str] = []

    class Hold:
        def __init__(self, label: str) -> None:
            self.label = label

        def __enter__(self) -> None:
            held.append(self.label)

        def __exit__(self, *_: object) -> None:
            held.remove(self.label)

    asyncio.get_running_loop().acron_hold = Hold  # type: ignore[attr-defined]
    task = asyncio.create_task(Threads().run(gate, label="work"))
    await gate.entered()
    assert held == ["work"]
    gate.open()
    await task
    assert held == []


def test_names_of_functions() -> None:
    from functools import partial

    assert name_of(partial(partial(print, 1), 2)) == "print"
    assert name_of(Gate()).startswith("<")
