"""How people are told: one module a platform. Strangers add theirs by entry points.

To add one: a module here, its line in ``CLIENTS`` (the clients that it wraps) and in ``OURS``
(how it is made from the environment).
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from acron.abc import Adapter
from acron.adapters.local import LocalAdapter
from acron.adapters.log import LogAdapter
from acron.errors import ConfigError
from acron.plugins import close_all, plugins

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

GROUP = "acron.adapters"

#: What wraps a client: by the package and the name of its class, or of a base of it.
CLIENTS: dict[tuple[str, str], str] = {
    ("telegram", "Bot"): "telegram:TelegramAdapter",
    ("aiogram", "Bot"): "telegram:TelegramAdapter",
    ("discord", "Client"): "discord:DiscordAdapter",
    ("discord", "Webhook"): "discord:DiscordWebhook",
    ("slack_sdk", "AsyncWebClient"): "slack:SlackAdapter",
    ("nio", "AsyncClient"): "matrix:MatrixAdapter",
    ("aiosmtplib", "SMTP"): "email:EmailAdapter",
    ("apprise", "Apprise"): "apprise:AppriseAdapter",
}
#: By platform, who makes its adapter from the environment; None when that says nothing of it.
OURS: dict[str, str] = {
    name: f"{name}:from_environment"
    for name in ("telegram", "discord", "slack", "matrix", "email", "webhook", "apprise")
}


def load_adapters(
    root: Path, *, taken: Collection[str] = (), environ: Mapping[str, str] = os.environ
) -> dict[str, Adapter]:
    """The adapters that no program has to make, by name: acron's own, then strangers'.

    ``root`` is the directory in which ``local`` writes. Those whose credentials ``environ`` has
    are there; names that are ``taken`` are left out. Raises ConfigError.
    """
    own: dict[str, Adapter] = {"local": LocalAdapter(root), "log": LogAdapter()}
    for name, place in OURS.items():
        if name not in taken and (made := _find(place)(environ)) is not None:
            own[name] = made
    return own | plugins(GROUP, Adapter, taken=own)  # type: ignore[type-abstract]


def adapt(name: str, given: object) -> Adapter:
    """The adapter of platform ``name`` that a program has given: as it is, or, for a client of
    somebody else's library, ours around it. Raises ConfigError for what nobody knows."""
    if isinstance(given, Adapter):
        return given
    for kind in type(given).__mro__:
        place = CLIENTS.get((kind.__module__.partition(".")[0], kind.__name__))
        if place is not None:
            made: Adapter = _find(place)(given, name=name)
            return made
    known = ", ".join(f"{package}.{kind}" for package, kind in CLIENTS)
    message = f"{type(given).__name__} is neither an Adapter nor a client that is known ({known})"
    raise ConfigError(message, where=f"adapters[{name!r}]")


async def close_adapters(adapters: Mapping[str, Adapter]) -> None:
    """Close those that we have made, within a second; a fault of one is not the others'."""
    await close_all("adapter", adapters, 1.0)


def _find(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"acron.adapters.{module}"), name)
