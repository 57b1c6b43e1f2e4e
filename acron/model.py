"""The records: what was declared, what happened. Data only: no I/O, no clock.

They hold data and never each other in a circle, so that the garbage collector need not look at
them (``gc=False``): with 100,000 jobs in memory that is most of its work.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (msgspec reads the annotations)
from enum import StrEnum
from typing import Any, Literal, get_args

from msgspec import Struct
from msgspec.structs import force_setattr

from acron.specs import ActionSpec  # noqa: TC001 (msgspec reads the annotations)

CatchUp = Literal["once", "none", "all"]
Overlap = Literal["skip", "queue", "replace", "allow"]
IncidentKind = Literal["failure", "absence", "misfire"]
JobState = Literal["scheduled", "paused", "completed", "error"]
DeliveryState = Literal["pending", "sending", "delivered", "unverified", "failed", "unknown"]
DELIVERY_STATES: tuple[DeliveryState, ...] = get_args(DeliveryState)

#: Output kept in the run row, in bytes of UTF-8; more goes to a file as well.
OUTPUT_LIMIT = 64 * 1024


class RunState(StrEnum):
    """Where a run stands. All but ``pending`` and ``running`` are outcomes and never change."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        return self not in {RunState.PENDING, RunState.RUNNING}


class SkipReason(StrEnum):
    """Why an occurrence did not run."""

    CHANGED = "changed"  # the schedule was changed before it could start
    COALESCED = "coalesced"  # a newer instant of the same backlog stood for it
    IRRELEVANT = "irrelevant"  # the job's ``still_relevant`` said so
    LIMIT = "limit"  # beyond catch_up_limit
    MISFIRE = "misfire"  # later than its grace
    OVERLAP = "overlap"  # an earlier run was still going
    PAUSED = "paused"  # due while the job was paused


def error_name(kind: type[BaseException]) -> str:
    """``ValueError``, or ``package.module.Class`` for what is not built in."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


class Retry(Struct, frozen=True, gc=False):
    """How a failed attempt is tried again: a durable later instant, so it survives a crash.

    The n-th retry waits ``min(delay * factor ** (n - 1), max_delay)`` seconds, lengthened by up
    to ``jitter`` of itself. ``attempts`` counts the first one. ``on`` names the errors that are
    worth it: exception classes, stored by name (``ValueError``, ``package.module.Class``).
    ``when`` is a registered function, sync or async, of ``(error, attempt)``: True to try again,
    False to give up, a number to try again in so many seconds. It is stored by its name.
    """

    attempts: int = 3
    delay: float = 1.0
    factor: float = 2.0
    max_delay: float = 300.0
    jitter: float = 0.1
    on: tuple[Any, ...] = ("Exception",)  # classes when written, names when kept
    when: Any = None  # a function when written, its name when kept

    def __post_init__(self) -> None:
        names = tuple(one if isinstance(one, str) else error_name(one) for one in self.on)
        force_setattr(self, "on", names)


class Policy(
    Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, repr_omit_defaults=True
):
    """How a job behaves at run time; every field is a keyword of ``job`` and ``add``.

    Durations are seconds; None means "acron's default for this schedule" or "no limit".
    ``still_relevant before after on_error`` are names of registered functions.
    """

    gap: Literal["shift", "skip"] | None = None
    fold: Literal["first", "last", "both"] | None = None
    start: datetime | None = None
    until: datetime | None = None
    jitter: float = 0.0
    repeat: int | None = None
    catch_up: CatchUp | None = None
    catch_up_limit: int = 100
    grace: float | None = None
    still_relevant: str | None = None  # the first step of a run: False ends it as a skip
    overlap: Overlap = "skip"
    key: str | None = None  # jobs with the same key overlap each other: one chat, one guild
    priority: int = 0  # of what is due at the same instant, the higher starts first
    max_running: int | None = None
    timeout: float | None = None
    idle_timeout: float | None = None  # the longest silence between two ``ctx.progress``
    retry: Retry | None = None
    pause_after: int | None = None
    idempotent: bool = False
    before: str | None = None
    after: str | None = None
    on_error: str | None = None
    deliver_failure: tuple[str, ...] | None = None  # None: where output goes


DEFAULT_POLICY = Policy()


class Incident(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Failures of one job that look alike, from the first one to their end.

    ``signature`` is the error without its numbers, ids and addresses. ``state`` goes
    ``detected`` → ``alerted`` (somebody was told) → ``resolved`` (the job has succeeded since) or
    ``acknowledged`` (somebody has seen it: no further alert).
    """

    id: str  # the job's, a slash and a number
    kind: IncidentKind
    signature: str
    error: str
    first_at: datetime
    last_at: datetime
    count: int = 1
    run_id: str | None = None  # the newest
    state: Literal["detected", "alerted", "resolved", "acknowledged"] = "detected"
    closed_at: datetime | None = None

    @property
    def job_id(self) -> str:
        return self.id.rpartition("/")[0]


