"""The verb simulate: what all jobs will do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from acron.cli.base import Json, Tz, Usage, verb
from acron.cli.calendar import instant, zone_name
from acron.cli.render import print_json
from acron.forecast import forecast

if TYPE_CHECKING:
    from datetime import datetime

    from acron.app import Acron
    from acron.cli.target import Target
    from acron.model import Job

Chaos = Annotated[bool, typer.Option("--chaos", help="Prove acron itself: seeded disasters.")]
Seeds = Annotated[
    int | None,
    typer.Option(
        "--seeds", metavar="N", min=1, help="With --chaos: how many, from 0 on; default: 100."
    ),
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", min=0, help="This one alone, told whole.")
]


@verb("simulate")
def simulate(
    target: Target,
    days: Annotated[
        int, typer.Option("--days", metavar="N", min=1, max=3660, help="How many days.")
    ] = 30,
    start: Annotated[
        str | None, typer.Option("--from", metavar="ISO", help="From here on; default: now.")
    ] = None,
    tz: Tz = None,
    width: Annotated[
        int | None,
        typer.Option(metavar="COLUMNS", min=40, max=1000, help="Default: the terminal's, or 80."),
    ] = None,
    chaos: Chaos = False,  # noqa: FBT002
    seeds: Seeds = None,
    seed: Seed = None,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Draw when all jobs will fire: load by the hour, collisions, changes of the clock.

    Nothing runs. With --app the program's own functions do, in virtual time, on a copy of its
    jobs: told is what would be sent. Exit code 1 when a run failed. With --chaos no job of
    yours is looked at: acron plays seeded disasters, and checks what must always hold.
    """
    if chaos or seed is not None:
        if target.app is not None:
            raise Usage("--chaos plays with acron's own jobs; leave out --app")
        _play(seeds, seed, as_json=as_json)
        return
    if seeds is not None:
        raise Usage("--seeds is for --chaos")
    if target.app is not None:
        _rehearse(target, days, start, tz, as_json=as_json)
        return

    async def work(app: Acron) -> tuple[list[Job], tuple[str, ...], datetime, str]:
        jobs = [job async for job in app.jobs()]
        return jobs, (await app.status()).parked, app.clock.now(), app.tz

    jobs, parked, now, place = target.do(work)
    place = zone_name(tz) if tz else place
    since = now if start is None else instant(start, place)
    try:
        found = forecast(jobs, since, days, place, parked)
    except OverflowError as error:
        raise Usage(str(error)) from None
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    from rich.console import Console  # noqa: PLC0415 (slow)

    from acron.cli.outlook import draw  # noqa: PLC0415

    console = Console(width=width, highlight=False)
    if console.is_terminal:
        console.print(draw(found, console))
        return
    with console.capture() as said:
        console.print(draw(found, console))
    typer.echo("\n".join(line.rstrip() for line in said.get().splitlines()))


def _play(seeds: int | None, seed: int | None, *, as_json: bool) -> None:
    from acron.cli.chaos import tell, tell_one  # noqa: PLC0415 (the test harness is slow)

    if seed is None:
        tell(seeds or 100, as_json=as_json)
    elif seeds is None:
        tell_one(seed, as_json=as_json)
    else:
        raise Usage("--seed is one, --seeds are many: give one of them")


def _rehearse(
    target: Target, days: int, start: str | None, tz: str | None, *, as_json: bool
) -> None:
    from acron.cli.rehearse import tell_rehearsal  # noqa: PLC0415 (the test harness is slow)

    app = target.acron()
    place = zone_name(tz) if tz else app.tz
    since = None if start is None else instant(start, place)
    tell_rehearsal(app, days, since, place, as_json=as_json)
