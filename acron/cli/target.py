"""Which Acron a command is about, and how a verb uses it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from acron.cli.logs import logging_to_stderr
from acron.errors import AcronError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from acron.app import Acron
    from acron.model import Settings

T = TypeVar("T")


class Target(NamedTuple):
    """The global options. An ``app`` brings its own store and home."""

    store: str | None = None
    home: str | None = None
    app: str | None = None

    def over(self, store: str | None, home: str | None, app: str | None) -> Target:
        """These, where given, in the place of ours."""
        return Target(
            self.store if store is None else store,
            self.home if home is None else home,
            self.app if app is None else app,
        )

    @property
    def command(self) -> str:
        """How to call this command line again, for hints."""
        given = {"--store": self.store, "--home": self.home, "--app": self.app}
        flags = [f"{flag} {shlex.quote(value)}" for flag, value in given.items() if value]
        return " ".join(["acron", *flags])

    def settings(self) -> Settings:
        """The settings in force; the zone is the system's unless they name one."""
        from msgspec.structs import replace  # noqa: PLC0415

        from acron.config import load_settings  # noqa: PLC0415

        settings = load_settings(self.home, store=self.store)
        return settings if settings.tz else replace(settings, tz=system_zone())

    def acron(self) -> Acron:
        """The Acron, not yet open. Raises ConfigError."""
        from acron.app import Acron  # noqa: PLC0415 (half of the start-up time)

        if self.app is None:
            return Acron(settings=self.settings())
        if self.store is not None or self.home is not None:
            message = "--app brings its own store and home; leave out --store and --home"
            raise ConfigError(message)
        found = _imported(self.app)
        if not isinstance(found, Acron):
            message = f"--app {self.app}: is a {type(found).__name__}, not an Acron"
            raise ConfigError(message)
        return found

    def do(self, work: Callable[[Acron], Awaitable[T]], *, firing: bool = False) -> T:
        """``work`` on the opened Acron; jobs are fired by nobody here unless ``firing``."""
        app = self.acron()

        async def attached() -> T:
            async with app.attached(firing=firing):
                with at_once(app):
                    return await work(app)

        return on_a_loop(attached())


@contextlib.contextmanager
def at_once(app: Acron) -> Iterator[None]:
    """Who stops a command does not want to wait for the runs that it has started."""
    from msgspec.structs import replace  # noqa: PLC0415

    try:
        yield
    except asyncio.CancelledError:
        app.settings = replace(app.settings, drain_timeout=0.0)
        raise


def on_a_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end; SIGTERM stops it as SIGINT does: with all its clean-up."""

    async def stoppable() -> T:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a script's shell does so with "&"
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with logging_to_stderr(logging.WARNING):
            return asyncio.run(stoppable())
    except asyncio.CancelledError:
        raise SystemExit(128 + signal.SIGTERM) from None


def _imported(path: str) -> object:
    """What ``module:attr`` names; ``:app`` may be left out. Modules here come first."""
    module, _, attribute = path.partition(":")
    if module.endswith(".py") or "/" in module or not module:  # a file, where a module is meant
        module = module.removeprefix("./").removesuffix(".py")
        if module.startswith(("/", "..")):  # it is imported from the folder that it lies in
            module = module.rpartition("/")[2]
        module = module.replace("/", ".") or "bot"
        message = f"--app {path}: write MODULE:ATTR, as in --app {module}:{attribute or 'app'}"
        raise ConfigError(message)
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: object = import_module(module)
    except AcronError:
        raise
    except Exception as error:  # a module of the user's may raise whatever it likes
        message = f"--app {path}: cannot import {module!r}: {type(error).__name__}: {error}"
        raise ConfigError(message) from error
    for part in (attribute or "app").split("."):
        found = getattr(found, part, None)
    if found is None:
        message = f"--app {path}: {module!r} has no {attribute or 'app'!r}"
        raise ConfigError(message)
    return found


_UTC = {"Etc/UTC", "Etc/UCT", "Etc/Zulu"}


def system_zone() -> str:
    """The IANA name of the machine's zone: ``TZ``, else what ``/etc/localtime`` is; else UTC."""
    from acron.schedules.zones import zone  # noqa: PLC0415

    linked = os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]
    for name in (os.environ.get("TZ", "").lstrip(":"), linked.removeprefix("posix/")):
        try:
            if name:
                return zone(name.removeprefix("Etc/") if name in _UTC else name).name
        except LookupError:
            continue  # TZ may also hold a rule, such as CET-1CEST
    return "UTC"
