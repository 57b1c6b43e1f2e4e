"""Telling a cancellation that is meant for us from anything that people's code makes up.

A task of acron's catches ``BaseException`` in its top frame: ``SystemExit`` or
``KeyboardInterrupt`` that left it would end the host's loop. Only what is really meant for the
task itself goes on its way.
"""

from __future__ import annotations

import asyncio


def meant_for_us(error: BaseException) -> bool:
    """Whether ``error`` must be raised again: this task is being cancelled, or its coroutine is
    closed after its loop's end. A ``CancelledError`` without that is somebody's own."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs any more
        return isinstance(error, GeneratorExit | asyncio.CancelledError)
    if isinstance(error, asyncio.CancelledError):
        return task is not None and task.cancelling() > 0
    return False


def text_of(error: BaseException) -> str:
    """``ValueError: what it says``; safe for errors whose ``__str__`` is itself at fault."""
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException as fault:  # noqa: BLE001 (people's code)
        return f"{name} (and its text cannot be read: {type(fault).__name__})"
    return f"{name}: {text}" if text else name
