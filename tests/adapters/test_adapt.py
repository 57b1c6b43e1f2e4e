"""Which clients are known, and which adapters a process has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer

from acron import Acron, Settings
from acron.adapters import CLIENTS, OURS, adapt, load_adapters
from acron.adapters.base import setting
from acron.errors import ConfigError
from acron.testing import RecordingAdapter

if TYPE_CHECKING:
    from pathlib import Path

    from acron.model import Delivery
    from tests.adapters.platforms import Fault, Platforms


async def told(app: Acron, run_id: str) -> Delivery:
    """What became of a run's only delivery, in real time: there are sockets in it."""
    while True:
        (delivery,) = (await app.get_run(run_id)).deliveries
        if delivery.state not in {"pending", "sending"} or delivery.error:
            return delivery
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "fault, state, requests",
    [(None, "delivered", 1), ("drop", "unknown", 1), ("500", "pending", 1), ("403", "failed", 1)],
)
async def test_from_a_job_to_a_chat_and_back(
    platforms: Platforms, fault: Fault | None, state: str, requests: int
) -> None:
    platforms.faults = [fault] if fault else []
    session = AiohttpSession(api=TelegramAPIServer.from_base(platforms.url))
    settings = Settings(home_channels={"telegram": "-100123:5"})
    async with Bot(f"123:{'A' * 35}", session=session) as bot:
        app = Acron("memory://", adapters={"telegram": bot}, settings=settings)

        @app.action
        async def tea() -> str:
            return "tea @everyone token=s3cret"

        async with app:
            await app.add("every 24h", tea, id="tea", deliver="telegram")
            run = await app.run_now("tea", wait=True)
            delivery = await told(app, run.id)
    assert (delivery.target, delivery.state) == ("telegram:-100123:5", state)
    assert len(platforms.requests) == requests
    assert (delivery.receipt is not None) is (state == "delivered")
    assert (delivery.retry_at is not None) is (state == "pending")
    if state == "delivered":
        (text,) = platforms.told
        assert text.startswith("tea\n\ntea @\u200beveryone token=***\n\n(tea, run r")
        assert platforms.posts[0]["message_thread_id"] == "5"


def test_an_adapter_stays_as_it_is() -> None:
    mine = RecordingAdapter("chat")
    assert adapt("other", mine) is mine


@pytest.mark.parametrize("given", [object(), "token", None, RecordingAdapter])
def test_what_nobody_knows_is_refused(given: object) -> None:
    with pytest.raises(ConfigError, match=r"adapters\['chat'\]"):
        Acron("memory://", adapters={"chat": given})


def test_a_client_bears_the_name_that_targets_use() -> None:
    import discord
    from discord.ext import commands

    client = commands.Bot("!", intents=discord.Intents.none())
    assert adapt("gamers", client).name == "gamers"


def test_each_platform_can_be_made() -> None:
    from acron.adapters import _find

    for place in (*CLIENTS.values(), *OURS.values()):
        assert callable(_find(place))


def test_only_what_is_set_up_is_there(tmp_path: Path) -> None:
    found = load_adapters(tmp_path, environ={})
    assert set(found) == {"local", "log", "webhook", "apprise"}
    taken = load_adapters(tmp_path, taken={"telegram"}, environ={"ACRON_TELEGRAM_TOKEN": "1:x"})
    assert "telegram" not in taken


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\nmore\n")
    assert setting({"X_FILE": str(tmp_path / "token")}, "X") == "s3cret"
    assert setting({"X": "here", "X_FILE": str(tmp_path / "token")}, "X") == "here"
    with pytest.raises(ConfigError, match="X_FILE: cannot read"):
        setting({"X_FILE": str(tmp_path / "nothing")}, "X")
