"""The verbs that stop and let go jobs, one or many: pause resume remove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from acron.cli.base import Json, Tag, Usage, verb
from acron.cli.jobs import sentence, tell
from acron.cli.render import local, many, print_json

if TYPE_CHECKING:
    from datetime import datetime

    from acron.app import Acron
    from acron.cli.target import Target
    from acron.model import Job

One = Annotated[
    str | None,
    typer.Argument(metavar="[REF]", help="A job's id, or its name.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="All jobs.")]


@verb("pause")
def pause(
    target: Target,
    ref: One = None,
    all_jobs: All = False,  # noqa: FBT002
    tag: Tag = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; shown with the job.")] = "",
    until: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help='Resume by itself then, like "in 2h" or an ISO instant.'),
    ] = None,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Fire a job no more until resume; or all jobs, or those with a tag."""
    _check(ref, tag, all_jobs=all_jobs)
    if ref is None:
        count = target.do(lambda app: app.pause_all(reason, until=until, tag=tag))
        _count("paused", count, as_json=as_json)
        return
    job = target.do(lambda app: app.pause(ref, reason, until=until))
    end = "" if job.paused_until is None else f" until {local(job.paused_until, job.tz)} ({job.tz})"
    tell(job, f"paused {job.id}{end}", as_json=as_json)


@verb("resume")
def resume(
    target: Target,
    ref: One = None,
    all_jobs: All = False,  # noqa: FBT002
    tag: Tag = None,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Fire a paused job again, from its next instant on; or all that were paused together."""
    _check(ref, tag, all_jobs=all_jobs)
    if ref is None:
        count = target.do(lambda app: app.resume_all(tag=tag))
        _count("resumed", count, as_json=as_json)
        return

    async def work(app: Acron) -> tuple[Job, list[datetime]]:
        job = await app.resume(ref)
        return job, await app.upcoming(job.id, 3)

    job, instants = target.do(work)
    tell(job, f"resumed {sentence(job, instants)}", as_json=as_json)


@verb("remove")
def remove(target: Target, ref: One = None, tag: Tag = None, as_json: Json = False) -> None:  # noqa: FBT002
    """Remove a job, or those with a tag. Their ledger stays."""
    if (ref is None) == (tag is None):
        raise Usage("say which: a job, or --tag TEXT")
    if tag is not None:
        _count("removed", target.do(lambda app: app.remove_tagged(tag)), as_json=as_json)
        return

    async def work(app: Acron) -> Job:
        job = await app.get(ref or "")
        await app.remove(job.id)
        return job

    job = target.do(work)
    tell(job, f"removed {job.id}", as_json=as_json)


def _check(ref: str | None, tag: str | None, *, all_jobs: bool) -> None:
    if [ref is not None, all_jobs, tag is not None].count(True) != 1:
        raise Usage("say which: a job, --all, or --tag TEXT")


def _count(word: str, count: int, *, as_json: bool) -> None:
    if as_json:
        print_json({word: count})
    else:
        typer.echo(f"{word} {many(count, 'job')}")
