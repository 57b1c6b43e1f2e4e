"""A process that is there to fire: it ends when it is told to."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from acron.runtime.run import contain_children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger("acron")


@contextmanager
def until_signal(hurry: Callable[[], object]) -> Iterator[asyncio.Event]:
    """An event that SIGINT, SIGTERM or SIGHUP sets; a second one calls ``hurry``.

    The loop is the process's own: a job's child tasks shall not end it either.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        name = signal.Signals(number).name
        if stop.is_set():
            log.warning("%s again: ending at once", name)
            hurry()
        else:
            log.info("%s: draining; once more, and what runs is interrupted", name)
            stop.set()

    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup has it ignored
        signals.append(signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, on_signal, number)
    contain_children(loop)
    try:
        yield stop
    finally:
        loop.set_task_factory(None)
        for number in signals:
            loop.remove_signal_handler(number)
