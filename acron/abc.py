"""The contracts, on one page, written as duties to whoever implements them.

A provider decides *when*; the runtime decides *what happens*. A provider never runs a job and
never opens a store. A store is handed ``now`` and pure functions; it decides nothing itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from msgspec import Struct

from acron.context import Context as Context  # noqa: PLC0414, TC001 (a name of this page)
from acron.notices import Message as Message  # noqa: PLC0414, TC001 (found here as well)
from acron.notices import Output as Output  # noqa: PLC0414
from acron.notices import Receipt as Receipt  # noqa: PLC0414, TC001
from acron.scans import DueRow, every_job, request_drain, upcoming

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
    from datetime import datetime
    from pathlib import Path

    from acron.model import Decision, Delivery, Due, End, Job, Node, Run, RunState, Skip

    Decide = Callable[[Due, Callable[[], int]], Decision | None]
    Settle = Callable[[Job | None, Run, End, Callable[[], int]], Decision]
    Tell = Callable[[tuple[Delivery, ...]], tuple[Delivery, ...]]
    Change = Callable[[str, Job | None, Sequence[Run], Callable[[], int]], Decision]


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


class Answer(Struct, frozen=True):
    """What became of one trigger of several, and the job's next instant: to be armed now."""

    fired: Fired
    next: datetime | None = None


class Firing(Protocol):
    """The runtime as a provider sees it. Time, heartbeats and drain state are the runtime's."""

    async def due_in(self) -> float | None:
        """Seconds until the next instant owed (never negative), None when there is none.

        What was left owed by the last tick (no free slot, an earlier run still going) does not
        count: ``changed`` wakes when it can go on."""
        ...

    async def tick(self) -> int:
        """Beat, claim and start all that is due, mark success; how many runs were started.

        Raises what the store raises, and has told of it: who goes on need not log it once more.
        May be called at any time, by anyone, as often as wanted."""
        ...

    async def fire(self, job_id: str, scheduled_at: datetime | None = None) -> Fired:
        """Claim and start one job's owed instant. Waits for a trigger early by up to 30 s."""
        ...

    async def fire_many(self, triggers: Sequence[Armed]) -> list[Answer]:
        """Triggers that came together: all that is due is claimed at once. An answer each; EARLY
        by however little (hold it), and DRAINING also when an instant stays owed."""
        ...

    def armed(self, until: datetime, since: datetime | None = None) -> AsyncIterator[Armed]:
        """All instants to be armed outside, later than ``since``, up to ``until``, in order: the
        next of each job and pending run. Reading it to its end says that this provider armed."""
        ...

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (a bound, not a deadline)
        """Wait until some job changed, here or in another process; False after ``timeout``."""
        ...


