"""A webhook: signed, and no way into the machine's own network."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from acron.adapters import load_adapters
from acron.adapters.webhook import WebhookAdapter
from acron.errors import ConfigError, DeliveryError
from acron.net import Guard, PrivateAddress
from acron.testing import VirtualClock
from acron.testing.contracts.adapters import message_of, send
from tests.adapters.duties import ChatDuties

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from acron.abc import Adapter
    from tests.adapters.platforms import Platforms

HERE = Guard(["127.0.0.0/8"])


class TestWebhook(ChatDuties):
    @pytest.fixture(autouse=True)
    def _to(self, platforms: Platforms) -> None:
        self.to = f"{platforms.url}/hook"

    @pytest.fixture
    async def adapter(self, platforms: Platforms) -> AsyncIterator[Adapter]:
        adapter = WebhookAdapter(guard=HERE, timeout=0.5)
        yield adapter
        await adapter.close()
        await adapter.close()

    def point(
        self, adapter: Adapter, platforms: Platforms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.to = f"{platforms.url}/hook"

    @pytest.mark.parametrize("fault", ["hang", "drop"])
    async def test_nobody_knows_what_became_of_it(
        self, adapter: Adapter, platforms: Platforms, fault: str
    ) -> None:
        await super().test_nobody_knows_what_became_of_it(adapter, platforms, fault)

    async def test_the_longest_part_is_taken(self, adapter: Adapter, platforms: Platforms) -> None:
        """There is no limit."""
        await send(adapter, message_of("x" * 70_000, to=self.to))
        assert platforms.told == ["x" * 70_000]

    async def test_what_the_platform_says_is_too_long_is_final(
        self, adapter: Adapter, platforms: Platforms
    ) -> None:
        """Nothing is."""

    async def test_files(self, adapter: Adapter, platforms: Platforms, tmp_path: Path) -> None:
        """Their names are told, and no more."""
        assert not adapter.takes_files

    async def test_a_redirect_is_not_followed(self, adapter: Adapter, platforms: Platforms) -> None:
        self.to = f"{platforms.url}/elsewhere"
        error = await self.failing(adapter)
        assert error.permanent
        assert len(platforms.requests) == 1


async def test_it_is_signed(platforms: Platforms) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    adapter = WebhookAdapter(
        f"{platforms.url}/hook", secret="s3cret", guard=HERE, clock=VirtualClock(at)
    )
    receipt = await send(adapter, message_of("tea", job_id="kettle"))
    await adapter.close()
    (request,), (post,) = platforms.requests, platforms.posts
    stamp = str(int(at.timestamp()))
    told = hmac.new(b"s3cret", stamp.encode() + b"." + post["body"], hashlib.sha256).hexdigest()
    assert request.headers["X-Acron-Timestamp"] == stamp
    assert request.headers["X-Acron-Signature"] == f"v1={told}"
    assert request.headers["X-Acron-Delivery"] == post["delivery"] == receipt.id
    assert request.headers["X-Acron-Key"] == "r7.0"
    assert (post["job"], post["run"], post["state"]) == ("kettle", "r7", "succeeded")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://localhost/x",
        "http://2130706433/x",
        "http://127.1/x",
        "http://[::1]/x",
        "http://[::ffff:10.0.0.1]/x",
        "http://[64:ff9b::7f00:1]/x",
        "http://[2002:7f00:1::]/x",
        "http://169.254.169.254/latest/meta-data",
        "http://10.1.2.3/x",
        "http://0.0.0.0/x",
        "http://100.64.0.1/x",
        "http://224.0.0.1/x",
        "http://me@127.0.0.1/x",
        "ftp://example.org/x",
        "file:///etc/passwd",
        "http:///x",
        "x",
        "",
    ],
)
async def test_no_way_into_our_own_network(url: str) -> None:
    adapter = WebhookAdapter()
    with pytest.raises(DeliveryError) as caught:
        await send(adapter, message_of("tea", to=url))
    await adapter.close()
    assert caught.value.permanent


def test_what_is_allowed() -> None:
    guard = Guard(["10.0.0.0/8", "192.168.1.1", "intranet.example"])
    guard.check("x", "10.9.9.9")
    guard.check("x", "192.168.1.1")
    guard.check("x", "93.184.216.34")
    guard.check("Intranet.example", "172.16.0.1")
    for host, address in (("x", "172.16.0.1"), ("x", "192.168.1.2"), ("x", "::1")):
        with pytest.raises(PrivateAddress):
            guard.check(host, address)


async def test_from_the_environment(platforms: Platforms, tmp_path: Path) -> None:
    environ = {"ACRON_WEBHOOK_URL": f"{platforms.url}/hook", "ACRON_WEBHOOK_ALLOW": "127.0.0.1"}
    adapter = load_adapters(tmp_path, environ=environ)["webhook"]
    assert (await send(adapter, message_of("tea"))).id
    await adapter.close()
    with pytest.raises(ConfigError, match="ACRON_WEBHOOK_ALLOW"):
        load_adapters(tmp_path, environ={"ACRON_WEBHOOK_ALLOW": "10.0.0.0/99"})
