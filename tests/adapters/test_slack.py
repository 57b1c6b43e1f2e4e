"""Slack, with slack-sdk's asynchronous client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from slack_sdk.web.async_client import AsyncWebClient

from acron.adapters import adapt, load_adapters
from acron.adapters.slack import SlackAdapter
from acron.testing.contracts.adapters import message_of, send
from tests.adapters.duties import ChatDuties

if TYPE_CHECKING:
    from pathlib import Path

    from acron.abc import Adapter
    from tests.adapters.platforms import Platforms


class TestSlack(ChatDuties):
    to = "C1"

    @pytest.fixture
    def adapter(self, platforms: Platforms) -> Adapter:
        return adapt("slack", AsyncWebClient("t", base_url=f"{platforms.url}/api/", timeout=1))

    def point(
        self, adapter: Adapter, platforms: Platforms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert isinstance(adapter, SlackAdapter)
        adapter.client.base_url = f"{platforms.url}/api/"

    async def test_into_a_thread(self, adapter: Adapter, platforms: Platforms) -> None:
        await send(adapter, message_of("tea", to="C1:1700000000.000001"))
        (post,) = platforms.posts
        assert (post["channel"], post["thread_ts"]) == ("C1", "1700000000.000001")


def test_a_programs_client_stays_as_it_is(platforms: Platforms) -> None:
    client = AsyncWebClient("t")
    handlers = list(client.retry_handlers)
    assert handlers
    assert adapt("slack", client).client.retry_handlers == []  # type: ignore[attr-defined]
    assert client.retry_handlers == handlers


def test_from_the_environment(tmp_path: Path) -> None:
    adapter = load_adapters(tmp_path, environ={"ACRON_SLACK_TOKEN": "t"})["slack"]
    assert adapter.client.token == "t"  # type: ignore[attr-defined]
