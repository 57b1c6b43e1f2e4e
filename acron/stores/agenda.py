"""What is due when: heaps by what an action needs, so that what cannot run here costs nothing."""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from datetime import datetime

    #: When, the rank and id of the job, and which pending run of it ("" for its own instant).
    Row = tuple[datetime, int, str, str]
    Valid = Callable[[str, Row], bool]


class Queue:
    """The rows of one kind of action: ``later`` ones, and those already seen ``owed``.

    Rows are never taken out of the middle: a row that no longer holds is dropped by whoever
    meets it.
    """

    __slots__ = ("horizon", "later", "needs", "owed")

    def __init__(self, needs: str) -> None:
        self.needs = needs
        self.later: list[Row] = []
        self.owed: list[Row] = []
        self.horizon: datetime | None = None

    def owe(self, row: Row) -> None:
        """Put back a row that is due and could not be claimed."""
        if self.horizon is None or row[0] > self.horizon:
            self.horizon = row[0]
        heappush(self.owed, row)

    def look(self, after: datetime) -> list[Row]:
        """The heap of the rows later than ``after``; the others are set aside as owed."""
        later = self.later
        if self.horizon is not None and after < self.horizon and self.owed:
            later.extend(self.owed)  # the clock was set back
            heapify(later)
            self.owed.clear()
            self.horizon = after
        while later and later[0][0] <= after:
            self.owe(heappop(later))
        return later


class Agenda:
    """All rows, by due instant, then by their jobs' rank and id."""

    __slots__ = ("_queues", "size")

    def __init__(self) -> None:
        self._queues: dict[str, Queue] = {}
        self.size = 0  # rows held, stale ones included

    def push(self, needs: str, row: Row) -> None:
        queue = self._queues.get(needs)
        if queue is None:
            queue = self._queues[needs] = Queue(needs)
        heappush(queue.later, row)
        self.size += 1

    def put_back(self, left: list[tuple[Queue, Row]]) -> None:
        """Return rows that ``take`` gave and that are still owed."""
        for queue, row in left:
            queue.owe(row)
        self.size += len(left)

    def take(self, now: datetime, can_run: Collection[str]) -> Iterator[tuple[Queue, Row]]:
        """Take out what is due, oldest first. Nothing may be pushed meanwhile."""
        heads: list[tuple[Row, int, Queue, list[Row]]] = []
        for queue in self._queues.values():
            if queue.needs in can_run:
                heads.extend(
                    (heap[0], 2 * len(heads) + place, queue, heap)
                    for place, heap in enumerate((queue.owed, queue.later))
                    if heap and heap[0][0] <= now
                )
        heapify(heads)
        while heads:
            _, place, queue, heap = heads[0]
            self.size -= 1
            yield queue, heappop(heap)
            if heap and heap[0][0] <= now:
                heapreplace(heads, (heap[0], place, queue, heap))
            else:
                heappop(heads)

    def earlier(self, before: datetime) -> Iterator[tuple[str, Row]]:
        """What is due before ``before``, oldest first, and what it needs; nothing is taken out."""
        heaps = [
            (queue.needs, heap)
            for queue in self._queues.values()
            for heap in (queue.owed, queue.later)
        ]
        # A heap's rows are looked at only below one that is early enough.
        front = [(heap[0], which, 0) for which, (_, heap) in enumerate(heaps) if heap]
        heapify(front)
        while front and front[0][0][0] < before:
            row, which, place = heappop(front)
            needs, heap = heaps[which]
            for below in (2 * place + 1, 2 * place + 2):
                if below < len(heap):
                    heappush(front, (heap[below], which, below))
            yield needs, row

    def next_after(
        self, after: datetime, can_run: Collection[str], valid: Valid
    ) -> datetime | None:
        """The earliest instant later than ``after``."""
        earliest: datetime | None = None
        for queue in self._queues.values():
            if queue.needs not in can_run:
                continue
            later = queue.look(after)
            while later and not valid(queue.needs, later[0]):
                heappop(later)
                self.size -= 1
            if later and (earliest is None or later[0][0] < earliest):
                earliest = later[0][0]
        return earliest
