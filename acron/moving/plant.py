"""Store the jobs that were read from another scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acron.errors import InvalidJob, JobConflict, ScheduleError
from acron.moving import LeftOut
from acron.records import job_from_record, job_to_record
from acron.timetable import bind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from acron.model import Decision, Job, Run
    from acron.moving import Found, Report
    from acron.verbs import OnConflict, Verbs

_PAGE = 500
_SHOWN = 5


async def plant(
    app: Verbs,
    found: Found,
    report: Report,
    *,
    on_conflict: OnConflict = "error",
    dry_run: bool = False,
) -> list[tuple[str, Job]]:
    """Add the jobs of ``found``: what became of each (a counter's name in ``report``).

    A record that acron refuses is left out, with its reason. The same job again, paused or not,
    changes nothing; another one of its id is a conflict, as in ``restore``.
    """
    now = app.clock.now()
    report.left_out += found.left_out
    jobs = _checked(app, found, report, now)
    done = [await _judged(app, job, on_conflict) for job in jobs]
    conflicts = [job.id for verdict, job in done if verdict == "error"]
    if conflicts:
        more = f" and {len(conflicts) - _SHOWN} more" if len(conflicts) > _SHOWN else ""
        message = (
            f"the store has other jobs with the ids {', '.join(conflicts[:_SHOWN])}{more}; "
            "choose with --on-conflict replace or keep; nothing was imported"
        )
        raise JobConflict(message, job_id=conflicts[0])
    for start in range(0, len(done), _PAGE):
        page = done[start : start + _PAGE]
        if not dry_run:
            await _write(app, [job for verdict, job in page if verdict in _WRITTEN], now)
        for verdict, _ in page:
            setattr(report, verdict, getattr(report, verdict) + 1)
    return done


_WRITTEN = {"added", "replaced"}


def _checked(app: Verbs, found: Found, report: Report, now: datetime) -> list[Job]:
    jobs: dict[str, Job] = {}
    for draft in found.drafts:
        shown = str(draft.record.get("id") or draft.record.get("name") or "a job")
        try:
            job = job_from_record({"tz": app.tz, **draft.record})
            app.check(job)
            bind(job, None, now)
        except InvalidJob as error:
            where = error.where.removeprefix("$").removeprefix(".")
            report.left_out.append(
                LeftOut(draft.where, shown, f"{where}: {error}" if where else str(error))
            )
        except ScheduleError as error:
            report.left_out.append(LeftOut(draft.where, shown, str(error)))
        else:
            if job.id in jobs:
                report.left_out.append(LeftOut(draft.where, shown, "its id is taken above"))
            else:
                jobs[job.id] = job
    return list(jobs.values())


async def _judged(app: Verbs, job: Job, on_conflict: OnConflict) -> tuple[str, Job]:
    old = await app.store.get(job.id)
    if old is None:
        return "added", job
    if _declared(old) == _declared(job):
        return "unchanged", old
    return {"error": "error", "replace": "replaced", "keep": "kept"}[on_conflict], job


def _declared(job: Job) -> dict[str, Any]:
    record = job_to_record(job)
    record.pop("paused", None)
    return record


async def _write(app: Verbs, jobs: list[Job], now: datetime) -> None:
    new = {job.id: job for job in jobs}

    def change(job_id: str, old: Job | None, _: Sequence[Run], __: Callable[[], int]) -> Decision:
        return bind(new[job_id], old, now)

    if new:
        await app.store.write(list(new), change, now)
