"""What a task waits for, to tell people."""
# ruff: noqa: SLF001 - a task has no public door to who waits for it

from __future__ import annotations

from asyncio import base_events
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator
    from types import CodeType


def _chain(task: asyncio.Task[Any]) -> Iterator[Any]:
    """The coroutine of a task, the one it awaits, and so on inwards."""
    coroutine: Any = task.get_coro()
    while hasattr(coroutine, "cr_frame"):
        yield coroutine
        coroutine = coroutine.cr_await


def codes(task: asyncio.Task[Any]) -> list[CodeType]:
    """Of all that it is in."""
    return [coroutine.cr_code for coroutine in _chain(task)]


def where(task: asyncio.Task[Any]) -> str:
    """The innermost line that is not asyncio's own."""
    frames = [c.cr_frame for c in _chain(task) if c.cr_frame is not None]
    ours = [f for f in frames if not f.f_globals.get("__name__", "").startswith("asyncio")]
    if not (ours or frames):
        return repr(task.get_coro())
    frame = (ours or frames)[-1]
    return f"{frame.f_code.co_qualname}, {frame.f_code.co_filename}:{frame.f_lineno}"


def is_main(task: asyncio.Task[Any]) -> bool:
    """Whether it is what ``run_until_complete`` runs."""
    callbacks: list[tuple[Any, Any]] = task._callbacks or []
    return any(callback is base_events._run_until_complete_cb for callback, _ in callbacks)  # type: ignore[attr-defined]
