"""discord.py's bot, with interactions as Discord sends them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import discord
import pytest
from discord.ext import commands
from discord.http import Route

from acron.errors import WrongLoop
from acron.integrations.discord import attach
from tests.integrations.chats import interaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from acron import Acron
    from acron.testing import RecordingAdapter
    from tests.integrations.chats import Platform


@pytest.fixture
async def bot(
    platform: Platform, app: Acron, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[commands.Bot]:
    monkeypatch.setattr(Route, "BASE", f"{platform.url}/api/v10")
    bot = commands.Bot("!", intents=discord.Intents.default())
    attach(bot, app)
    async with bot:
        await bot.login("token")
        yield bot


async def use(bot: commands.Bot, name: str, **how: Any) -> None:
    bot._connection.parse_interaction_create(interaction(name, **how))  # type: ignore[arg-type]
    of_ours = (one for one in asyncio.all_tasks() if one.get_name() == "CommandTree-invoker")
    await asyncio.gather(*of_ours)


async def test_a_reminder_is_asked_for_seen_and_delivered(
    bot: commands.Bot, app: Acron, platform: Platform, chat: RecordingAdapter
) -> None:
    assert sorted(platform.commands) == ["remind", "schedules"]
    await use(bot, "remind", when="in 2h", text="tea @everyone")
    assert "tea" in platform.told[-1]
    (job,) = [job async for job in app.jobs()]
    assert job.deliver == ("discord:7",)
    assert job.tags == ("user:discord:42", "chat:discord:7")
    await use(bot, "schedules")
    assert job.id in platform.told[-1]
    await app.run_now(job.id, wait=True)
    await app.drain()
    assert [message.to for message in chat.messages] == ["7"]


async def test_only_ones_own_are_offered_and_ended(
    bot: commands.Bot, app: Acron, platform: Platform
) -> None:
    await use(bot, "remind", when="in 2h", text="tea")
    (job,) = [job async for job in app.jobs()]
    platform.told.clear()
    await use(bot, "schedules", kind=4, user=43, cancel="t")
    assert platform.told == []
    await use(bot, "schedules", kind=4, cancel="t")
    assert platform.told == ["tea"]
    await use(bot, "schedules", user=43, cancel=job.id)
    assert [job.id async for job in app.jobs()] == [job.id]
    await use(bot, "schedules", cancel=job.id)
    assert platform.told[-1] == "Ended: tea"


async def test_the_app_closes_with_the_bot(bot: commands.Bot, app: Acron) -> None:
    assert app.node is not None
    await bot.close()
    assert app.node is None
    with pytest.raises(WrongLoop):
        _ = app.store


async def test_the_programs_own_setup_hook_comes_first(
    platform: Platform, app: Acron, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Route, "BASE", f"{platform.url}/api/v10")
    seen = []

    class Bot(commands.Bot):
        async def setup_hook(self) -> None:
            seen.append(app.node)

    bot = Bot("!", intents=discord.Intents.default())
    attach(bot, app, sync=False)
    async with bot:
        await bot.login("token")
        assert app.node is not None
    assert seen == [None]
    assert platform.commands == []
