"""The verb doctor: what is wrong, and how to mend it, on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import typer

from acron.cli.base import Json, verb
from acron.cli.render import print_json
from acron.cli.target import on_a_loop
from acron.errors import ConfigError
from acron.text import one_line

if TYPE_CHECKING:
    from acron.cli.target import Target
    from acron.doctor import Finding

_MARKS = {"ok": ("ok", "green"), "advice": ("advice", "yellow"), "wrong": ("WRONG", "red")}


@verb("doctor")
def doctor(target: Target, as_json: Json = False) -> None:  # noqa: FBT002
    """Look for what commonly goes wrong, and say how to mend it. Exit code 1 when something is."""
    found = _examined(target)
    wrong = sum(one.level == "wrong" for one in found)
    if as_json:
        print_json({"healthy": not wrong, "findings": msgspec.to_builtins(found)})
    else:
        for one in found:
            typer.echo("\n".join(_told(one)))
        typer.echo(f"{wrong} wrong" if wrong else "nothing is wrong")
    if wrong:
        raise typer.Exit(1)


def _examined(target: Target) -> list[Finding]:
    from acron.doctor import examine, settings_problem  # noqa: PLC0415 (slow)

    try:
        app = target.acron()
    except ConfigError as error:
        return [settings_problem(error)]
    return on_a_loop(examine(app, program=target.app is not None))


def _told(one: Finding) -> list[str]:
    mark, colour = _MARKS[one.level]
    where = f" [{one.where}]" if one.where else ""
    head = typer.style(f"{mark:<7}", fg=colour) + one_line(f"{one.check}: {one.what}{where}")
    return [head, f"       → {one_line(one.mend)}"] if one.mend else [head]