class Job(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """What someone declared (upper half) and how far it has come (lower half).

    Instants are aware UTC. ``schedule`` is the text as written, ``bound`` its canonical form,
    anchored when the text was first seen or changed. ``cursor`` is the newest instant already
    dealt with: what lies after it is owed. ``next_fire_at`` includes jitter.
    """

    id: str
    schedule: str
    action: ActionSpec
    name: str = ""
    tz: str = "UTC"
    policy: Policy = DEFAULT_POLICY
    deliver: tuple[str, ...] | None = None
    origin: str | None = None  # the target it was asked for from: what ``origin`` stands for
    tags: tuple[str, ...] = ()
    app: str | None = None  # the program that declares it; None for a dynamic job
    paused: str | None = None  # the reason; "" when none was given; None when not paused
    paused_until: datetime | None = None  # when a pause ends by itself; None: by ``resume``
    extra: dict[str, Any] | None = None  # fields we do not know, kept as they came

    bound: str = ""
    cursor: datetime | None = None
    next_fire_at: datetime | None = None
    last_fire_at: datetime | None = None
    fired: int = 0  # occurrences started; retries and manual runs do not count
    failures: int = 0  # in a row
    incidents: tuple[Incident, ...] = ()  # oldest first; few, because the ledger has the rest
    completed: bool = False
    error: str | None = None  # why no next instant can be computed
    created_at: datetime | None = None
    revision: int = 1  # goes up with each change of the upper half, and each backfill

    @property
    def state(self) -> JobState:
        if self.error is not None:
            return "error"
        if self.completed:
            return "completed"
        return "scheduled" if self.paused is None else "paused"

    @property
    def due_at(self) -> datetime | None:
        """When the job wants to be claimed next; None when it does not. A pause that has an end
        is ended by a claim at that instant."""
        if self.completed or self.error is not None:
            return None
        return self.next_fire_at if self.paused is None else self.paused_until


#: The lower half of a job: what firing changes, and people do not write.
PROGRESS = (
    "bound",
    "cursor",
    "next_fire_at",
    "last_fire_at",
    "fired",
    "failures",
    "incidents",
    "completed",
    "error",
    "created_at",
    "revision",
)


class Delivery(Struct, frozen=True, gc=False, omit_defaults=True, repr_omit_defaults=True):
    """One target of a run's output. ``delivered`` only on evidence, kept in ``receipt``.

    ``parts`` is how many parts of a long text the platform has taken, ``receipt`` their ids.
    """

    target: str
    state: DeliveryState = "pending"
    receipt: str | None = None
    error: str | None = None
    attempts: int = 0
    retry_at: datetime | None = None  # while pending after a failure: not before then
    parts: int = 0
    sender: str | None = None  # the node that sends it again, when that is not the run's


class Run(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """One attempt at an occurrence, or a manual run (``scheduled_at`` None).

    ``due_at`` is when it may start: for an occurrence its instant with jitter. ``lateness`` is
    seconds from there to its start. ``token`` is the fencing token of its claim. ``key`` is the
    job's at the time, ``batch`` the backfill it belongs to, ``kwargs`` are arguments for this run
    only, and ``note`` says what acron knows about it that is no error ("late (loop blocked…)").
    ``files`` are the names of what it attached to its output.
    """

    id: str
    job_id: str
    due_at: datetime
    scheduled_at: datetime | None = None
    attempt: int = 1
    state: RunState = RunState.PENDING
    token: int = 0
    node: str | None = None
    lateness: float = 0.0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    output: str | None = None
    error: str | None = None
    deliveries: tuple[Delivery, ...] = ()
    cancel_requested: bool = False
    key: str | None = None
    batch: str | None = None
    kwargs: dict[str, Any] | None = None
    note: str | None = None
    files: tuple[str, ...] = ()

    @property
    def live(self) -> bool:
        """From the first start of an occurrence to the end of its last attempt. What waits of a
        backfill is not: thousands of a job's may wait, and must not stand in each other's way."""
        return self.state is RunState.RUNNING or (
            self.state is RunState.PENDING and self.attempt > 1 and self.batch is None
        )


class Skip(
    Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, repr_omit_defaults=True
):
    """``count`` occurrences that did not run: ``first_at`` to ``scheduled_at``, and why."""

    job_id: str
    scheduled_at: datetime
    reason: SkipReason
    count: int = 1
    first_at: datetime | None = None
    recorded_at: datetime | None = None


class Occurrence(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """An instant of a job and its fate; or ``count`` of them, ``first_at`` to ``scheduled_at``.

    ``fate`` is the state of its run, whose last attempt stands, or ``skipped`` for a ``reason``.
    What the job has not dealt with yet is ``owed`` (due by now), ``upcoming``, or ``paused``.
    """

    job_id: str
    scheduled_at: datetime
    fate: str
    reason: SkipReason | None = None
    run_id: str | None = None
    attempts: int = 0
    count: int = 1
    first_at: datetime | None = None


class Outcome(Struct, frozen=True, gc=False, kw_only=True):
    """How an attempt ended: what an action gave, or what went wrong (one line in ``error``).

    ``raised`` names the classes of the exception, its own first, for ``Retry.on``; ``again`` is
    what ``Retry.when`` said of it. With ``skip`` the occurrence did not run, for that reason, and
    ``claimed`` is its job as it was then. ``files`` are the paths, then the kept names, of what
    goes with the output; ``whole`` is the path of all that was said, where ``output`` is cut.
    """

    state: RunState
    output: str | None = None
    error: str | None = None
    raised: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    whole: str | None = None
    again: bool | float | None = None
    skip: SkipReason | None = None
    claimed: Job | None = None


class End(Struct, frozen=True, gc=False, kw_only=True):
    """The end of one claimed run, fenced by the token of its claim."""

    run_id: str
    token: int
    finished_at: datetime
    outcome: Outcome


class Due(Struct, frozen=True, gc=False):
    """A row that is due: a job whose instant has come, or (``run``) a pending run of it.

    ``live`` are the runs in its way: those of the job, and of every job with its key.
    """

    job: Job
    run: Run | None
    live: tuple[Run, ...]


class Decision(Struct, frozen=True, gc=False):
    """What a job becomes in a transaction, and the rows that are written with it.

    ``job`` None removes the job. ``runs`` are new or changed runs, whole; ``dropped`` are ids of
    runs that leave the ledger, because they became skips.
    """

    job: Job | None
    runs: tuple[Run, ...] = ()
    skips: tuple[Skip, ...] = ()
    dropped: tuple[str, ...] = ()


class Node(Struct, frozen=True, kw_only=True, omit_defaults=True, repr_omit_defaults=True):
    """One running acron process, as it last described itself; ``alive`` is the store's proof."""

    id: str
    pid: int
    host: str
    app: str
    started_at: datetime
    provider: str = ""
    provider_note: str = ""  # why it is not the one that was asked for, and when that is tried
    interval: float = 60.0
    version: str = ""  # of the code of its app, as it says; see ``Acron(version=)``
    draining: bool = False
    drain_requested: bool = False  # somebody asked it to take no more
    zones: str = ""  # the edition of the time zones' rules that what is to come obeys
    stood_down: str = ""  # why it leaves the declared jobs of its app to others
    offers: tuple[str, ...] = ()  # what it can run, in the words of ``ActionSpec.needs``
    running: int = 0
    abandoned: tuple[str, ...] = ()  # coroutines and threads that would not end
    blocked: str | None = None  # what blocks its loop now, and where
    heartbeat_at: datetime | None = None
    last_success_at: datetime | None = None
    last_error: str | None = None
    alive: bool = True


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``acron.toml`` and ``ACRON_*`` variables can set. Durations are seconds."""

    store: str = ""  # a URL or a path; empty: jobs.json in the home directory
    home: str = ""  # empty: the user data directory
    tz: str = ""  # empty: the system's zone on the command line, UTC in a program
    provider: str = ""  # empty: the built-in
    interval: float = 60.0
    max_running: int = 100
    catch_up_rate: float = 50.0  # starts a second after an outage; 0: all at once
    drain_timeout: float = 30.0
    blocked_after: float = 1.0  # a loop that stands still so long is blocked; 0: not watched
    blocked_limit: float = 600.0  # how long a blocked loop is kept alive, by stores with leases
    alerts: tuple[str, ...] = ()  # delivery targets that are told of incidents
    max_threads: int = 40
    retention_days: float = 30.0
    retention_runs: int = 1000  # a job
    wrap: bool | str = True  # name the job around what it says; or a template that does
    home_channels: dict[str, str] = {}  # by platform, the chat that the platform alone means
    http_allow_private: bool = False  # may `http` jobs ask this machine and its network?
    chronos_portal_url: str = ""  # the HTTP scheduler, and what it calls back
    chronos_callback_url: str = ""
    chronos_token: str = ""  # of the environment only: it is a secret
    chronos_audience: str = ""  # what its calls must prove
    chronos_issuer: str = ""
    chronos_jwks_url: str = ""
    sweep_after: float = 0.0  # fire what an outside provider missed for so long; 0: its default
    nats_url: str = "nats://127.0.0.1:4222"  # several, of one cluster, with commas
    nats_credentials: str = ""  # a .creds file
    nats_tls_ca: str = ""  # files in PEM
    nats_tls_cert: str = ""
    nats_tls_key: str = ""
    nats_namespace: str = "acron"  # one for each store
    nats_replicas: int = 1
    nats_arm_rate: int = 10_000  # instants armed a second, at most, by one node
    calendars: dict[str, tuple[str, ...]] = {}  # days off, for `except NAME` in schedules
