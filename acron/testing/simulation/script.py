"""What happens to a world: made from a seed, and nothing else. Shrinks by leaving steps out."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Kind = Literal["database", "files"]


class Step(NamedTuple):
    """``what`` is done to ``whom`` (a process or a job), with ``how``."""

    what: str
    whom: str = ""
    how: Any = None

    def __str__(self) -> str:
        how = "" if self.how is None else str(self.how)
        if self.what == "crash_at":
            number, after, name = self.how
            how = f"{'after' if after else 'before'} {name or 'transaction'} {number} from now"
        elif isinstance(self.how, tuple):
            how = " ".join(str(one) for one in self.how if one)
        elif isinstance(self.how, dict):
            how = " ".join(f"{key}={one}" for key, one in self.how.items())
        words = (self.what.replace("_", " "), self.whom, one_line(how, 150))
        return " ".join(word for word in words if word)


class Script(NamedTuple):
    """A story to be played: jobs as records, processes by name, and what happens to them."""

    seed: int
    kind: Kind
    start: str
    processes: tuple[str, ...]
    jobs: tuple[dict[str, Any], ...]
    steps: tuple[Step, ...]


SCHEDULES = (
    *("every 1m", "every 90s", "every 4m", "every 7m", "every 20m"),
    *("*/5 * * * *", "*/2 * * * *", "15 * * * *", "0 9 * * *"),
    *("30 2 * * *", "30 1 * * *", "15 2 * * *", "45 1 * * *"),
    *("in 3m", "in 20m", "in 1h"),
    "every 3m except {night}",
)
ZONES = ("UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe")
#: Instants at which clocks change, and whose.
NIGHTS = (
    ("2026-03-29T01:00:00+00:00", "Europe/Paris"),
    ("2026-10-25T01:00:00+00:00", "Europe/Paris"),
    ("2026-03-08T07:00:00+00:00", "America/New_York"),
    ("2026-11-01T06:00:00+00:00", "America/New_York"),
    ("2026-04-04T15:00:00+00:00", "Australia/Lord_Howe"),
    ("2026-10-03T15:30:00+00:00", "Australia/Lord_Howe"),
)
DISK_ERRORS = ("EIO", "ENOSPC", "kill")
#: What somebody's editor leaves in jobs.json: half of it, nothing, NULs, a junk record (or what
#: should be a number and is none, or is far too deep, or is there twice), a field that no version
#: knows, a schema that is not written yet.
HANDS = (
    *("truncates", "empties", "zeroes", "newer schema"),
    *("junk record", "NaN", "deep record", "same id twice", "unknown field"),
)
#: Ids that somebody outside may send.
HOSTILE = ("../../etc/passwd", "a\x00b", "x" * 10_000, "\x1b[31mred\r\nforged", "ид 🦊")
#: Whichever job has a run that waits for its time, if there is one.
WHO_WAITS = "who waits"
#: How a provider fails: while it serves, and when it is to be found.
PROVIDERS = ("raises", "returns", "hangs", "is missing", "is broken", "is not available")
#: How the chat treats a message.
CHATS = ("fails", "refuses", "hangs", "dies", "dies after", "says nothing")


class Kinds(NamedTuple):
    """A kind of step: how often it is taken, whom it befalls, how, and where it can happen."""

    weight: int
    whom: Literal["process", "job", ""] = ""
    how: Callable[[Random], Any] = lambda _: None
    only: Kind | None = None


#: The transactions that a process may die at by name: the steps of a fire, and what people do.
FATAL = ("claim", "finish", "mark", "recover", "write", "beat")


def _death(random: Random) -> tuple[int, bool, str]:
    """At which transaction, after its commit or before, and what it is called: empty for any."""
    name = random.choice(("", "claim", "finish", *FATAL))
    return random.randint(1, 2 if name else 12), random.random() < 0.5, name


def _loss(random: Random) -> tuple[int, str]:
    """The answer to which transaction is lost, and what that is called: empty for any."""
    name = random.choice(("", "claim", "finish", "mark", "write"))
    return random.randint(1, 2 if name else 8), name


def _failure(random: Random) -> tuple[str, int, str]:
    """Which error a disk gives, at which step, and what that is called: empty for any."""
    name = random.choice(("", "sync", "write", "replace"))
    return random.choice(DISK_ERRORS), random.randint(1, 3 if name else 20), name


def _one_of(*values: Any) -> Callable[[Random], Any]:
    return lambda random: random.choice(values)


#: Waiting is done after each step.
STEPS: dict[str, Kinds] = {
    "crash": Kinds(6, "process"),
    "crash_at": Kinds(8, "process", _death),
    "start": Kinds(8, "process"),
    "stop": Kinds(4, "process"),
    "lose_answer": Kinds(4, "process", _loss, "database"),
    "jump": Kinds(4, "process", _one_of(-3600, -90, -10, 10, 90, 3600, 86400, 31536000)),
    "drift": Kinds(2, "process", _one_of(-0.01, 0.01)),
    "suspend": Kinds(2, "", _one_of(30, 600, 40_000)),
    "slow": Kinds(2, "process", _one_of(0.5, 5.0)),
    "partition": Kinds(4, "process", _one_of(5, 50, 200), "database"),
    "freeze": Kinds(5, "process", only="database"),
    "disk": Kinds(6, "process", _failure, "files"),
    "power": Kinds(4, only="files"),
    "lock": Kinds(2, only="files"),
    "no_locks": Kinds(1, only="files"),
    "hand": Kinds(7, "", _one_of(*HANDS), "files"),
    "pause": Kinds(4, "job", _one_of(None, "in 10m")),
    "resume": Kinds(4, "job"),
    "edit": Kinds(2, "job", _one_of({"timeout": 50}, {"retry": None}, {"tz": None})),
    "reschedule": Kinds(3, "job", lambda random: random.choice(SCHEDULES[:10])),
    "edit_from_behind": Kinds(2, "job", _one_of(*ZONES), "database"),
    "outage_and_edit": Kinds(3, "job", lambda random: random.choice(SCHEDULES[:10])),
    "remove": Kinds(2, "job"),
    "prune": Kinds(2, "process"),
    "crowd": Kinds(1),
    "add": Kinds(2, "", lambda random: _job(random, f"more{random.randint(1, 99)}", *NIGHTS[0])),
    "run_now": Kinds(3, "job"),
    "backfill": Kinds(1, "job"),
    "cancel": Kinds(2),
    "trigger": Kinds(4, "process"),
    "provider": Kinds(3, "process", _one_of(*PROVIDERS)),
    "chat": Kinds(8, "", _one_of(*CHATS)),
    "wait": Kinds(6, "", _one_of(60, 600)),
}


def write(seed: int) -> Script:
    """The script of ``seed``: the same on every machine."""
    random = Random(seed)
    kind: Kind = "files" if random.random() < 0.35 else "database"
    processes = tuple("abc"[: random.choice((1, 2, 2, 3))])
    night, zone = random.choice(NIGHTS)
    start = datetime.fromisoformat(night) - timedelta(minutes=random.choice((5, 20, 45)))
    many = range(random.randint(2, 4))
    jobs = tuple(_job(random, f"job{n}", night, zone, start) for n in many)
    kinds = [what for what, step in STEPS.items() if step.only in {None, kind}]
    weights = [STEPS[what].weight for what in kinds]
    steps: list[Step] = []
    for _ in range(random.randint(5, 10)):
        what = random.choices(kinds, weights)[0]
        whom = {"process": processes, "job": [job["id"] for job in jobs], "": [""]}
        step = Step(what, random.choice(whom[STEPS[what].whom]), STEPS[what].how(random))
        if what in {"pause", "remove"} and random.random() < 0.5:
            step = step._replace(whom=WHO_WAITS)
        if what == "trigger":
            ids = [job["id"] for job in jobs] if random.random() < 0.8 else HOSTILE
            step = step._replace(how=random.choice(ids))
        steps += step, Step("wait", how=random.choice((1, 5, 20, 61, 130, 600)))
    return Script(seed, kind, start.isoformat(), processes, jobs, tuple(steps))


def _job(
    random: Random, job_id: str, night: str, zone: str, start: datetime | None = None
) -> dict[str, Any]:
    schedule = random.choice(SCHEDULES).format(night=night[:10])
    record: dict[str, Any] = {
        "id": job_id,
        "schedule": schedule,
        "tz": random.choice((zone, *ZONES)),
        "action": random.choice(("work",) * 7 + ("work_in_a_thread",)),
        "timeout": random.choice((20, 300, 600)),
        "deliver": random.choice(("chat:room", "chat:room, chat:hall", None)),
    }
    choices: dict[str, tuple[Any, ...]] = {
        "overlap": ("skip", "queue", "allow", "allow", "replace"),
        "catch_up": ("once", "none", "all"),
        "catch_up_limit": (2, 5),
        "grace": (30, 600),
        "idempotent": (True, False),
        "max_running": (1, 2),
        "retry": ({"attempts": 2, "delay": 5}, {"attempts": 3, "delay": 100}),
        "pause_after": (3,),
        "repeat": (2, 7),
        "jitter": (10,),
        "key": ("shared",),
        "still_relevant": ("relevant",),
        "after": ("noted",),
        "priority": (-1, 5),
    }
    for name, values in choices.items():
        if random.random() < 0.3 and not (name == "jitter" and schedule.startswith("in")):
            record[name] = random.choice(values)
    if record.get("overlap") == "allow":
        record.setdefault("max_running", random.choice((1, 2, 20)))
    if start is not None and schedule.startswith("every") and random.random() < 0.2:
        record["until"] = (start + timedelta(minutes=random.choice((8, 20)))).isoformat()
    if record.get("catch_up") == "all":
        record.setdefault("catch_up_limit", 10)  # a hundred starts in a row tell nothing more
    return {key: value for key, value in record.items() if value is not None}


#: Of a job's record, what it cannot do without.
_NEEDED = frozenset({"id", "schedule", "action"})
_WAITS = (1, 5, 20, 61, 130)


def simpler(script: Script, start: int) -> Iterator[Script]:
    """Scripts with one thing less than ``script``, from the ``start``-th on; always in the same
    order, so that what was tried in vain need not be tried again."""
    return islice(_simpler(script), start, None)


def _simpler(script: Script) -> Iterator[Script]:
    for name in reversed(script.processes[1:]):
        others = tuple(one for one in script.processes if one != name)
        yield _without(script, name)._replace(processes=others)
    for job in script.jobs:
        if len(script.jobs) > 1:
            jobs = tuple(one for one in script.jobs if one is not job)
            yield _without(script, job["id"])._replace(jobs=jobs)
    for at, job in enumerate(script.jobs):
        for key in [key for key in job if key not in _NEEDED]:
            less = {name: one for name, one in job.items() if name != key}
            yield script._replace(jobs=(*script.jobs[:at], less, *script.jobs[at + 1 :]))
    for at, step in enumerate(script.steps):
        for wait in _WAITS if step.what == "wait" else ():
            if wait < step.how:
                sooner = (*script.steps[:at], step._replace(how=wait), *script.steps[at + 1 :])
                yield script._replace(steps=sooner)


def _without(script: Script, whom: str) -> Script:
    """Without the steps that befall it."""
    return script._replace(
        steps=tuple(one for one in script.steps if whom not in (one.whom, one.how))
    )
