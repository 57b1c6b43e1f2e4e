"""Matrix, with matrix-nio's client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from nio import AsyncClient, AsyncClientConfig

from acron.adapters import adapt, load_adapters
from acron.adapters.matrix import MatrixAdapter
from acron.errors import ConfigError
from acron.testing.contracts.adapters import message_of, send
from tests.adapters.duties import ChatDuties

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from acron.abc import Adapter
    from tests.adapters.platforms import Platforms


class TestMatrix(ChatDuties):
    to = "!room:server.org"

    @pytest.fixture
    async def adapter(self, platforms: Platforms) -> AsyncIterator[Adapter]:
        config = AsyncClientConfig(max_limit_exceeded=0, max_timeouts=0, request_timeout=0.5)
        client = AsyncClient(platforms.url, "@acron:server.org", config=config)
        client.restore_login("@acron:server.org", "device", "token")
        yield adapt("matrix", client)
        await client.close()

    def point(
        self, adapter: Adapter, platforms: Platforms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert isinstance(adapter, MatrixAdapter)
        adapter.client.homeserver = platforms.url

    @pytest.mark.parametrize("fault", ["hang", "garbage"])
    async def test_nobody_knows_what_became_of_it(
        self, adapter: Adapter, platforms: Platforms, fault: str
    ) -> None:
        await super().test_nobody_knows_what_became_of_it(adapter, platforms, fault)

    async def test_what_was_taken_may_be_sent_again(
        self, adapter: Adapter, platforms: Platforms
    ) -> None:
        """aiohttp does so by itself; the server knows the transaction."""
        await send(adapter, message_of("first", run_id="r1", to=self.to))
        platforms.faults = ["drop"]
        receipt = await send(adapter, message_of("tea", to=self.to))
        assert await send(adapter, message_of("tea", to=self.to)) == receipt
        assert platforms.told == ["first", "tea"]
        assert adapter.repeatable

    async def test_into_a_thread(self, adapter: Adapter, platforms: Platforms) -> None:
        await send(adapter, message_of("tea", to=f"{self.to}:$begun"))
        (post,) = platforms.posts
        assert post["m.relates_to"] == {"rel_type": "m.thread", "event_id": "$begun"}
        assert platforms.requests[-1].match_info["room"] == self.to


async def test_from_the_environment(tmp_path: Path) -> None:
    environ = {"ACRON_MATRIX_TOKEN": "t"}
    with pytest.raises(ConfigError, match="ACRON_MATRIX_SERVER"):
        load_adapters(tmp_path, environ=environ)
    environ |= {"ACRON_MATRIX_SERVER": "https://server.org", "ACRON_MATRIX_USER": "@a:server.org"}
    adapter = load_adapters(tmp_path, environ=environ)["matrix"]
    assert adapter.client.logged_in  # type: ignore[attr-defined]
    await adapter.close()
