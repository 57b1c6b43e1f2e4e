"""Tell a Matrix room, through matrix-nio's client."""

from __future__ import annotations

import mimetypes
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from acron.adapters.base import (
    ClientAdapter,
    content,
    is_picture,
    lost,
    missing,
    refused,
    setting,
)
from acron.errors import ConfigError, DeliveryError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from acron.abc import Adapter, Message


class MatrixAdapter(ClientAdapter):
    """``matrix:<room>[:<thread>]``: ``!room:server`` or ``#alias:server``, the ``$event`` that
    began the thread.

    Sending again is harmless: the server knows a transaction by the id that we give it.
    """

    repeatable = True
    limit = 16_000  # an event has 64 KiB at most
    rate = 5.0

    async def post(self, message: Message) -> AsyncIterator[str]:
        room, mark, thread = message.to.partition(":$")
        if not room:
            why = "no room: write matrix:!room:server, or set home_channels.matrix"
            raise DeliveryError(why, permanent=True)
        if room.startswith("#"):
            room = _checked(await self.client.room_resolve_alias(room)).room_id
        told: dict[str, Any] = {}
        if mark:
            told["m.relates_to"] = {"rel_type": "m.thread", "event_id": f"${thread}"}
        if message.text.strip():
            text = {"msgtype": "m.text", "body": message.text, "m.mentions": {}}
            yield await self._event(room, text | told, message, 0)
        for place, path in enumerate(message.files, start=1):
            yield await self._event(room, await self._file(path) | told, message, place)

    async def _event(self, room: str, what: dict[str, Any], message: Message, place: int) -> str:
        key = f"{message.to}\0{message.job.id}\0{message.run.id}\0{message.run.token}"
        digest = blake2b(key.encode(errors="surrogatepass"), digest_size=16).hexdigest()
        sent = await self.client.room_send(
            room,
            "m.room.message",
            what,
            tx_id=f"acron-{digest}-{message.part}-{place}",
            ignore_unverified_devices=True,
        )
        return str(_checked(sent).event_id)

    async def _file(self, path: Path) -> dict[str, Any]:
        import io  # noqa: PLC0415

        data = await content(path)
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        answer, _ = await self.client.upload(
            io.BytesIO(data), content_type=kind, filename=path.name, filesize=len(data)
        )
        return {
            "msgtype": "m.image" if is_picture(path) else "m.file",
            "body": path.name,
            "url": _checked(answer).content_uri,
            "info": {"mimetype": kind, "size": len(data)},
        }

    def fault(self, error: Exception) -> DeliveryError:
        return lost(error)


def _checked(answer: Any) -> Any:
    """The client gives errors as answers."""
    if not type(answer).__name__.endswith("Error"):
        return answer
    code = str(answer.status_code or "no code")
    text = f"{code}: {answer.message}"
    if code == "M_LIMIT_EXCEEDED":
        raise refused(429, text, (answer.retry_after_ms or 0) / 1000)
    http = getattr(answer.transport_response, "status", 0)
    if http >= 400:
        raise refused(http, text)
    raise DeliveryError(f"no answer that can be understood: {text}", unknown=True)


class OwnMatrix(MatrixAdapter):
    """With a client that we have made, and close."""

    async def close(self) -> None:
        await self.client.close()


def from_environment(environ: Mapping[str, str]) -> Adapter | None:
    """``ACRON_MATRIX_SERVER``, ``ACRON_MATRIX_USER`` and ``ACRON_MATRIX_TOKEN``."""
    token = setting(environ, "ACRON_MATRIX_TOKEN")
    if not token:
        return None
    server = setting(environ, "ACRON_MATRIX_SERVER")
    user = setting(environ, "ACRON_MATRIX_USER")
    if not server or not user:
        message = "ACRON_MATRIX_SERVER (https://…) and ACRON_MATRIX_USER go with it"
        raise ConfigError(message, where="ACRON_MATRIX_TOKEN")
    try:
        from nio import AsyncClient, AsyncClientConfig  # noqa: PLC0415 (only then)
    except ImportError:
        raise missing("matrix", "ACRON_MATRIX_TOKEN") from None
    # Our own back-off is durable; the client's would go on for ever, and only while we live.
    config = AsyncClientConfig(max_limit_exceeded=0, max_timeouts=0, request_timeout=30)
    client = AsyncClient(server, user, config=config)
    client.restore_login(user, "acron", token)
    return OwnMatrix(client, name="matrix")
