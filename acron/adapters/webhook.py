"""Tell a URL: JSON, signed."""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from acron.abc import Adapter, Message, Receipt
from acron.adapters.base import lost, refused, setting
from acron.clock import SystemClock
from acron.errors import ConfigError, DeliveryError
from acron.net import Guard
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acron.clock import Clock

#: Seconds for a request, from its start to its answer.
TIMEOUT = 30.0
#: Errors, by name, that no other attempt can mend.
_NO_URL = frozenset({"BadUrl", "InvalidURL", "PrivateAddress"})


class WebhookAdapter(Adapter):
    """``webhook:<URL>``, or ``webhook`` alone for ``url``: a POST of JSON.

    The body has ``delivery job name run state attempt scheduled_at text part files``. With a
    ``secret``, ``X-Acron-Signature`` is ``v1=`` and the HMAC-SHA256, in hex, of the value of
    ``X-Acron-Timestamp`` (seconds since 1970), a full stop and the body. ``X-Acron-Delivery`` is
    new with each request, and the receipt; ``X-Acron-Key`` is the same when one is repeated.
    A status of 2xx is success. Addresses that are not public are refused unless ``guard`` allows
    them, and redirects are not followed.
    """

    verbatim = True

    def __init__(
        self,
        url: str = "",
        *,
        secret: str = "",
        guard: Guard | None = None,
        clock: Clock | None = None,
        timeout: float = TIMEOUT,
        name: str = "webhook",
    ) -> None:
        self._url = url
        self._secret = secret.encode()
        self._guard = guard or Guard()
        self._clock = clock or SystemClock()
        self._timeout = timeout
        self._name = name
        self._session: Any = None

    @property
    def name(self) -> str:
        return self._name

    async def send(self, message: Message) -> Receipt:
        session = self._opened()
        delivery = secrets.token_hex(16)
        body = msgspec.json.encode(_facts(message) | {"delivery": delivery})
        headers = self._headers(message, delivery, body)
        try:
            url = self._guard.checked_url(message.to or self._url)
            async with session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                status, reason = answer.status, one_line(answer.reason or "", 100)
                wait = answer.headers.get("Retry-After")
        except Exception as error:
            if found := _refusal(error):
                raise DeliveryError(str(found), permanent=True) from error
            raise lost(error) from error
        if not 200 <= status < 300:
            raise refused(status, reason, wait)
        return Receipt(delivery)

    def _headers(self, message: Message, delivery: str, body: bytes) -> dict[str, str]:
        stamp = str(int(self._clock.now().timestamp()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "acron",
            "X-Acron-Delivery": delivery,
            "X-Acron-Key": f"{message.run.id}.{message.part}",
            "X-Acron-Timestamp": stamp,
        }
        if self._secret:
            headers["X-Acron-Signature"] = sign(self._secret, stamp, body)
        return headers

    def _opened(self) -> Any:
        if self._session is None:
            try:
                import aiohttp  # noqa: PLC0415 (an extra)
            except ImportError:
                why = 'aiohttp is not installed: pip install "acron-runtime[webhook]"'
                raise DeliveryError(why, permanent=True) from None
            limit = aiohttp.ClientTimeout(total=self._timeout)
            self._session = aiohttp.ClientSession(connector=self._guard.connector(), timeout=limit)
        return self._session

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """The value of ``X-Acron-Signature``, for whoever checks one."""
    told = hmac.digest(secret, timestamp.encode() + b"." + body, "sha256").hex()
    return f"v1={told}"


def _refusal(error: BaseException | None) -> BaseException | None:
    """A refusal of the URL itself, ours or aiohttp's, which may be wrapped."""
    while error is not None:
        if any(kind.__name__ in _NO_URL for kind in type(error).__mro__):
            return error
        error = error.__cause__ or error.__context__
    return None


def _facts(message: Message) -> dict[str, Any]:
    job, run = message.job, message.run
    return {
        "job": one_line(job.id),
        "name": one_line(job.name or job.id),
        "run": one_line(run.id),
        "state": run.state.value,
        "attempt": run.attempt,
        "scheduled_at": run.scheduled_at,
        "text": message.text,
        "part": message.part,
        "files": list(run.files),
    }


def from_environment(environ: Mapping[str, str]) -> Adapter:
    """``ACRON_WEBHOOK_URL``, ``ACRON_WEBHOOK_SECRET``; ``ACRON_WEBHOOK_ALLOW`` lists networks and
    hosts, by commas, that may be asked though they are not public."""
    allowed = setting(environ, "ACRON_WEBHOOK_ALLOW").split(",")
    try:
        guard = Guard(one.strip() for one in allowed if one.strip())
    except ValueError as error:
        raise ConfigError(str(error), where="ACRON_WEBHOOK_ALLOW") from error
    secret = setting(environ, "ACRON_WEBHOOK_SECRET")
    return WebhookAdapter(setting(environ, "ACRON_WEBHOOK_URL"), secret=secret, guard=guard)
