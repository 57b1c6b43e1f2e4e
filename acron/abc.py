"""The contracts, on one page, written as duties to whoever implements them.

A provider decides *when*; the runtime decides *what happens*. A provider never runs a job and
never opens a store. A store is handed ``now`` and pure functions; it decides nothing itself.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from acron.model import Decision, Due, End, Job, Node, Run, RunState, Skip

    Decide = Callable[[Due, Callable[[], int]], Decision | None]
    Settle = Callable[[Job | None, Run, End, Callable[[], int]], Decision]
    Change = Callable[[str, Job | None, Sequence[Run], Callable[[], int]], Decision]
    #: Calls a registered function, sync or async, with those of the values that it takes.
    CallByName = Callable[[str, "Context", Mapping[str, object]], Awaitable[object]]


# --- when ---------------------------------------------------------------------------------------


class Fired(StrEnum):
    """What became of an outside trigger."""

    CLAIMED = "claimed"  # ours: the claim is durable and the run begins
    EARLY = "early"  # more than 30 s too soon: arm it again
    NOTHING = "nothing"  # no such job, or nothing owed
    LOST = "lost"  # somebody else has claimed this instant
    DRAINING = "draining"  # this node takes no more; try another, or later


class Armed(Struct, frozen=True):
    """One instant that an outside scheduler must hold."""

    job_id: str
    instant: datetime


class Firing(Protocol):
    """The runtime as a provider sees it. Time, heartbeats and drain state are the runtime's."""

    async def due_in(self) -> float | None:
        """Seconds until the next instant owed (never negative), None when there is none.

        What was left owed by the last tick (no free slot, an earlier run still going) does not
        count: ``changed`` wakes when it can go on."""
        ...

    async def tick(self) -> int:
        """Beat, claim and start all that is due, mark success; how many runs were started.

        Raises what the store raises. May be called at any time, by anyone, as often as wanted."""
        ...

    async def fire(self, job_id: str, scheduled_at: datetime | None = None) -> Fired:
        """Claim and start one job's owed instant. Waits for a trigger early by up to 30 s."""
        ...

    def armed(self, until: datetime) -> AsyncIterator[Armed]:
        """All instants to be armed outside, up to ``until``, in order. Reading it to its end
        tells the runtime that this provider has armed."""
        ...

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (a bound, not a deadline)
        """Wait until some job changed, here or in another process; False after ``timeout``."""
        ...


class CronScheduler(ABC):
    """Decides WHEN a due job fires. Abstract surface: ``name`` and ``start``, and never more:
    all growth is by members that have a working default.

    The runtime beats before ``start`` and goes on beating whatever the provider does. A provider
    that raises, hangs or returns without having armed is replaced by the built-in, with a
    warning: never without a trigger, never two."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short identifier, such as ``inprocess`` or ``chronos``."""

    def is_available(self) -> bool:
        """Whether the provider can run here (settings, credentials). Never uses the network."""
        return True

    @abstractmethod
    async def start(
        self, stop_event: asyncio.Event, *, firing: Firing, interval: float = 60.0
    ) -> None:
        """Pull the trigger until ``stop_event`` is set; then return promptly, at any await.

        A provider that only arms an outside scheduler may return once it has read
        ``firing.armed`` to its end. Whatever else happens, fires go through ``firing``.
        ``interval`` is the longest sleep between two looks, in seconds."""

    async def stop(self) -> None:
        """Release what is held outside (servers, consumers). Safe before start, and twice."""

    async def on_jobs_changed(self, *, firing: Firing) -> None:
        """Called after jobs were written. The built-in has no need: it re-reads the store."""

    async def fire_due(
        self, job_id: str, scheduled_at: datetime | None = None, *, firing: Firing
    ) -> Fired:
        """An outside trigger came in: claim and run that job, by the one door there is."""
        return await firing.fire(job_id, scheduled_at)

    async def reconcile(self, *, firing: Firing) -> None:
        """Make the outside registry equal to the store: arm missing and changed, cancel orphans.
        Idempotent."""


# --- where --------------------------------------------------------------------------------------


