"""acron with one of its safeguards taken out: what the simulation has to notice."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from msgspec.structs import replace

from acron import timetable
from acron.model import RunState
from acron.runtime.outbox import Outbox
from acron.stores import book
from acron.stores.book import Book
from acron.stores.json_file import JsonFileStore
from acron.stores.nodes import NodeFiles
from acron.testing.simulation import disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from acron.model import Delivery, End, Run
    from acron.stores.book import Changes

#: So many times an effect comes before its claim: for ever, a story would not end.
_TIMES = 5


def without_compare_and_set() -> AbstractContextManager[Any]:
    """A transaction decides on what it last knew, not on what is there now."""
    return patch.object(JsonFileStore, "_catch_up", lambda _: None)


@contextmanager
def without_the_fence() -> Iterator[None]:
    """Whoever was taken for dead, and whose run was ended, still writes its end."""
    finish = Book.finish

    def unfenced(self: Book, ends: Sequence[End], settle: Any) -> Any:
        for end in ends:
            if (run := self.runs.get(end.run_id)) is not None and run.state.ended:
                self.runs[run.id] = replace(run, state=RunState.RUNNING, token=end.token)
        return finish(self, ends, settle)

    with patch.object(Book, "finish", unfenced), patch.object(disk, "_FENCED", frozenset()):
        yield


@contextmanager
def without_advance_before_effect() -> Iterator[None]:
    """The run is started, and the job still owes the instant."""
    claim, left = Book.claim, iter(range(_TIMES))

    def unadvanced(self: Book, *args: Any) -> Changes:
        changes = claim(self, *args)
        if any(one.runs for one in changes.decisions) and next(left, None) is not None:
            changes.decisions[:] = [
                replace(one, job=self.jobs[job_id])
                for job_id, one in zip(changes.ids, changes.decisions, strict=True)
            ]
        return changes

    with patch.object(Book, "claim", unadvanced):
        yield


def without_fsync() -> AbstractContextManager[Any]:
    return patch.object(disk.FaultyFiles, "sync", lambda *_: None)


@contextmanager
def without_proof_of_death() -> Iterator[None]:
    """Whoever is somebody else is taken for dead."""
    with ExitStack() as stack:
        stack.enter_context(
            patch.object(disk.Database, "_dead", lambda self, node: node != self._node)
        )
        stack.enter_context(patch.object(NodeFiles, "dead", lambda self, node: node != self.own))
        yield


@contextmanager
def without_the_sending_mark() -> Iterator[None]:
    """A message goes out, and until it was taken nothing says that it may be out."""
    mark = Outbox.mark
    unsaid: dict[tuple[str, str], Delivery] = {}

    async def unmarked(self: Outbox, old: Delivery, new: Delivery) -> bool:
        place = self.run.id, old.target
        if new.state == "sending":
            unsaid[place] = old
            return True
        return await mark(self, unsaid.pop(place, old), new)

    with patch.object(Outbox, "mark", unmarked):
        yield


def without_the_skips_of_an_edit() -> AbstractContextManager[Any]:
    """What an old schedule still owed is forgotten when another one takes its place."""
    return patch.object(timetable, "_given_up", lambda *_: ())


@contextmanager
def with_a_blind_resend() -> Iterator[None]:
    """What a dead node was sending is sent again, as if it could not have arrived."""

    def adopted(run: Run, heir: str, _: object) -> Run:
        again = (
            replace(one, state="pending") if one.state == "sending" else one
            for one in run.deliveries
        )
        return replace(run, node=heir, deliveries=tuple(again))

    with patch.object(book, "adopted", adopted):
        yield


#: Each with seeds that were red with it, and the invariants that may show it.
MUTATIONS: dict[Callable[[], AbstractContextManager[Any]], tuple[tuple[int, ...], set[str]]] = {
    without_compare_and_set: ((3, 8, 13), {"I2"}),
    without_the_fence: ((2, 33, 42), {"I5"}),
    without_advance_before_effect: ((3, 4, 8), {"I1", "I2", "I8"}),
    without_fsync: ((7, 31, 49), {"I5", "I10"}),
    without_proof_of_death: ((5, 9, 13), {"I2"}),
    without_the_sending_mark: ((5, 22, 27), {"I13"}),
    with_a_blind_resend: ((5, 22, 27), {"I13"}),
    without_the_skips_of_an_edit: ((129,), {"I1"}),
}
