"""What is due when: heaps by what an action needs, so that what cannot run here costs nothing.

What is far away is no row yet: of a job whose ten minutes have not come up, only the id is kept.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    #: When, the rank and id of the job, and which pending run of it ("" for its own instant).
    Row = tuple[datetime, int, str, str]
    Valid = Callable[[str, Row], bool]
    #: The row of the job with that id, if the job is due some time and has that need.
    RowOf = Callable[[str, str], Row | None]

#: Ids in one span; what is more becomes rows at once, so that no span takes long to unfold.
CROWD = 10_000

#: Moving a row from heap to heap costs about as much as a look at so many.
_SINGLY = 40


class Queue:
    """The rows of one kind of action: ``later`` ones, and those already seen ``owed``.

    Rows are never taken out of the middle: a row that no longer holds is dropped by whoever
    meets it. Jobs that are due in a span after ``near`` are ids in ``far``.
    """

    __slots__ = (
        "_far",
        "_first",
        "_latest",
        "_near",
        "_row_of",
        "_spans",
        "horizon",
        "later",
        "needs",
        "owed",
    )

    def __init__(self, needs: str, row_of: RowOf) -> None:
        self.needs = needs
        self.later: list[Row] = []
        self.owed: list[Row] = []
        self.horizon: datetime | None = None
        self._row_of = row_of
        self._far: dict[int, list[str]] = {}
        self._spans: list[int] = []  # those of ``far``, as a heap
        self._first: datetime | None = None  # when the first of them begins
        self._near = 0
        self._latest: datetime | None = None  # the instant of the newest row

    def push(self, row: Row) -> None:
        due_at, _, job_id, run_id = row
        if not run_id and (span := _span(due_at)) > self._near:
            ids = self._far.get(span)
            if ids is None:
                self._far[span] = [job_id]
                heappush(self._spans, span)
                if self._spans[0] == span:
                    self._first = _begin(span)
                return
            if len(ids) < CROWD:
                ids.append(job_id)
                return
        heappush(self.later, self._sharing(row))

    def _sharing(self, row: Row) -> Row:
        """``row`` with the very instant of the row before it, if they are equal: of many that
        are due together, a heap then compares addresses, and not calendars."""
        latest = self._latest
        if row[0] == latest:
            return latest, row[1], row[2], row[3]
        self._latest = row[0]
        return row

    def unfold(self, until: datetime | None = None) -> int:
        """Make rows of the ids that are due in the span of ``until`` or before, or else of
        those that may come before the first of ``later``; how many of them were stale."""
        if until is None and self.later:
            until = self.later[0][0]
        first = self._first
        if first is None or (until is not None and until < first):
            return 0
        stale, spans = 0, self._spans
        fresh: list[Row] = []
        while first is not None and (until is None or until >= first):
            self._near = span = heappop(spans)
            self._first = first = _begin(spans[0]) if spans else None
            ids = self._far.pop(span)
            for job_id in set(ids):
                row = self._row_of(self.needs, job_id)
                if row is not None and _span(row[0]) == span:
                    fresh.append(self._sharing(row))
                    until = until or row[0]
            stale += len(ids)
        if fresh:
            self.later += fresh
            self.later.sort()  # a heap like any other, and quicker to take from than most
        return stale - len(fresh)

    def owe(self, row: Row) -> None:
        """Put back a row that is due and could not be claimed."""
        if self.horizon is None or row[0] > self.horizon:
            self.horizon = row[0]
        heappush(self.owed, row)

    def look(self, after: datetime) -> None:
        """Have only what is later than ``after`` in ``later``; the others are owed."""
        later = self.later
        if self.horizon is not None and after < self.horizon and self.owed:
            later.extend(self.owed)  # the clock was set back
            heapify(later)
            self.owed.clear()
            self.horizon = after
        for _ in range(len(later) // _SINGLY + 1):
            if not later or later[0][0] > after:
                return
            self.owe(heappop(later))
        # A crowd, as after an outage: looking at every row once is quicker, and holds no loop.
        due = [row for row in later if row[0] <= after]
        if due:
            self.later = later = [row for row in later if row[0] > after]
            newest = max(due)[0]
            self.horizon = newest if self.horizon is None else max(newest, self.horizon)
            self.owed += due
            heapify(later)
            heapify(self.owed)


class Agenda:
    """All rows, by due instant, then by their jobs' rank and id."""

    __slots__ = ("_queues", "_row_of", "size")

    def __init__(self, row_of: RowOf) -> None:
        self._queues: dict[str, Queue] = {}
        self._row_of = row_of
        self.size = 0  # rows and ids held, stale ones included

    def push(self, needs: str, row: Row) -> None:
        """Put in the row of a job or run that is stored already."""
        queue = self._queues.get(needs)
        if queue is None:
            queue = self._queues[needs] = Queue(needs, self._row_of)
        queue.push(row)
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
                self.size -= queue.unfold(now)
                for heap in (queue.owed, queue.later):
                    if heap and heap[0][0] <= now:
                        heads.append((heap[0], len(heads), queue, heap))
        if len(heads) <= 1:  # nothing to merge
            for _, _, queue, heap in heads:
                while heap and heap[0][0] <= now:
                    self.size -= 1
                    yield queue, heappop(heap)
            return
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
        heaps: list[tuple[str, list[Row]]] = []
        front: list[tuple[Row, int, int]] = []
        for queue in self._queues.values():
            self.size -= queue.unfold(before)
            for heap in (queue.owed, queue.later):
                if heap and heap[0][0] < before:
                    front.append((heap[0], len(heaps), 0))
                    heaps.append((queue.needs, heap))
        heapify(front)
        while front:
            row, which, place = heappop(front)
            needs, heap = heaps[which]
            # A heap's rows are looked at only below one that is early enough.
            for below in (2 * place + 1, 2 * place + 2):
                if below < len(heap) and heap[below][0] < before:
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
            self.size -= queue.unfold(after)
            queue.look(after)
            later = queue.later
            self.size -= queue.unfold()
            while later and not valid(queue.needs, later[0]):
                heappop(later)
                self.size -= 1 + queue.unfold()
            if later and (earliest is None or later[0][0] < earliest):
                earliest = later[0][0]
        return earliest


def _span(instant: datetime) -> int:
    """Which ten minutes since the beginning of the calendar; all instants are UTC."""
    return (instant.toordinal() * 24 + instant.hour) * 6 + instant.minute // 10


def _begin(span: int) -> datetime:
    """The first instant of a span."""
    day, minutes = divmod(10 * span, 24 * 60)
    return datetime.fromordinal(day).replace(tzinfo=UTC) + timedelta(minutes=minutes)
