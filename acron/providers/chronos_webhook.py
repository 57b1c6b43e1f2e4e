"""The fire webhook: one route, as a plain ASGI app that any server or framework can hold."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from acron.abc import Fired
from acron.contain import meant_for_us, text_of
from acron.errors import InvalidJob
from acron.records import check_id
from acron.text import one_line

logger = logging.getLogger("acron.providers")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: Where the scheduler calls, below whatever the app is mounted at.
PATH = "/api/cron/fire"
#: The largest body, in bytes, and how long it may take to come, in seconds.
BODY_LIMIT = 64 * 1024
BODY_TIMEOUT = 10.0
#: What a caller who comes at a bad moment is told to wait, in seconds.
RETRY_AFTER = 5

_STATUS = {
    Fired.CLAIMED: 202,
    Fired.EARLY: 200,
    Fired.NOTHING: 200,
    Fired.LOST: 200,
    Fired.DRAINING: 503,
}


class _Call(msgspec.Struct, frozen=True):
    job_id: str
    fire_at: datetime | None = None


class _Refused(Exception):
    """Answer with ``status``; nothing was done."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Webhook:
    """``POST …/api/cron/fire``, a JSON object with ``job_id`` and ``fire_at``.

    ``verify`` is asked about the ``Authorization`` header before anything of the body is read: who
    cannot prove themselves get one and the same 401. ``fire`` is the door that the trigger goes
    through. Answers: 202 claimed; 200 nothing owed, a duplicate, gone, or far too early; 400 no
    job id, or no JSON; 408 a slow body; 413 a large one; 503, with ``Retry-After``, while draining
    or when the store fails.
    """

    def __init__(
        self,
        verify: Callable[[str], Awaitable[bool]],
        fire: Callable[[str, datetime | None], Awaitable[Fired]],
    ) -> None:
        self._verify = verify
        self._fire = fire

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI, for the scope ``http``."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            raise ValueError(f"the webhook does not speak {scope['type']!r}")
        try:
            status, told = await self._answer(scope, receive)
        except _Refused as refused:
            status, told = refused.status, "refused"
        except ConnectionResetError:
            return  # the caller has gone: there is nobody to answer
        await _reply(send, status, told)

    async def _answer(self, scope: Message, receive: Receive) -> tuple[int, str]:
        if not scope["path"].endswith(PATH):
            raise _Refused(404)
        if scope["method"] != "POST":
            raise _Refused(405)
        if not await self._verify(_header(scope, b"authorization")):
            raise _Refused(401)
        length = _header(scope, b"content-length")
        if length.isascii() and length.isdigit() and (len(length) > 9 or int(length) > BODY_LIMIT):
            raise _Refused(413)
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                body = await _body(receive)
        except TimeoutError:
            raise _Refused(408) from None
        call = _call(body)
        try:
            fired = await self._fire(call.job_id, call.fire_at)
        except BaseException as error:
            if meant_for_us(error):
                raise
            logger.error("the webhook: %s", one_line(text_of(error)))  # noqa: TRY400 (no secrets)
            fired = Fired.DRAINING
        return _STATUS[fired], fired.value


def _header(scope: Message, name: bytes) -> str:
    """One header's value; a header that comes twice is none."""
    values = [value for key, value in scope["headers"] if key.lower() == name]
    return values[0].decode("latin-1") if len(values) == 1 else ""


async def _body(receive: Receive) -> bytes:
    data = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        data += message.get("body", b"")
        if len(data) > BODY_LIMIT:
            raise _Refused(413)
        if not message.get("more_body", False):
            return bytes(data)


def _call(body: bytes) -> _Call:
    """What is asked for; an id that no job can have is refused before anything looks for it."""
    try:
        call = msgspec.json.decode(body, type=_Call)
        check_id(call.job_id)
        if call.fire_at is None:
            return call
        if call.fire_at.tzinfo is None:
            raise _Refused(400)
        return _Call(call.job_id, call.fire_at.astimezone(UTC))
    except (InvalidJob, ValueError, OverflowError, RecursionError) as error:
        raise _Refused(400) from error


async def _reply(send: Send, status: int, told: str) -> None:
    body = msgspec.json.encode({"status": told})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 405:
        headers.append((b"allow", b"POST"))
    if status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
