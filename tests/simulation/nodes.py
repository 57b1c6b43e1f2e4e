"""acron whose nodes do not see to what they should: recovery, upkeep, locks, status, secrets."""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from msgspec.structs import replace

from acron.model import Decision
from acron.runtime import run
from acron.runtime.claim import Decider
from acron.runtime.keepers import Upkeep
from acron.runtime.pulse import Pulse
from acron.runtime.turn import Turn
from acron.stores import book
from acron.stores.book import Book
from acron.stores.dead import DIED
from acron.stores.ledger import Ledger
from acron.stores.lock import FileLock
from acron.testing.simulation import checks

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from acron.model import Outcome, Run
    from acron.stores.book import Changes


def _recovering(otherwise: Callable[[Book, Changes], None]) -> AbstractContextManager[Any]:
    recover = Book.recover

    def recovered(self: Book, *args: Any) -> Changes:
        changes = recover(self, *args)
        otherwise(self, changes)
        return changes

    return patch.object(Book, "recover", recovered)


def with_a_recovery_that_settles_again() -> AbstractContextManager[Any]:
    def again(self: Book, changes: Changes) -> None:
        settled = [run for run in self.runs.values() if run.error == DIED.error]
        for one in settled[:1] if not changes.ids else ():
            changes.ids.append(one.job_id)
            changes.decisions.append(Decision(self.jobs.get(one.job_id), (one,)))

    return _recovering(again)


def with_a_recovery_that_runs_twice() -> AbstractContextManager[Any]:
    """Of an idempotent job that was cut short, two further attempts wait."""

    def twice(self: Book, changes: Changes) -> None:
        for at, one in enumerate(changes.decisions):
            if len(one.runs) == 2:
                other = replace(one.runs[1], id=f"r{self.mint()}")
                changes.decisions[at] = replace(one, runs=(*one.runs, other))
        changes.token = self.token

    return _recovering(twice)


def with_a_recovery_that_gives_up_messages() -> AbstractContextManager[Any]:
    def adopted(one: Run, heir: str, _: object) -> Run:
        lost = (replace(told, state="failed", error="lost") for told in one.deliveries)
        return replace(one, node=heir, deliveries=tuple(lost))

    return patch.object(book, "adopted", adopted)


def without_sight_of_a_silent_provider() -> AbstractContextManager[Any]:
    async def never(*_: Any) -> None:
        await asyncio.get_running_loop().create_future()

    return patch.object(Turn, "silence", never)


def with_a_status_that_is_always_ok() -> AbstractContextManager[Any]:
    return patch.object(checks, "health", lambda *_: "ok")


def with_secrets_in_the_ledger() -> AbstractContextManager[Any]:
    return patch.object(run, "one_line", lambda text, *_: text)


def with_secrets_in_the_log() -> AbstractContextManager[Any]:
    """A failed job is logged with its traceback."""
    failed = run.failed

    def logged(error: BaseException) -> Outcome:
        logging.getLogger("acron.runtime").error("a job has failed", exc_info=error)
        return failed(error)

    return patch.object(run, "failed", logged)


def without_doubt() -> AbstractContextManager[Any]:
    """What a node runs that may be dead is in the way of what comes, which is skipped."""
    return patch.object(Decider, "_doubt", lambda *_: False)


def without_upkeep() -> AbstractContextManager[Any]:
    """What the dead ran is ended where it is in somebody's way, and nowhere else."""

    async def idle(_: Upkeep) -> None:
        await asyncio.sleep(100.0)

    return patch.object(Upkeep, "step", idle)


def without_heartbeats() -> AbstractContextManager[Any]:
    beat = Pulse.beat

    async def once(self: Pulse, **_: Any) -> None:
        if self.sent.heartbeat_at is None:
            await beat(self, force=True)

    return patch.object(Pulse, "beat", once)


def with_a_prune_of_skips_that_are_new() -> AbstractContextManager[Any]:
    return patch.object(Ledger, "_kept_skips", lambda *_: [])


def without_locks() -> AbstractContextManager[Any]:
    return patch.object(FileLock, "held", lambda _: nullcontext())


#: Each with seeds that were red with it, and the invariants that may show it.
NODES: dict[Callable[[], AbstractContextManager[Any]], tuple[tuple[int, ...], set[str]]] = {
    with_a_recovery_that_settles_again: ((0, 3, 6), {"I9"}),
    with_a_recovery_that_runs_twice: ((63, 85, 96), {"I11"}),
    with_a_recovery_that_gives_up_messages: ((7, 10, 27), {"I13"}),
    without_sight_of_a_silent_provider: ((28, 49, 52), {"I12"}),
    with_a_status_that_is_always_ok: ((1, 3, 7), {"I14"}),
    with_secrets_in_the_ledger: ((0, 1, 2), {"I16"}),
    with_secrets_in_the_log: ((0, 1, 2), {"I16"}),
    without_doubt: ((26, 63), {"I11"}),
    without_upkeep: ((60, 230), {"I11"}),
    without_heartbeats: ((0, 1), {"I14"}),
    with_a_prune_of_skips_that_are_new: ((0, 1), {"I10"}),
    without_locks: ((3,), {"I10"}),
}