class Store(ABC):
    """Keeps jobs, runs, skips and nodes; its transactions make acron exact.

    Duties. Each method is one transaction: all of it is durable when the call returns, or none
    of it happened. Nobody else's transaction is seen half. The functions handed in are pure and
    quick; run them inside the transaction, on current rows; what they raise aborts it and is
    raised. ``mint()`` gives the next fencing token: from one sequence for the whole store, never
    given twice, always larger than any before. The store never reads a clock.
    Failures are raised as ``StoreError``, and then nothing has changed."""

    @property
    @abstractmethod
    def address(self) -> str:
        """Where it is, as people write it, without secrets."""

    @property
    def directory(self) -> Path | None:
        """The folder it lives in: output files are kept beside it. None by default."""
        return None

    @abstractmethod
    async def open(self, now: datetime, node: Node | None = None) -> None:
        """Make ready, creating what is missing. With ``node``: that process is alive from now
        until ``close`` or its death, and nobody needs to renew anything."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything. Safe twice, and when ``open`` failed."""

    # definitions

    @abstractmethod
    async def write(self, ids: Sequence[str], change: Change, now: datetime) -> list[Decision]:
        """Change jobs: for each id ``change(id, job or None, runs, mint)`` says what is stored.
        One transaction for all. ``runs`` are those of the job that have not ended, and, if it has
        a ``policy.key``, those with that ``Run.key``: each once, as this transaction left them."""

    @abstractmethod
    async def get(self, job_id: str) -> Job | None: ...

    @abstractmethod
    async def named(self, name: str) -> list[Job]:
        """Jobs of that name, case-insensitive, by id."""

    @abstractmethod
    async def page(
        self, after: str = "", limit: int = 1000, *, app: str | None = None, tag: str | None = None
    ) -> list[Job]:
        """Jobs with an id greater than ``after``, by id; of one ``app``, with one ``tag``."""

    @abstractmethod
    async def remove_tagged(self, tag: str, now: datetime) -> int:
        """Remove all jobs with that tag, cancelling their pending runs; how many there were.
        One transaction, quick for a hundred thousand."""

    @abstractmethod
    async def incidents(self, limit: int = 100) -> list[Job]:
        """Jobs that have incidents, by id. A look-up, however many jobs there are."""

    async def on_start(self) -> list[Job]:
        """The jobs of ``@reboot``. By default found among all; a store of millions knows better."""
        found: list[Job] = []
        after = ""
        while page := await self.page(after):
            after = page[-1].id
            found += [job for job in page if "@reboot" in job.bound]
        return found

    # firing

    @abstractmethod
    async def next_due(self, after: datetime, can_run: Collection[str]) -> datetime | None:
        """The earliest ``due_at`` later than ``after``, of jobs and pending runs whose action
        is in ``can_run``."""

    @abstractmethod
    async def overdue(self, before: datetime, limit: int = 100) -> list[Job]:
        """Jobs of any action whose ``due_at`` is before that, oldest first. A look-up."""

    @abstractmethod
    async def claim(
        self,
        now: datetime,
        limit: int,
        can_run: Collection[str],
        decide: Decide,
        *,
        only: str | None = None,
    ) -> list[Decision]:
        """Claim what is due at ``now``.

        Takes rows with ``due_at <= now``: jobs whose ``due_at`` has come and pending runs, whose
        action is in ``can_run`` (of the job ``only``, when given); the oldest first, then the
        highest priority of their jobs, then by id. For each, ``decide(Due(job, run, live),
        mint)`` with ``live`` the live runs of the job and, if it has a ``policy.key``, of every
        job with that ``Run.key``, as this transaction has left them: earlier rows are seen. No
        two claims of one key happen at the same time. None leaves the row owed. Stops after
        ``limit`` rows that were decided; a job may come up once a call. Returns the decisions: a
        run among them that is RUNNING was claimed, unless its cancellation is requested.

        A decision may also flag runs in the way (``cancel_requested``; their node sees
        ``changed``) or end pending ones; the job may stay as it was, and due."""

    @abstractmethod
    async def finish(self, ends: Sequence[End], settle: Settle) -> list[Decision | None]:
        """End runs. An end whose run is not RUNNING under that very token is rejected: None in
        its place. For the others ``settle(job or None if removed, run, end, mint)`` says what is
        stored: the ended run (or its id among the ``dropped``), perhaps a pending retry, and the
        job. What waited for these ends, also under their key, sees ``changed``."""

    @abstractmethod
    async def recover(self, now: datetime, settle: Settle) -> list[Decision]:
        """End the RUNNING runs of nodes proven dead, as ``unknown``, as ``finish`` would; and
        hand their unsent deliveries to this node (a delivery caught ``sending`` becomes
        ``unknown``), returned as decisions with that run. Idempotent."""

    @abstractmethod
    async def mark(self, run: Run) -> None:
        """Keep ``run.deliveries`` of an ended run. Nothing else of it changes."""

    @abstractmethod
    async def request_cancel(self, run_id: str, now: datetime) -> Run | None:
        """End a pending run as ``cancelled``; flag a running one for its node, which sees
        ``changed``. Returns the run as it is now, None when there is no such run."""

    # the ledger

    @abstractmethod
    async def run(self, run_id: str) -> Run | None: ...

    @abstractmethod
    async def runs(
        self,
        job_id: str | None = None,
        *,
        state: RunState | None = None,
        node: str | None = None,
        limit: int = 100,
    ) -> list[Run]:
        """Newest first, by token then id."""

    @abstractmethod
    async def skips(self, job_id: str | None = None, *, limit: int = 100) -> list[Skip]:
        """Newest first."""

    @abstractmethod
    async def deliveries(self, state: str | None = None, limit: int = 100) -> list[Run]:
        """Ended runs that have deliveries, with one in that state when given; newest first."""

    @abstractmethod
    async def unsent(self) -> list[Run]:
        """Our ended runs, inherited too, with a ``pending`` delivery, oldest first. A look-up."""

    @abstractmethod
    async def prune(self, before: datetime, keep: int) -> int:
        """Forget ended runs and skips older than ``before``, and all but the newest ``keep`` of
        each job. Never a job, never a run that has not ended. How many rows went."""

    # nodes and news

    @abstractmethod
    async def beat(self, node: Node) -> None:
        """Keep what this node says of itself. Cheap; need not survive a crash of the machine."""

    def beat_blocked(self, node: Node, *, keep: bool) -> None:
        """``beat`` from a thread, each second that the loop is blocked, and once after; may block
        that thread. Without ``keep``, a lease that is renewed is to run out. Default: nothing."""

    @abstractmethod
    async def nodes(self) -> list[Node]:
        """Every node known, ``alive`` as the store can prove it now."""

    @abstractmethod
    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (a bound, not a deadline)
        """Wait until jobs, pending runs or cancel requests may have changed, by this process or
        another, since the last call; False after ``timeout`` seconds. Other processes' changes
        are seen within a second."""

    async def problems(self) -> list[str]:
        """What is wrong with what is stored, a line each: bad records, advice. None by default."""
        return []


