"""acron with one of its safeguards taken out: what the simulation has to notice."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from msgspec.structs import replace

from acron import schedules, timetable
from acron.model import Decision, Due, Job, RunState
from acron.runtime import Runtime, due, keepers, record
from acron.runtime.claim import Decider
from acron.runtime.outbox import Outbox
from acron.runtime.run import Attempt
from acron.runtime.supervise import Supervisor
from acron.stores import book
from acron.stores.book import Book
from acron.stores.json_file import JsonFileStore
from acron.stores.ledger import Ledger
from acron.stores.nodes import NodeFiles
from acron.testing.simulation import database, disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

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

    with patch.object(Book, "finish", unfenced), patch.object(database, "_FENCED", frozenset()):
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
            patch.object(database.Database, "_dead", lambda self, node: node != self._node)
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


def without_leases() -> AbstractContextManager[Any]:
    """A node whose lease has lapsed goes on as if it had not."""
    return patch.object(database, "_FENCED", frozenset())


def without_other_nodes_runs() -> AbstractContextManager[Any]:
    """What runs on other nodes stands in nobody's way."""
    decide = Decider.__call__

    def alone(self: Decider, one: Due, mint: Callable[[], int]) -> Decision | None:
        live = tuple(run for run in one.live if run.node in {None, self.node})
        return decide(self, Due(one.job, one.run, live), mint)

    return patch.object(Decider, "__call__", alone)


def without_keys() -> AbstractContextManager[Any]:
    """Jobs of the same key do not see each other."""
    standing = Book.standing
    return patch.object(Book, "standing", lambda self, job_id, _: standing(self, job_id, None))


@contextmanager
def without_pauses() -> Iterator[None]:
    """A paused job fires on."""
    instant = Decider._instant

    def fires(self: Decider, job: Job, *rest: Any) -> Decision | None:
        return instant(self, replace(job, paused=None, paused_until=None), *rest)

    def due_at(job: Job) -> datetime | None:
        return None if job.completed or job.error is not None else job.next_fire_at

    with (
        patch.object(Decider, "_instant", fires),
        patch.object(Job, "due_at", property(due_at)),
    ):
        yield


def without_a_bound_of_attempts() -> AbstractContextManager[Any]:
    return patch.object(
        record, "worth_retrying", lambda _, run, __: run.attempt < 2 * record.RERUNS
    )


def without_the_bound_of_a_node() -> AbstractContextManager[Any]:
    """It starts all that is due."""
    return patch.object(Runtime, "free", property(lambda self: 100 * (not self.draining)))


def without_coalescing() -> AbstractContextManager[Any]:
    """Each instant of a backlog starts, whatever its job says."""
    return patch.object(due, "starts_each", lambda _: True)


def without_grace() -> AbstractContextManager[Any]:
    """What is late starts, whatever its job says."""
    return patch.object(due, "_judge", lambda _, __, owed, *___: owed)


@contextmanager
def _reading(name: str, how: Callable[..., Any]) -> Iterator[None]:
    """Schedules are read with ``how`` in the place of ``name``, and none is known from before."""
    timetable.forget_zones()
    with patch.object(timetable, name, how):
        yield
    timetable.forget_zones()


def without_an_end() -> AbstractContextManager[Any]:
    """A job goes on after its ``until``."""
    return _reading("bounded", lambda schedule, *_: schedule)


def with_both_hours_of_a_night() -> AbstractContextManager[Any]:
    """What is due at half past two fires twice, where that comes twice."""
    parse = schedules.parse

    def parsed(text: str, **options: Any) -> Any:
        return parse(text, **options | {"fold": options.get("fold") or "both"})

    return _reading("parse", parsed)


def with_two_triggers() -> AbstractContextManager[Any]:
    """A provider that has failed is not ended before the built-in takes over."""

    async def left_behind(_: Supervisor, task: Any, stop_event: Any, __: float) -> None:
        if stop_event.is_set():
            task.cancel()

    return patch.object(Supervisor, "_end", left_behind)


def without_hearing_of_cancels() -> AbstractContextManager[Any]:
    async def deaf(_: keepers.Listener) -> None: ...

    return patch.object(keepers.Listener, "_cancel_requested", deaf)


def without_asking_what_is_relevant() -> AbstractContextManager[Any]:
    async def ready(_: Attempt, __: Any) -> bool:
        return True

    return patch.object(Attempt, "ready", ready)


def without_retries() -> AbstractContextManager[Any]:
    """A failure is final, whatever its job says."""
    return patch.object(record, "_retry_in", lambda *_: None)


def with_a_prune_of_what_is_new() -> AbstractContextManager[Any]:
    """Retention takes what ended a moment ago."""
    return patch.object(Ledger, "_old_runs", lambda self, *_: list(self.runs.values())[:-1])


def with_a_blind_edit() -> AbstractContextManager[Any]:
    """A schedule begins anew at once, also where a clock that is ahead has fired what comes."""
    return patch.object(timetable, "_begin", lambda _, now: now)


#: Each with seeds that were red with it, and the invariants that may show it.
MUTATIONS: dict[Callable[[], AbstractContextManager[Any]], tuple[tuple[int, ...], set[str]]] = {
    without_compare_and_set: ((3, 7, 8), {"I2"}),
    without_the_fence: ((83, 125, 243), {"I5"}),
    without_advance_before_effect: ((0, 1, 2), {"I1", "I2", "I8"}),
    without_fsync: ((7, 13, 18), {"I5", "I10"}),
    without_proof_of_death: ((0, 3, 7), {"I2"}),
    without_the_sending_mark: ((1, 2, 3), {"I13"}),
    with_a_blind_resend: ((10, 27, 37), {"I13"}),
    without_the_skips_of_an_edit: ((2, 20, 55), {"I1"}),
    without_leases: ((19, 27, 40), {"I3"}),
    without_other_nodes_runs: ((3, 11, 21), {"I2"}),
    without_keys: ((11, 26, 40), {"I2"}),
    without_pauses: ((2, 11, 21), {"I7"}),
    without_a_bound_of_attempts: ((3, 25, 29), {"I8"}),
    without_the_bound_of_a_node: ((3, 10, 26), {"I11"}),
    without_coalescing: ((1, 3, 4), {"I8"}),
    without_grace: ((15, 29, 42), {"I8"}),
    without_an_end: ((3, 26, 27), {"I8"}),
    without_hearing_of_cancels: ((2, 8, 11), {"I11"}),
    without_asking_what_is_relevant: ((0, 2, 3), {"I7"}),
    without_retries: ((3, 5, 22), {"I8"}),
    with_both_hours_of_a_night: ((8, 11, 24), {"I6"}),
    with_two_triggers: ((28, 52, 150), {"I12", "I15"}),
    with_a_prune_of_what_is_new: ((0, 1, 3), {"I10"}),
    with_a_blind_edit: ((24, 33, 53), {"I2"}),
}
