"""What happens to a world: made from a seed, and nothing else. Shrinks by leaving steps out."""

from __future__ import annotations

from random import Random
from typing import Any, Literal, NamedTuple

Kind = Literal["database", "files"]


class Step(NamedTuple):
    """``what`` is done to ``whom`` (a process or a job), with ``how``."""

    what: str
    whom: str = ""
    how: Any = None

    def __str__(self) -> str:
        words = (self.what.replace("_", " "), self.whom, "" if self.how is None else str(self.how))
        return " ".join(word for word in words if word)


class Script(NamedTuple):
    """A story to be played: jobs as records, processes by name, and what happens to them."""

    seed: int
    kind: Kind
    processes: tuple[str, ...]
    jobs: tuple[dict[str, Any], ...]
    steps: tuple[Step, ...]


SCHEDULES = (
    *("every 1m", "every 90s", "every 4m", "every 7m", "every 20m"),
    *("*/5 * * * *", "*/2 * * * *", "30 2 * * *", "15 * * * *", "0 9 * * *"),
    *("in 3m", "in 20m", "in 1h"),
    "every 3m except 2026-03-29",
)
ZONES = ("UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe")
#: What is done how often. Waiting is done after each step.
STEPS: dict[str, int] = {
    "crash": 6,
    "crash_at": 8,
    "start": 8,
    "stop": 4,
    "lose_answer": 4,
    "jump": 4,
    "suspend": 2,
    "slow": 2,
    "partition": 4,
    "freeze": 3,
    "disk": 6,
    "power": 4,
    "lock": 2,
    "junk": 2,
    "pause": 3,
    "resume": 4,
    "edit": 2,
    "reschedule": 2,
    "remove": 1,
    "add": 2,
    "run_now": 3,
    "cancel": 2,
    "trigger": 4,
    "provider": 3,
    "chat": 4,
    "wait": 8,
}
_OF = {
    "files": {"partition", "freeze", "lose_answer"},
    "database": {"disk", "power", "lock", "junk"},
}
DISK_ERRORS = ("EIO", "ENOSPC", "kill")


def write(seed: int) -> Script:
    """The script of ``seed``: the same on every machine."""
    random = Random(seed)
    kind: Kind = "files" if random.random() < 0.35 else "database"
    processes = tuple("abc"[: random.choice((1, 2, 2, 3))])
    jobs = tuple(_job(random, f"job{number}") for number in range(random.randint(2, 5)))
    kinds = [what for what in STEPS if what not in _OF[kind]]
    weights = [STEPS[what] for what in kinds]
    steps: list[Step] = []
    for _ in range(random.randint(6, 16)):
        what = random.choices(kinds, weights)[0]
        steps.append(_step(random, what, processes, jobs))
        steps.append(Step("wait", how=random.choice((1, 20, 61, 130, 400, 900))))
    return Script(seed, kind, processes, jobs, tuple(steps))


def _job(random: Random, job_id: str) -> dict[str, Any]:
    schedule = random.choice(SCHEDULES)
    record: dict[str, Any] = {
        "id": job_id,
        "schedule": schedule,
        "tz": random.choice(ZONES),
        "action": random.choice(("work",) * 7 + ("work_in_a_thread",)),
        "timeout": random.choice((20, 300, 600)),
        "deliver": random.choice(("chat:room", "chat:room, chat:hall", None)),
    }
    choices: dict[str, tuple[Any, ...]] = {
        "overlap": ("skip", "queue", "allow", "replace"),
        "catch_up": ("once", "none", "all"),
        "catch_up_limit": (2, 5),
        "grace": (30, 600),
        "idempotent": (True, False),
        "max_running": (1, 2),
        "retry": ({"attempts": 2, "delay": 5}, {"attempts": 3, "delay": 40}),
        "pause_after": (3,),
        "repeat": (2, 7),
        "jitter": (10,),
        "key": ("shared",),
        "priority": (-1, 5),
    }
    for name, values in choices.items():
        if random.random() < 0.3 and not (name == "jitter" and schedule.startswith("in")):
            record[name] = random.choice(values)
    return {key: value for key, value in record.items() if value is not None}


def _step(
    random: Random, what: str, processes: tuple[str, ...], jobs: tuple[dict[str, Any], ...]
) -> Step:
    process = random.choice(processes)
    job = str(random.choice(jobs)["id"])
    if what in {"crash", "start", "stop", "freeze"}:
        return Step(what, process)
    if what == "crash_at":
        return Step(what, process, (random.randint(1, 12), random.random() < 0.5))
    if what == "lose_answer":
        return Step(what, process, random.randint(1, 8))
    if what == "jump":
        return Step(what, process, random.choice((-3600, -90, -10, 10, 90, 3600, 86400, 31536000)))
    if what == "suspend":
        return Step(what, how=random.choice((30, 600, 40_000)))
    if what == "slow":
        return Step(what, process, random.choice((0.5, 5.0)))
    if what == "partition":
        return Step(what, process, random.choice((5, 50, 200)))
    if what == "disk":
        return Step(what, process, (random.choice(DISK_ERRORS), random.randint(1, 20)))
    if what == "provider":
        return Step(what, process, random.choice(("raises", "returns", "hangs")))
    if what == "chat":
        return Step(what, how=random.choice(("fails", "hangs", "dies")))
    if what == "trigger":
        return Step(what, process, job)
    if what == "edit":
        return Step(what, job, random.choice(({"timeout": 50}, {"retry": None}, {"tz": None})))
    if what == "reschedule":
        return Step(what, job, random.choice(SCHEDULES[:10]))
    if what == "add":
        return Step(what, how=_job(random, f"more{random.randint(1, 99)}"))
    if what in {"pause", "resume", "remove", "run_now"}:
        return Step(what, job)
    return Step(what, how=random.choice((60, 600)) if what == "wait" else None)
