"""A store, an adapter, an action and a schedule of somebody else's, as small as they come.

Real ones reach a database, a platform, a service. These show where the edges are; the suites in
``test_third_party.py`` show that acron can rely on them.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from acron import Adapter, InvalidJob, Receipt, Schedule
from acron.abc import Action
from acron.stores.memory import MemoryStore
from acron.text import many_lines

if TYPE_CHECKING:
    from acron import Context, Message

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CountingStore(MemoryStore):
    """A store around another one: it counts what is claimed. Everything else is inherited."""

    claimed = 0

    @property
    def address(self) -> str:
        return "counting://"

    async def claim(self, *args: Any, **options: Any) -> list[Any]:
        decisions = await super().claim(*args, **options)
        self.claimed += len(decisions)
        return decisions


class BoardAdapter(Adapter):
    """Pins what it is told to a board; a note's number is the evidence."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @property
    def name(self) -> str:
        return "board"

    async def send(self, message: Message) -> Receipt:
        self.notes.append(many_lines(message.text))  # no secrets, no control characters
        return Receipt(id=str(len(self.notes)))


class WaitAction(Action):
    """Waits: ``Custom("wait", {"seconds": 2})``."""

    waiting = 0

    @property
    def name(self) -> str:
        return "wait"

    def check(self, spec: Any) -> None:
        seconds = spec.data.get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise InvalidJob("expected a number of seconds", where="$.data.seconds")

    async def run(self, spec: Any, ctx: Context) -> str:  # noqa: ARG002
        seconds = spec.data["seconds"]
        if seconds < 0:
            raise ValueError(f"nobody can wait {seconds} s")
        self.waiting += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self.waiting -= 1
        return f"waited {seconds} s"


class Decades(Schedule):
    """Every ten thousand seconds since 1970, times ``step``."""

    def __init__(self, step: int) -> None:
        self.every = timedelta(seconds=10_000 * step)

    def next_after(self, instant: datetime) -> datetime | None:
        try:
            return max(EPOCH, EPOCH + ((instant - EPOCH) // self.every + 1) * self.every)
        except OverflowError:
            return None

    def last_at(self, instant: datetime) -> datetime | None:
        return None if instant < EPOCH else EPOCH + (instant - EPOCH) // self.every * self.every

    def count(self, after: datetime, until: datetime) -> int:
        def so_far(instant: datetime) -> int:
            return max((instant - EPOCH) // self.every + 1, 0)

        return max(so_far(until) - so_far(after), 0)

    def describe(self) -> str:
        return f"every {self.every.total_seconds():g} seconds since 1970"

    def __str__(self) -> str:
        return f"decades {self.every // timedelta(seconds=10_000)}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decades) and self.every == other.every

    def __hash__(self) -> int:
        return hash(self.every)