class CronScheduler(ABC):
    """Decides WHEN a due job fires. Abstract surface: ``name`` and ``start``, and never more:
    all growth is by members that have a working default.

    The runtime beats before ``start`` and goes on beating whatever the provider does. A provider
    that raises, hangs or returns without having armed is replaced by the built-in within
    ``interval``, with a warning; its ``firing`` triggers nothing from then on: never without a
    trigger, never two."""

    #: Seconds after which the runtime fires what this provider missed; 0: half of ``interval``;
    #: None: it misses nothing.
    sweep_after: float | None = 0.0

    #: What is wrong while it serves all the same; ``status`` shows it from the next beat.
    note: str = ""

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
        ``interval`` is the longest sleep between two looks, in seconds: half of the setting, so
        that its silence is seen within the whole of it."""

    async def ready(self) -> bool:
        """Asked, for 5 s at most, while the built-in stands in after a failure: True to be
        started again, False to stay out; raise ProviderDown to say why it is too early."""
        return False

    async def stop(self) -> None:
        """Release what is held outside (servers, consumers). Safe before start, and twice."""

    async def on_jobs_changed(self, *, firing: Firing) -> None:
        """Called once some jobs were written, here or in another process, or the sweep has fired
        some, while this provider serves: one call at a time, for 30 s at most, for all that came
        together; what it raises is reported. One that follows ``firing.changed``, like the
        built-in, has no need of it."""

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

    #: Rows that one claim is asked for, at most: what shares a commit, and holds up the loop.
    batch: ClassVar[int] = 500
    #: Nobody else has it, and its transactions never wait: once begun, they are done and told of.
    at_once: bool = False

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
        return [job async for job in every_job(self) if "@reboot" in job.bound]

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
    async def mark(self, run: Run, change: Tell) -> Run | None:
        """Keep what ``change`` makes of the deliveries of an ended run, handed as they are now;
        nothing else of it changes. The run as it is then; None, and nothing has changed, when
        there is none under ``run.token``, or it has passed to another node than ``run.node``."""

    @abstractmethod
    async def request_cancel(self, run_id: str, now: datetime) -> Run | None:
        """End a pending run as ``cancelled``; flag a running one for its node, which sees
        ``changed``. Returns the run as it is now, None when there is no such run."""

    async def get_many(self, ids: Collection[str]) -> dict[str, Job]:
        """Those of these jobs that are there, by id."""
        return {job_id: job for job_id in ids if (job := await self.get(job_id)) is not None}

    def upcoming(self, since: datetime | None, until: datetime) -> AsyncIterator[DueRow]:
        """What is due of jobs and pending runs later than ``since``, up to ``until``, in order."""
        return upcoming(self, since, until)

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
        """Ended runs that have deliveries, with one in that state when given; newest first.
        A look-up, however rare the state is."""

    @abstractmethod
    async def prune(self, before: datetime, keep: int) -> int:
        """Forget ended runs and skips older than ``before``, and all but the newest ``keep`` of
        each job; of runs that still have something to send only those that are old. Never a job,
        never a run that has not ended. How many rows went."""

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

    async def request_drain(self, node: Node) -> None:
        """Ask ``node`` to take no more. It may overwrite that with a beat, unseen: ask again."""
        await request_drain(self, node)

    @abstractmethod
    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (a bound, not a deadline)
        """Wait until jobs, pending runs or cancel requests may have changed, by this process or
        another, since the last call; False after ``timeout`` seconds. Other processes' changes
        are seen within a second."""

    async def problems(self) -> list[str]:
        """What is wrong with what is stored, a line each: bad records, advice. None by default."""
        return []


# --- what ---------------------------------------------------------------------------------------


class Action(ABC):
    """One kind of work. ``run`` is awaited on the host's loop and must not block it; it may raise
    anything, which fails that run only. Cancelled at the job's timeout, it cleans up and ends.
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

    async def close(self) -> None:
        """Let go of what is kept between runs, as the app closes; it may run again. Safe twice."""


class Adapter(ABC):
    """One way to tell people.

    ``send`` gives a Receipt, or raises: DeliveryError says whether and when to come again,
    TimeoutError that it may have gone out; after anything else it is sent again, later.
    It is a coroutine function or, with ``blocking = True``, a plain one, called in a thread.
    """

    #: ``send`` is a plain function that blocks: call it in a thread.
    blocking: bool = False
    #: Sending twice is harmless (the same file is written again).
    repeatable: bool = False
    #: The text goes out as the job said it: no job's name around it, mentions untouched.
    verbatim: bool = False
    #: Sends ``Message.files``; for others the text names them.
    takes_files: bool = False
    #: The longest text of one message, in UTF-16 code units; longer ones come in parts.
    limit: int | None = None
    #: At most so many messages a second.
    rate: float | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """The platform, as targets name it."""

    @abstractmethod
    def send(self, message: Message) -> Receipt | Awaitable[Receipt]:
        """Send it; see above."""

    async def close(self) -> None:
        """Let go of connections that it has opened itself. Safe twice."""
