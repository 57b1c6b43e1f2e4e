"""Where output goes, as people write it::

    local | log | origin | all | <platform> | <platform>:<chat>[:<thread>] | <any Apprise URL>

A platform alone means its home channel, ``all`` every home channel, ``origin`` the place where
the job was asked for. A URL is sent through Apprise, and is a secret as a whole.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from acron.errors import InvalidJob
from acron.text import HIDDEN, redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from acron.model import Delivery

#: Targets that name no place themselves.
ORIGIN, ALL = "origin", "all"
#: The platform that takes URLs.
APPRISE = "apprise"

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://\S+", re.IGNORECASE)
_PLATFORM = re.compile(r"[a-z][a-z0-9_-]*", re.IGNORECASE)
_HOST = re.compile(r"(\w+:)?([a-z][a-z0-9+.-]*://)(?:[^/?#@\s]*@)?([^/?#\s]*)\S*", re.IGNORECASE)
_ALONE = frozenset({ORIGIN, ALL, "local", "log"})


class Target(Struct, frozen=True):
    """A target taken apart: who sends it, and ``to``, which that adapter understands."""

    platform: str
    to: str = ""


def parse_target(text: str) -> Target:
    """``text`` taken apart. Raises InvalidJob, which does not repeat what may be a secret."""
    if _URL.fullmatch(text):
        return Target(APPRISE, text)
    platform, colon, to = text.partition(":")
    if not _PLATFORM.fullmatch(platform) or to.startswith("//"):
        raise InvalidJob(f"{platform[:40]!r} is no target: write platform, platform:chat or a URL")
    if colon and not to.strip():
        raise InvalidJob(f"{platform!r} names no chat after its colon")
    if colon and platform in _ALONE:
        raise InvalidJob(f"{platform!r} stands alone: nothing follows it")
    return Target(platform, to)


def shown(text: str) -> str:
    """A target for every sink: of an Apprise URL only the scheme, of another one the host."""
    if found := _URL.fullmatch(text):
        return f"{found[1]}://{HIDDEN}"
    if found := _HOST.fullmatch(text):
        return f"{found[1] or ''}{found[2]}{found[3]}/{HIDDEN}"
    return redact(text)


def hide(text: str, to: str) -> str:
    """``text``, of an error, without what is secret in the URL that it is about."""
    if "://" not in to:
        return text
    text = text.replace(to, shown(to))
    for piece in re.split(r"[/?&=@:#]+", to.partition("://")[2])[1:]:
        if len(piece) >= 6:
            text = text.replace(piece, HIDDEN)
    return text


def chat_and_thread(to: str) -> tuple[str, str]:
    """``chat[:thread]`` in two, where no chat of the platform has a colon in its name."""
    chat, _, thread = to.partition(":")
    return chat, thread


def expand(
    deliveries: Iterable[Delivery], origin: str | None, homes: Mapping[str, str]
) -> tuple[Delivery, ...]:
    """What waits to be sent, each with a place of its own; of doubles the first one stays.

    ``homes`` are the home channels by platform. What cannot be resolved stays as it is.
    """
    found: dict[str, Delivery] = {}
    for one in deliveries:
        names = _places(one.target, origin, homes) if one.state == "pending" else (one.target,)
        for name in names:
            found.setdefault(name, one if name == one.target else replace(one, target=name))
    return tuple(found.values())


def _places(target: str, origin: str | None, homes: Mapping[str, str]) -> Iterator[str]:
    if target == ALL and homes:
        for platform, chat in homes.items():
            yield f"{platform}:{chat}"
    elif target == ORIGIN and origin is not None:
        yield from _places(origin, None, homes)
    elif target in homes:
        yield f"{target}:{homes[target]}"
    else:
        yield target
