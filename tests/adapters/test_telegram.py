"""Telegram, with the bots of python-telegram-bot and aiogram."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiogram
import pytest
import telegram
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from telegram.request import HTTPXRequest

from acron.adapters import adapt, load_adapters
from acron.adapters.telegram import TelegramAdapter
from acron.testing.contracts.adapters import message_of, send
from tests.adapters.duties import ChatDuties

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from acron.abc import Adapter
    from tests.adapters.platforms import Platforms

TOKEN = "123:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


# Its own error warns that its seconds will be a timedelta one day.
@pytest.mark.filterwarnings("ignore::telegram.warnings.PTBDeprecationWarning")
class TestPythonTelegramBot(ChatDuties):
    to = "-100123:17"

    @pytest.fixture
    async def adapter(self, platforms: Platforms) -> AsyncIterator[Adapter]:
        request = HTTPXRequest(read_timeout=0.5, httpx_kwargs={"verify": False})
        bot = telegram.Bot(TOKEN, base_url=f"{platforms.url}/bot", request=request)
        async with bot:
            platforms.requests.clear()
            yield adapt("telegram", bot)

    def point(
        self, adapter: Adapter, platforms: Platforms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert isinstance(adapter, TelegramAdapter)
        monkeypatch.setattr(adapter.client, "_base_url", f"{platforms.url}/bot{TOKEN}")


class TestAiogram(ChatDuties):
    to = "-100123:17"

    @pytest.fixture
    async def adapter(self, platforms: Platforms) -> AsyncIterator[Adapter]:
        session = AiohttpSession(api=TelegramAPIServer.from_base(platforms.url), timeout=0.5)
        async with aiogram.Bot(TOKEN, session=session) as bot:
            yield adapt("telegram", bot)

    def point(
        self, adapter: Adapter, platforms: Platforms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert isinstance(adapter, TelegramAdapter)
        adapter.client.session.api = TelegramAPIServer.from_base(platforms.url)


async def test_a_topic_and_a_channel_by_name(platforms: Platforms) -> None:
    session = AiohttpSession(api=TelegramAPIServer.from_base(platforms.url))
    async with aiogram.Bot(TOKEN, session=session) as bot:
        adapter = adapt("telegram", bot)
        await send(adapter, message_of("a", to="-100123:17"))
        await send(adapter, message_of("b", to="@news"))
    one, two = platforms.posts
    assert (one["chat_id"], one["message_thread_id"]) == ("-100123", "17")
    assert (two["chat_id"], two.get("message_thread_id")) == ("@news", None)


async def test_from_the_environment(platforms: Platforms, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    environ = {
        "ACRON_TELEGRAM_TOKEN_FILE": str(tmp_path / "token"),
        "ACRON_TELEGRAM_API": platforms.url,
    }
    adapter = load_adapters(tmp_path, environ=environ)["telegram"]
    assert (await send(adapter, message_of("tea", to="5"))).id
    await adapter.close()
    assert platforms.told == ["tea"]
