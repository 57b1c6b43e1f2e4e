"""A thread beside the loop: it sees when something blocks the loop, and names the job and line.

It asks the loop for an answer a few times a second. While none comes, it looks at the frames of
the loop's thread, says once who is to blame, and keeps the node alive, for a bounded time. What
holds the interpreter itself (a C extension that never lets go of the GIL) stops this thread too:
then the block is told afterwards, and without its cause if the frames have moved on.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import sysconfig
import threading
from collections import deque
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from acron.contain import text_of
from acron.runtime.run import contain, current_attempt
from acron.text import one_line

if TYPE_CHECKING:
    from datetime import datetime
    from types import CodeType, FrameType

    from acron.abc import Store
    from acron.clock import Clock
    from acron.model import Settings
    from acron.runtime.pulse import Pulse
    from acron.runtime.run import Attempt

log = logging.getLogger("acron.runtime")

#: Blocks that are remembered, to explain the runs that they made late.
KEPT = 16
#: Seconds between two words to the store while a block lasts.
TELL_INTERVAL = 1.0
#: Frames of a stack that are logged, the innermost first.
_DEPTH = 8

_HANDLE: CodeType = asyncio.Handle._run.__code__  # noqa: SLF001
_CONTAIN = contain.__code__
_PATHS = sysconfig.get_paths()
_OURS = f"{Path(__file__).parents[1]}/"
_ASYNCIO = f"{Path(asyncio.__file__).parent}/"
#: Where the loop itself stands; what is further out has called the loop.
_LOOP = tuple(f"{_ASYNCIO}{name}.py" for name in ("base_events", "runners", "events"))
_IDLE = (*_LOOP, f"{_PATHS['stdlib']}/selectors.py")
_INSTALLED = tuple({f"{_PATHS[name]}/" for name in ("purelib", "platlib")})
_STANDARD = (f"{_PATHS['stdlib']}/", f"{_PATHS['platstdlib']}/", "<frozen ")


class Culprit(NamedTuple):
    """What blocked the loop: the ``attempt`` if it was a job, ``place`` as ``report.py:88``,
    ``stack`` with whole paths, the innermost frame of people's code first."""

    attempt: Attempt | None
    place: str
    stack: str

    @property
    def who(self) -> str:
        return "the program itself" if self.attempt is None else f"job {self.attempt.job.id}"

    def __str__(self) -> str:
        return f"{self.who} at {self.place}"


class Block(NamedTuple):
    """The loop stood still between these instants; ``seconds`` is how long we know of."""

    began: datetime
    ended: datetime
    seconds: float
    culprit: Culprit | None

    @property
    def note(self) -> str:
        """What the record of a run says that was late because of it."""
        by = "" if self.culprit is None else f" by {self.culprit.place}"
        return f"late (loop blocked {self.seconds:.1f} s{by})"


def excuse(blocks: tuple[Block, ...], due_at: datetime) -> str | None:
    """Why a run that was due then starts late; None when no block is to blame."""
    for block in reversed(blocks):
        if block.began <= due_at <= block.ended:
            return block.note
    return None


def culprit_of(innermost: FrameType) -> Culprit | None:
    """Whom the frames of a loop's thread show at work; None when the loop is only waiting."""
    attempt: Attempt | None = None
    inside: list[FrameType] = []
    frame: FrameType | None = innermost
    while frame is not None and frame.f_code is not _HANDLE:
        if frame.f_code is _CONTAIN:  # a loop that is not asyncio's own has no such handle
            attempt = frame.f_locals.get("attempt")
        if frame.f_code.co_filename in _LOOP:
            break
        inside.append(frame)
        frame = frame.f_back
    if frame is not None and frame.f_code is _HANDLE:
        # Also of a task that the job has made, or of a callback: its context is a copy.
        context = getattr(frame.f_locals.get("self"), "_context", None)
        attempt = (context and context.get(current_attempt)) or attempt
    elif attempt is None and innermost.f_code.co_filename in _IDLE:
        return None
    told = _people(inside) or [innermost]
    stack = " < ".join(_where(one) for one in told[:_DEPTH])
    place = f"{Path(told[0].f_code.co_filename).name}:{told[0].f_lineno}"
    return Culprit(attempt, one_line(place, 200), one_line(stack))


def _people(frames: list[FrameType]) -> list[FrameType]:
    """Frames of people's own code; failing that, of the libraries that they use."""
    libraries = [one for one in frames if not one.f_code.co_filename.startswith(_OURS)]
    own = [one for one in libraries if not one.f_code.co_filename.startswith(_INSTALLED)]
    written = [one for one in own if not one.f_code.co_filename.startswith(_STANDARD)]
    return written or [one for one in libraries if not one.f_code.co_filename.startswith(_ASYNCIO)]


