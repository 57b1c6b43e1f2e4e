"""Tell by e-mail, through aiosmtplib."""

from __future__ import annotations

import asyncio
import mimetypes
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from acron.adapters.base import ClientAdapter, content, lost, missing, setting
from acron.errors import ConfigError, DeliveryError
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from acron.abc import Adapter, Message

_PORTS = {"smtp": 587, "smtps": 465}


class EmailAdapter(ClientAdapter):
    """``email:<address>``, through an ``aiosmtplib.SMTP``: one message at a time.

    A client that is not connected is connected for each message. ``sender`` is the address that
    it comes from; by default the name that the client logs in with. The receipt is the
    Message-ID.
    """

    def __init__(self, client: Any, *, name: str = "email", sender: str = "") -> None:
        super().__init__(client, name=name)
        self._sender = sender or getattr(client, "_login_username", None) or ""
        self._one_at_a_time = asyncio.Lock()

    async def post(self, message: Message) -> AsyncIterator[str]:
        if not message.to:
            why = "no address: write email:<address>, or set home_channels.email"
            raise DeliveryError(why, permanent=True)
        if not self._sender:
            raise DeliveryError("no sender: set ACRON_SMTP_FROM", permanent=True)
        mail = await _mail(message, self._sender)
        async with self._one_at_a_time:
            if self.client.is_connected:
                await self.client.send_message(mail)
            else:
                async with self.client:
                    await self.client.send_message(mail)
        yield str(mail["Message-ID"])

    def fault(self, error: Exception) -> DeliveryError:
        code = getattr(error, "code", None)
        if code is None and (several := getattr(error, "recipients", None)):
            code = getattr(several[0], "code", None)  # all were refused; there is one
        if isinstance(code, int) and code > 0:
            again = 400 <= code < 500
            text = f"{code} {one_line(str(error), 300)}"
            return DeliveryError(text, permanent=not again)
        if isinstance(error, ValueError):  # the client refuses the address, and sends nothing
            return DeliveryError(str(error), permanent=True)
        return lost(error)


async def _mail(message: Message, sender: str) -> EmailMessage:
    job, run = message.job, message.run
    mail = EmailMessage()
    try:
        mail["From"] = sender
        mail["To"] = message.to
    except ValueError as error:
        raise DeliveryError(f"no address: {error}", permanent=True) from error
    part = f" ({message.part + 1})" if message.part else ""
    mail["Subject"] = one_line(f"{job.name or job.id}: {run.state.value}{part}", 200)
    mail["Date"] = formatdate(localtime=False)
    mail["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].strip("> ") or "acron")
    mail["Auto-Submitted"] = "auto-generated"  # no out-of-office replies
    mail.set_content(message.text)
    for path in message.files:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        main, _, sub = kind.partition("/")
        mail.add_attachment(await content(path), maintype=main, subtype=sub, filename=path.name)
    return mail


def from_environment(environ: Mapping[str, str]) -> Adapter | None:
    """``ACRON_SMTP_URL``: ``smtp[s]://[user:password@]host[:port]``; ``ACRON_SMTP_FROM``.

    ``smtps`` speaks TLS from the start; ``smtp`` changes to it when the server offers that, and
    never gives a password without it.
    """
    url = setting(environ, "ACRON_SMTP_URL")
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ConfigError("it is smtp[s]://[user:password@]host[:port]", where="ACRON_SMTP_URL")
    try:
        import aiosmtplib  # noqa: PLC0415 (only then)
    except ImportError:
        raise missing("email", "ACRON_SMTP_URL") from None
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    client = aiosmtplib.SMTP(
        hostname=parts.hostname,
        port=parts.port or _PORTS[parts.scheme],
        username=user or None,
        password=password or None,
        use_tls=parts.scheme == "smtps",
        start_tls=True if user and parts.scheme == "smtp" else None,
        timeout=30,
    )
    sender = setting(environ, "ACRON_SMTP_FROM") or user
    if "@" not in sender:
        raise ConfigError("say who it comes from, an address", where="ACRON_SMTP_FROM")
    return EmailAdapter(client, sender=sender)
