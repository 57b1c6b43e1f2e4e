"""Discord, with discord.py's client and its webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import discord
import pytest
from discord.http import Route

from acron.adapters import adapt, load_adapters
from acron.testing.contracts.adapters import message_of, send
from tests.adapters.duties import ChatDuties

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from acron.abc import Adapter
    from tests.adapters.platforms import Platforms


@pytest.fixture(autouse=True)
def _here(platforms: Platforms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Route, "BASE", f"{platforms.url}/api/v10")


class _Discord(ChatDuties):
    def point(
        self, adapter: Adapter, platforms: Platforms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Route, "BASE", f"{platforms.url}/api/v10")


class TestClient(_Discord):
    to = "123"
    waits = None  # it waits by itself

    @pytest.fixture
    async def adapter(self, platforms: Platforms) -> AsyncIterator[Adapter]:
        async with discord.Client(intents=discord.Intents(guilds=True)) as client:
            await client.login("token")
            client.http._HTTPClient__session._timeout = aiohttp.ClientTimeout(0.5)  # type: ignore[attr-defined]
            platforms.requests.clear()
            yield adapt("discord", client)

    persistent = True  # it comes back after a second

    async def test_a_thread_is_a_channel_and_nobody_is_called(
        self, adapter: Adapter, platforms: Platforms
    ) -> None:
        await send(adapter, message_of("@everyone", to="1:2"))
        assert platforms.requests[-1].match_info["channel"] == "2"
        (post,) = platforms.posts
        assert post["allowed_mentions"]["parse"] == []
        assert post["enforce_nonce"] is True


class TestWebhook(_Discord):
    to = ""

    @pytest.fixture
    async def adapter(self, platforms: Platforms) -> AsyncIterator[Adapter]:
        limit = aiohttp.ClientTimeout(total=0.5)
        async with aiohttp.ClientSession(timeout=limit) as session:
            hook = discord.Webhook.from_url(URL, session=session)
            yield adapt("discord", hook)

    persistent = True

    async def test_no_chat_is_final(self, adapter: Adapter) -> None:
        """The channel is its own: there is always one."""
        assert (await send(adapter, message_of("tea"))).id

    async def test_into_a_thread(self, adapter: Adapter, platforms: Platforms) -> None:
        await send(adapter, message_of("tea", to="77"))
        assert platforms.requests[-1].query["thread_id"] == "77"


URL = f"https://discord.com/api/webhooks/{'1' * 18}/{'a' * 68}"


@pytest.mark.parametrize(
    "environ, to", [({"ACRON_DISCORD_TOKEN": "t"}, "5"), ({"ACRON_DISCORD_WEBHOOK": URL}, "")]
)
async def test_from_the_environment(
    platforms: Platforms, tmp_path: Path, environ: dict[str, str], to: str
) -> None:
    adapter = load_adapters(tmp_path, environ=environ)["discord"]
    for _ in range(2):
        assert (await send(adapter, message_of("tea", to=to))).id
    await adapter.close()
    await adapter.close()
    assert platforms.told == ["tea", "tea"]
