"""The typer app, its global options, and how a verb is declared."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from acron.cli.target import Target
from acron.errors import AcronError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

F = TypeVar("F", bound="Callable[..., None]")

app = typer.Typer(
    help="acron: an asyncio-native job scheduler. Without a verb: run.",
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Ref = Annotated[str, typer.Argument(metavar="REF", help="A job's id, or its name.")]
Tag = Annotated[str | None, typer.Option("--tag", metavar="TEXT", help="The jobs with this tag.")]
Tz = Annotated[
    str | None, typer.Option("--tz", metavar="ZONE", help="IANA zone, like Europe/Paris.")
]

_STORE = "Where the jobs are: a URL or a path (ACRON_STORE; default: jobs.json in the home)."
_HOME = "Home directory, with acron.toml (ACRON_HOME; default: the user data directory)."
_APP = "Use the Acron of a program, as in bot:app."
_WHERE = {
    "store": ("--store", "URL", _STORE),
    "home": ("--home", "DIR", _HOME),
    "app": ("--app", "MODULE:ATTR", _APP),
}


#: The global options that have a value.
VALUED = frozenset(flag for flag, *_ in _WHERE.values())

_EPILOG = "It takes --store, --home and --app too: see acron --help."

#: What a verb gets from us, and typer need not know.
_OURS = {"target", "fields", "return"}


class Usage(AcronError):
    """The command line itself is wrong."""

    exit_code = 2
    ctx: typer.Context | None = None


def listening(address: str) -> socket.socket:
    """A socket at ``[HOST:]PORT``. Raises Usage, and ConfigError where nobody can listen."""
    from acron.web import listen  # noqa: PLC0415 (few verbs serve)

    try:
        return listen(address)
    except AcronError:
        raise  # some are ValueErrors, too
    except ValueError as error:
        raise Usage(str(error)) from None


def option(kind: Any, flag: str, metavar: str | None, text: str, *, hidden: bool = False) -> Any:
    """The annotation of an option, for a table of them."""
    return Annotated[kind, typer.Option(flag, metavar=metavar, help=text, hidden=hidden)]


def verb(name: str, *, fields: Mapping[str, Any] | None = None) -> Callable[[F], F]:
    """Declare a verb: ``function(target, …)``, its parameters typer's.

    The global options may also follow the verb. ``fields`` are annotations of options that the
    function gets as one mapping, ``fields``: those that were given.
    """

    def declare(function: F) -> F:
        told = {key: kind for key, kind in function.__annotations__.items() if key not in _OURS}
        hints = get_type_hints(
            SimpleNamespace(__annotations__=told), function.__globals__, include_extras=True
        )
        own = [
            parameter.replace(annotation=hints[parameter.name])
            for parameter in inspect.signature(function).parameters.values()
            if parameter.name in hints
        ]
        where = {key: option(str | None, *words, hidden=True) for key, words in _WHERE.items()}

        def command(context: typer.Context, **given: Any) -> None:
            target: Target = context.obj.over(**{key: given.pop(key) for key in where})
            if fields is not None:
                values = {key: given.pop(key) for key in fields}
                given["fields"] = {key: one for key, one in values.items() if _is_given(one)}
            try:
                function(target, **given)
            except Usage as error:
                error.ctx = context
                raise

        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter("context", keyword, annotation=typer.Context),
            *(one.replace(kind=keyword) for one in own),
            *(
                inspect.Parameter(key, keyword, default=None, annotation=annotation)
                for key, annotation in {**(fields or {}), **where}.items()
            ),
        ]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        app.command(name, help=function.__doc__, epilog=_EPILOG)(command)
        return function

    return declare


def _is_given(value: object) -> bool:
    return value is not None and value is not False and value not in ([], ())


def _version(wanted: bool) -> None:  # noqa: FBT001 (typer's callback)
    if wanted:
        from acron import __version__  # noqa: PLC0415

        typer.echo(f"acron {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _globals(
    context: typer.Context,
    store: Annotated[str | None, typer.Option(metavar="URL", help=_STORE)] = None,
    home: Annotated[str | None, typer.Option(metavar="DIR", help=_HOME)] = None,
    program: Annotated[str | None, typer.Option("--app", metavar="MODULE:ATTR", help=_APP)] = None,
    version: Annotated[  # noqa: ARG001, FBT002 (its callback answers)
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version.")
    ] = False,
) -> None:
    context.obj = Target(store, home, program)
    if context.invoked_subcommand is None:
        from acron.cli.daemon import run  # noqa: PLC0415 (it imports this module)

        run(context.obj)
