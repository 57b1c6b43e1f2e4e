"""E-mail, with aiosmtplib's client and aiosmtpd's server."""

from __future__ import annotations

import email
import socket
from email import policy
from typing import TYPE_CHECKING, Any

import aiosmtplib
import pytest
from aiosmtpd.controller import Controller

from acron.adapters import adapt, load_adapters
from acron.adapters.email import EmailAdapter
from acron.errors import ConfigError, DeliveryError
from acron.testing.contracts.adapters import ODD_IDS, RAW, AdapterContract, message_of, send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from email.message import EmailMessage
    from pathlib import Path

    from acron.abc import Adapter


class Mailbox:
    """Takes mail, or answers as it is told to."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.answers: list[str] = []
        self.at_rcpt: list[str] = []
        self.port = 0

    async def handle_RCPT(  # noqa: N802 (its name is aiosmtpd's)
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if self.at_rcpt:
            return self.at_rcpt.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        answer = self.answers.pop(0) if self.answers else "250 OK"
        if answer.startswith("250") or answer == "drop":
            mail = email.message_from_bytes(envelope.content, policy=policy.default)
            self.mails.append(mail)
        if answer == "drop":
            server.transport.abort()
        return answer

    def texts(self) -> list[str]:
        found = []
        for mail in self.mails:
            body = mail.get_body()
            assert body is not None
            found.append(body.get_content().rstrip("\r\n").replace("\r\n", "\n"))
        return found


@pytest.fixture(scope="module")
def server() -> Iterator[Mailbox]:
    mailbox = Mailbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        mailbox.port = free.getsockname()[1]
    controller = Controller(mailbox, hostname="127.0.0.1", port=mailbox.port)
    controller.start()
    yield mailbox
    controller.stop()


@pytest.fixture
def mailbox(server: Mailbox) -> Mailbox:
    server.mails, server.answers, server.at_rcpt = [], [], []
    return server


@pytest.fixture
def adapter(mailbox: Mailbox) -> Adapter:
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=mailbox.port, timeout=5)
    return EmailAdapter(client, sender="acron@example.org")


class TestEmail(AdapterContract):
    to = "me@example.org"

    @pytest.fixture
    def adapter(self, adapter: Adapter) -> Adapter:
        return adapter

    @pytest.fixture
    def told(self, adapter: Adapter, mailbox: Mailbox) -> Callable[[], Sequence[str]]:
        return mailbox.texts

    async def test_takes_whatever_an_id_may_be(  # type: ignore[override]
        self, adapter: Adapter, mailbox: Mailbox
    ) -> None:
        for job_id in ODD_IDS:
            assert (await send(adapter, message_of("odd", job_id=job_id, to=self.to))).id
            assert not RAW.search(mailbox.mails[-1]["Subject"])


async def test_what_is_in_a_mail(adapter: Adapter, mailbox: Mailbox, tmp_path: Path) -> None:
    message = message_of("tea is ready", name="Tea", to="me@example.org")
    chart = tmp_path / "chart.png"
    chart.write_bytes(b"png")
    receipt = await adapter.send(  # type: ignore[misc]
        type(message)(message.to, message.text, message.job, message.run, files=(chart,))
    )
    (mail,) = mailbox.mails
    assert mail["Subject"] == "Tea: succeeded"
    assert (mail["From"], mail["To"]) == ("acron@example.org", "me@example.org")
    assert mail["Message-ID"] == receipt.id
    assert mail["Auto-Submitted"] == "auto-generated"
    (attached,) = mail.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == ("chart.png", b"png")


@pytest.mark.parametrize(
    "where, answer, permanent, unknown",
    [
        ("answers", "451 4.7.1 come back later", False, False),
        ("answers", "552 5.3.4 message too big", True, False),
        ("answers", "drop", False, True),
        ("at_rcpt", "450 4.2.1 mailbox is busy", False, False),
        ("at_rcpt", "550 5.1.1 no such user", True, False),
    ],
)
async def test_what_a_server_says(
    adapter: Adapter, mailbox: Mailbox, where: str, answer: str, permanent: bool, unknown: bool
) -> None:
    setattr(mailbox, where, [answer])
    with pytest.raises(DeliveryError) as caught:
        await send(adapter, message_of("tea", to="me@example.org"))
    assert (caught.value.permanent, caught.value.unknown) == (permanent, unknown)
    if answer != "drop":
        assert answer[:3] in str(caught.value)
    assert (await send(adapter, message_of("again", to="me@example.org"))).id


@pytest.mark.parametrize("to", ["", "two words", "a@b\r\nBcc: x@y"])
async def test_no_address_is_final(adapter: Adapter, mailbox: Mailbox, to: str) -> None:
    with pytest.raises(DeliveryError) as caught:
        await send(adapter, message_of("tea", to=to))
    assert caught.value.permanent
    assert mailbox.mails == []


async def test_no_server() -> None:
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=9, timeout=5)
    with pytest.raises(DeliveryError) as caught:
        await send(EmailAdapter(client, sender="a@b.org"), message_of("tea", to="me@b.org"))
    assert (caught.value.permanent, caught.value.unknown) == (False, False)


async def test_a_program_s_own_client(mailbox: Mailbox) -> None:
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=mailbox.port)
    adapter = adapt("email", client)
    with pytest.raises(DeliveryError, match="ACRON_SMTP_FROM"):
        await send(adapter, message_of("tea", to="me@example.org"))
    async with client:  # one that is connected stays so
        sending = EmailAdapter(client, sender="a@example.org")
        for _ in range(2):
            await send(sending, message_of("tea", to="me@example.org"))
        assert client.is_connected
    assert len(mailbox.mails) == 2


async def test_from_the_environment(mailbox: Mailbox, tmp_path: Path) -> None:
    environ = {"ACRON_SMTP_URL": f"smtp://127.0.0.1:{mailbox.port}", "ACRON_SMTP_FROM": "a@b.org"}
    adapter = load_adapters(tmp_path, environ=environ)["email"]
    assert (await send(adapter, message_of("tea", to="me@b.org"))).id
    for wrong in ({"ACRON_SMTP_URL": "http://x"}, {"ACRON_SMTP_URL": "smtp://x"}):
        with pytest.raises(ConfigError, match="ACRON_SMTP"):
            load_adapters(tmp_path, environ=wrong)
