"""Which provider the settings name. There always is one: the built-in, at worst."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import re
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from platformdirs import user_data_path

from acron.abc import CronScheduler
from acron.providers.inprocess import InProcessCronScheduler
from acron.text import one_line

if TYPE_CHECKING:
    from acron.model import Settings

logger = logging.getLogger("acron.providers")

GROUP = "acron.providers"
BUILTIN = frozenset({"", "builtin", "in-process", "inprocess"})
#: Those in this folder, by name: a module each, with ``register(ctx)``. Imported when asked for.
OURS = {
    "chronos": "acron.providers.chronos",
    "nats": "acron.providers.nats",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)


class PluginContext:
    """What a provider's ``register(ctx)`` is given: the ``settings``, and a place to put it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.provider: CronScheduler | None = None

    def register_cron_scheduler(self, provider: CronScheduler) -> None:
        """Offer ``provider``, an instance. Raises TypeError for anything else."""
        if not isinstance(provider, CronScheduler):
            raise TypeError(f"{provider!r} is not a CronScheduler")
        self.provider = provider


class _Unusable(Exception):
    """Why the named provider cannot be used, as the end of a sentence."""


def resolve_cron_scheduler(settings: Settings) -> CronScheduler:
    """The provider that ``settings.provider`` names, else the built-in, with one warning.

    Looked up among acron's own, then as an entry point of the group ``acron.providers``, then as a
    plugin in the home directory: a package ``plugins/<name>/`` or a module ``plugins/<name>.py``.
    Either gives a ``CronScheduler`` subclass (instantiated without arguments), an instance, or a
    function ``register(ctx)`` that calls ``ctx.register_cron_scheduler(provider)``.

    Whatever goes wrong, SystemExit included, ends in the built-in: a scheduler is never without
    a trigger. Only KeyboardInterrupt passes: there is a person behind it, and no loop yet.
    """
    name = settings.provider.strip()
    if name.casefold() in BUILTIN:
        return InProcessCronScheduler()
    try:
        provider = _load(name, settings)
        if not provider.is_available():
            raise _Unusable("is not available here")  # noqa: TRY301 (one way out for all)
        logger.info("provider %r: %s", name, provider.name)
    except KeyboardInterrupt:
        raise
    except _Unusable as reason:
        _warn(name, str(reason))
    except BaseException as error:  # noqa: BLE001 (a stranger's code: anything may come)
        _warn(name, f"failed to load ({type(error).__name__}: {error})", error)
    else:
        return provider
    return InProcessCronScheduler()


def _warn(name: str, reason: str, error: BaseException | None = None) -> None:
    logger.debug("why provider %r failed", name[:80], exc_info=error)
    shown = one_line(reason, 500)
    logger.warning("provider %r %s; the built-in is used instead", name[:80], shown)


def _load(name: str, settings: Settings) -> CronScheduler:
    if not _NAME.fullmatch(name):
        raise _Unusable("is not a provider's name (letters, digits, - and _)")
    if name in OURS:
        return _provider(importlib.import_module(OURS[name]), PluginContext(settings))
    entry = next(iter(entry_points(group=GROUP, name=name)), None)
    found = _import_plugin(name, _plugins(settings)) if entry is None else entry.load()
    return _provider(found, PluginContext(settings))


def _plugins(settings: Settings) -> Path:
    home = Path(settings.home).expanduser() if settings.home else user_data_path("acron")
    return home / "plugins"


def _provider(found: object, ctx: PluginContext) -> CronScheduler:
    """The instance that an entry point or a plugin module stands for."""
    if isinstance(found, ModuleType):
        register = getattr(found, "register", None)
        found = register if callable(register) else _own_subclass(found)
    if isinstance(found, type) and issubclass(found, CronScheduler):
        return found()
    if isinstance(found, CronScheduler):
        return found
    if isinstance(found, type) or not callable(found):
        raise _Unusable(f"is not a CronScheduler but {found!r:.80}")
    found(ctx)
    if ctx.provider is None:
        raise _Unusable("registered no CronScheduler")
    return ctx.provider


def _own_subclass(module: ModuleType) -> type[CronScheduler]:
    own = {
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, CronScheduler)
        and not inspect.isabstract(value)
        # An imported base class is not what the plugin offers.
        and f"{value.__module__}.".startswith(f"{module.__name__}.")
    }
    if len(own) != 1:
        count = "no" if not own else "more than one"
        raise _Unusable(f"defines {count} CronScheduler and no register(ctx)")
    return own.pop()


def _import_plugin(name: str, folder: Path) -> ModuleType:
    """Import a plugin under a private module name, leaving ``sys.path`` as it is."""
    package, module = folder / name / "__init__.py", folder / f"{name}.py"
    path = package if package.is_file() else module
    if not path.is_file():
        raise _Unusable(f"was not found (no entry point in {GROUP!r}, no plugin in {folder})")
    private = f"_acron_plugin_{name}"
    spec = importlib.util.spec_from_file_location(
        private,
        path,
        submodule_search_locations=[str(path.parent)] if path is package else None,
    )
    assert spec is not None  # noqa: S101 (a .py file has a loader)
    assert spec.loader is not None  # noqa: S101
    plugin = importlib.util.module_from_spec(spec)
    _forget(private)
    sys.modules[private] = plugin
    before = sys.path.copy()
    try:
        spec.loader.exec_module(plugin)
    except BaseException:
        _forget(private)
        raise
    finally:
        sys.path[:] = before
    return plugin


def _forget(private: str) -> None:
    """Drop an earlier plugin of that name and its submodules."""
    for name in [one for one in sys.modules if one == private or one.startswith(f"{private}.")]:
        del sys.modules[name]