# --- what ---------------------------------------------------------------------------------------


class Context:
    """What a run knows of itself; handed to a function that takes ``ctx``."""

    __slots__ = ("_report", "job", "run")

    def __init__(
        self, job: Job, run: Run, report: Callable[[float, float | None, str], None]
    ) -> None:
        self.job = job
        self.run = run
        self._report = report

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """The logger ``acron.job``, with ``job_id`` and ``run_id`` on each record."""
        extra = {"job_id": self.job.id, "run_id": self.run.id}
        return logging.LoggerAdapter(logging.getLogger("acron.job"), extra)

    @property
    def run_id(self) -> str:
        return self.run.id

    @property
    def scheduled_at(self) -> datetime | None:
        """The instant on the schedule, UTC; None for a manual run."""
        return self.run.scheduled_at

    @property
    def attempt(self) -> int:
        return self.run.attempt

    @property
    def lateness(self) -> float:
        """Seconds between the instant it was due and its start."""
        return self.run.lateness

    @property
    def token(self) -> int:
        """The fencing token: larger than that of any earlier run of this job."""
        return self.run.token

    async def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Tell how far the run is."""
        self._report(done, total, note)


class Action(ABC):
    """One kind of work.

    ``run`` is awaited on the host's loop and must not block it; it may raise anything, which
    fails that run only. It is cancelled at the job's timeout and must then clean up and end.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The kind, as in ``ActionSpec``: ``call``, ``command``, …"""

    def offers(self) -> Collection[str]:
        """What it can run now, in the words of ``ActionSpec.needs``; by default all its kind."""
        return (self.name,)

    def check(self, spec: Any) -> None:
        """Raise InvalidJob when ``spec`` could never run. Called when a job is added."""

    @abstractmethod
    async def run(self, spec: Any, ctx: Context) -> str | None:
        """Do it; the text is the run's output, None is none."""


class Message(Struct, frozen=True, gc=False):
    """What is to be told, and to whom. ``to`` is the target after its platform's name."""

    to: str
    text: str
    job: Job
    run: Run


class Receipt(Struct, frozen=True):
    """Evidence of a delivery: the platform's message id; None where it gives none."""

    id: str | None = None


class Adapter(ABC):
    """One way to tell people.

    ``send`` returns a Receipt, or raises (DeliveryError, to say when to come again). It is a
    coroutine function, or, with ``blocking = True``, a plain one that is called in a thread.
    """

    #: ``send`` is a plain function that blocks: call it in a thread.
    blocking: bool = False
    #: Sending twice is harmless (the same file is written again).
    repeatable: bool = False

    @property
    @abstractmethod
    def name(self) -> str:
        """The platform, as targets name it."""

    @abstractmethod
    def send(self, message: Message) -> Receipt | Awaitable[Receipt]:
        """Send it; see above."""