def _where(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


class Watchdog:
    """Watches the loop on which it was started, from a thread of its own.

    A loop that does not answer for ``blocked_after`` seconds is blocked; 0 watches nothing. After
    ``blocked_limit`` seconds of it the node is no longer kept alive by a lease. A loop in virtual
    time (acron.testing) has no time to lose, and is not watched.
    """

    def __init__(self, settings: Settings, clock: Clock, pulse: Pulse, store: Store) -> None:
        self._after = settings.blocked_after
        self._limit = settings.blocked_limit
        self._period = min(max(self._after / 4, 0.02), 1.0)
        self._clock = clock
        self._pulse = pulse
        self._store = store
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._gone = asyncio.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()  # over what follows: an answer, or a look, as a whole
        self._asked = 0.0
        self._answered = True
        self._culprit: Culprit | None = None
        self._blocked = False  # since a look of the thread
        self._told_at = 0.0
        self._blocks: deque[Block] = deque(maxlen=KEPT)

    def start(self) -> None:
        """Watch the running loop."""
        self._loop = asyncio.get_running_loop()
        if self._after <= 0 or hasattr(self._loop, "acron_hold"):
            return
        self._thread = threading.Thread(
            target=self._watch,
            args=(self._loop, threading.get_ident()),
            name="acron-watchdog",
            daemon=True,
        )
        self._thread.start()

    async def stop(self) -> None:
        """End the thread; bounded, should it be stuck in the store."""
        self._stop.set()
        if self._thread is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._gone.wait()

    def recent(self) -> tuple[Block, ...]:
        """The newest blocks, oldest first. On the loop."""
        if self._answered and not self._blocks:
            return ()
        with self._lock:
            lag = self._clock.monotonic() - self._asked
            if not self._answered and lag >= self._after:
                # It has ended, since we are here; our answer waits its turn.
                return (*self._blocks, self._block(lag))
            return tuple(self._blocks)

    def _block(self, lag: float) -> Block:
        ended = self._clock.now()
        began = ended - timedelta(seconds=lag + self._period)  # it began before we asked
        return Block(began, ended, lag, self._culprit)

    def _answer(self) -> None:
        """On the loop: it goes on."""
        with self._lock:
            lag = self._clock.monotonic() - self._asked
            self._answered = True
            if lag < self._after:
                return
            block = self._block(lag)
            self._blocks.append(block)
            self._culprit = None
        if block.culprit is None:
            why = "by what was not seen: the process was stopped, or a call held the interpreter"
            log.warning("the loop was blocked for %.1f s, %s", lag, why)
        else:  # which was told when it was seen
            log.info("the loop was blocked for %.1f s by %s", lag, block.culprit)

    # --- in the thread

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        try:
            while not self._stop.wait(self._period):
                self._look(loop, thread)
            loop.call_soon_threadsafe(self._gone.set)
        except RuntimeError as error:  # the loop is closed
            log.debug("the watchdog ends: %s", error)

    def _look(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        now = self._clock.monotonic()
        with self._lock:
            if self._answered:
                over, self._blocked = self._blocked, False
                self._answered, self._asked = False, now
                loop.call_soon_threadsafe(self._answer)
                lag = 0.0
            else:
                over, lag = False, now - self._asked
                if lag < self._after:
                    return
                if not self._blocked:
                    frame = sys._current_frames().get(thread)  # noqa: SLF001 (the only way)
                    self._culprit = None if frame is None else culprit_of(frame)
                    if self._culprit is None:  # the loop waits: it was this process that stood
                        return
            culprit = self._culprit
        if over:
            self._tell(None, keep=True)
        elif lag and culprit is not None:
            if not self._blocked:
                self._blocked = True
                log.error("the loop is blocked by %s: %s", culprit.who, culprit.stack)
            if now - self._told_at >= TELL_INTERVAL:
                self._told_at = now
                self._tell(culprit, keep=lag < self._limit)

    def _tell(self, culprit: Culprit | None, *, keep: bool) -> None:
        """Others are to see it, while the loop cannot say a word."""
        blocked = None if culprit is None else str(culprit)
        node = replace(self._pulse.sent, blocked=blocked, heartbeat_at=self._clock.now())
        try:
            self._store.beat_blocked(node, keep=keep)
        except BaseException as error:  # noqa: BLE001 (a thread of ours, and a stranger's store)
            log.warning("%s", one_line(f"cannot tell of the blocked loop: {text_of(error)}"))
