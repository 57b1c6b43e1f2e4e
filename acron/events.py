"""What an app tells whoever listens, typed, in this process."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Self
from weakref import ref

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from acron.model import Incident, Job, Run, Skip


class Event(Struct, frozen=True):
    """The root of all events; ``at`` is aware UTC."""

    at: datetime


class Started(Event, frozen=True):
    """A claim is durable and its run begins."""

    job: Job
    run: Run


class Finished(Event, frozen=True):
    """A run's end is durable. ``run.state`` is its outcome; ``retry`` the next attempt."""

    job: Job
    run: Run
    retry: Run | None = None


class Skipped(Event, frozen=True):
    """Occurrences that did not run, and why."""

    job: Job
    skip: Skip


class Delivered(Event, frozen=True):
    """A run's output went out, or did not: see ``run.deliveries``."""

    job: Job
    run: Run


class Alerted(Event, frozen=True):
    """An incident of a job: something failed, was missed, or did not fire."""

    job: Job
    incident: Incident


class Progressed(Event, frozen=True):
    """A job told how far it is, by ``ctx.progress``."""

    job: Job
    run: Run
    done: float
    total: float | None
    note: str


class Troubled(Event, frozen=True):
    """Something of acron's own failed: a tick, a provider, the store. The app goes on."""

    what: str
    error: str


class Dropped(Event, frozen=True):
    """The listener was too slow: ``count`` events before the next one are missing."""

    count: int


class Events:
    """Fans events out to listeners, each with a bounded buffer of its own."""

    def __init__(self, *, buffer: int = 10_000) -> None:
        self._buffer = buffer
        self._listeners: set[ref[_Listener]] = set()
        self._closed = False
        #: Whether anyone listens; the hot path builds no event for nobody.
        self.wanted = False

    def emit(self, event: Event) -> None:
        for listener in self._heard_by():
            listener.put(event)

    def _heard_by(self) -> list[_Listener]:
        return [found for one in list(self._listeners) if (found := one()) is not None]

    def open(self) -> None:
        self._closed = False

    def close(self) -> None:
        """End every iterator once it has given what it holds."""
        self._closed = True
        for listener in self._heard_by():
            listener.close()

    def subscribe(self) -> AsyncIterator[Event]:
        """All events from this call on, until the app is closed or the iterator is dropped."""
        listener = _Listener(self._buffer)
        if self._closed:
            listener.close()
        else:
            self._listeners.add(ref(listener, self._left))
            self.wanted = True
        return listener

    def _left(self, listener: ref[_Listener]) -> None:
        self._listeners.discard(listener)
        self.wanted = bool(self._listeners)


class _Listener:
    """An iterator over what was put in; holds the newest ``buffer`` events."""

    def __init__(self, buffer: int) -> None:
        self._events: deque[Event] = deque()
        self._buffer = buffer
        self._dropped = 0
        self._closed = False
        self._wake = asyncio.Event()

    def put(self, event: Event) -> None:
        if len(self._events) >= self._buffer:
            self._events.popleft()
            self._dropped += 1
        self._events.append(event)
        self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._events and not self._closed:
            self._wake.clear()
            await self._wake.wait()
        if not self._events:
            raise StopAsyncIteration
        if self._dropped:
            count, self._dropped = self._dropped, 0
            return Dropped(self._events[0].at, count)
        return self._events.popleft()
