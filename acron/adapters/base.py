"""What the adapters of chats have in common: they wrap a client, and tell its errors apart."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiofiles

from acron.abc import Adapter, Message, Receipt
from acron.contain import meant_for_us, text_of
from acron.errors import ConfigError, DeliveryError
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

#: Errors, by the names of their classes, after which nothing can have gone out.
_NOT_SENT = frozenset(
    {
        "ClientConnectorError",
        "ClientProxyConnectionError",
        "ConnectError",
        "ConnectTimeout",
        "ConnectionRefusedError",
        "ConnectionTimeoutError",
        "InvalidURL",
        "LocalProtocolError",
        "NonHttpUrlClientError",
        "PoolTimeout",
        "PrivateAddress",
        "ProxyError",
        "SMTPConnectError",
        "UnsupportedProtocol",
        "gaierror",
    }
)
#: HTTP statuses that ask to come again, and those of a proxy that does not know what became of it.
_AGAIN = frozenset({408, 425, 429, 500, 502, 503})
_UNKNOWN = frozenset({504, 520, 522, 524})
_PICTURES = frozenset({".gif", ".jpeg", ".jpg", ".png", ".webp"})


class ClientAdapter(Adapter):
    """An adapter around ``client``, an object of the platform's own library."""

    takes_files = True

    def __init__(self, client: Any, *, name: str) -> None:
        self.client = client
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    async def send(self, message: Message) -> Receipt:
        """Post it. When one of several posts fails, it is unknown what people have seen."""
        ids: list[str] = []
        try:
            async for one in self.post(message):
                ids.append(one)  # noqa: PERF401 (what has gone out by a fault must be known)
        except Exception as error:
            if meant_for_us(error):
                raise
            found = error if isinstance(error, DeliveryError) else self.fault(error)
            if ids:
                why = f"{found}; what came before it had gone out as {', '.join(ids)}"
                raise DeliveryError(why, unknown=True) from error
            raise found from error
        return Receipt(one_line(", ".join(ids)) or None)

    @abstractmethod
    def post(self, message: Message) -> AsyncIterator[str]:
        """Post its text and files, giving the id of each message once the platform has it."""

    @abstractmethod
    def fault(self, error: Exception) -> DeliveryError:
        """What an error of the client's means."""


def refused(status: int, text: str, retry_after: object = None) -> DeliveryError:
    """What an HTTP answer means that is no success. ``retry_after`` is in seconds, or a text."""
    why = f"{status}: {text}"
    if status in _UNKNOWN:
        return DeliveryError(f"{why}; it may have gone out", unknown=True)
    return DeliveryError(why, retry_after=_seconds(retry_after), permanent=status not in _AGAIN)


def lost(error: BaseException) -> DeliveryError:
    """What an error means that came in the place of an answer, or with one that nobody
    understands: unless nothing was sent, it may have gone out."""
    why = text_of(error)
    if _never_sent(error):
        return DeliveryError(f"it cannot be reached: {why}")
    return DeliveryError(f"no answer that can be understood: {why}; it may be out", unknown=True)


def _never_sent(error: BaseException | None) -> bool:
    while error is not None:
        if any(kind.__name__ in _NOT_SENT for kind in type(error).__mro__):
            return True
        error = error.__cause__ or error.__context__
    return False


def _seconds(value: object) -> float | None:
    try:
        return max(0.0, float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):  # none given, or a date: then our own back-off
        return None


def is_picture(path: Path) -> bool:
    """Whether a chat can show it."""
    return path.suffix.lower() in _PICTURES


async def content(path: Path) -> bytes:
    """What is in a file that goes with a message."""
    async with aiofiles.open(path, "rb") as file:
        return await file.read()


def number(text: str, what: str) -> int:
    """``text`` as the number that ids of this platform are. Raises DeliveryError."""
    try:
        return int(text)
    except ValueError:
        raise DeliveryError(f"{text!r} is not the id of {what}", permanent=True) from None


def setting(environ: Mapping[str, str], name: str) -> str:
    """A variable, or the first line of the file that ``<name>_FILE`` names; empty for neither."""
    if value := environ.get(name, "").strip():
        return value
    path = environ.get(f"{name}_FILE", "").strip()
    if not path:
        return ""
    try:
        return Path(path).read_text("utf-8").strip().partition("\n")[0]
    except OSError as error:
        why = f"cannot read {one_line(path)}: {error.strerror or error}"
        raise ConfigError(why, where=f"{name}_FILE") from error


def missing(extra: str, variable: str) -> ConfigError:
    """A platform is set up whose library is not there."""
    hint = f'its library is not installed: pip install "acron-runtime[{extra}]"'
    return ConfigError(hint, where=variable)
