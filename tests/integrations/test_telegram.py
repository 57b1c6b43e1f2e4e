"""python-telegram-bot's Application and aiogram's Dispatcher, with updates as Telegram has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiogram import Bot, Dispatcher
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from telegram import Update
from telegram.ext import Application

from acron.integrations import aiogram, telegram
from tests.integrations.chats import update

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from acron import Acron
    from acron.testing import RecordingAdapter
    from tests.integrations.chats import Platform

    Say = Callable[..., Awaitable[None]]

TOKEN = "123:abc"


@pytest.fixture
async def ptb(platform: Platform, app: Acron) -> AsyncIterator[Say]:
    application = Application.builder().token(TOKEN).base_url(f"{platform.url}/bot").build()
    telegram.attach(application, app)
    assert application.post_init
    assert application.post_stop
    assert application.post_shutdown
    async with application:
        await application.post_init(application)
        await application.start()

        async def say(text: str, **how: Any) -> None:
            await application.process_update(Update.de_json(update(text, **how), application.bot))

        yield say
        await application.stop()
        await application.post_stop(application)
        assert app.node is None
    await application.post_shutdown(application)


@pytest.fixture
async def dispatcher(platform: Platform, app: Acron) -> AsyncIterator[Say]:
    session = AiohttpSession(api=TelegramAPIServer.from_base(platform.url))
    async with Bot(TOKEN, session=session) as bot:
        dispatcher = Dispatcher()
        aiogram.attach(dispatcher, app)
        await dispatcher.emit_startup(bot=bot)

        async def say(text: str, **how: Any) -> None:
            await dispatcher.feed_raw_update(bot, update(text, **how))

        yield say
        await dispatcher.emit_shutdown(bot=bot)
        assert app.node is None


@pytest.fixture(params=["ptb", "dispatcher"])
def say(request: pytest.FixtureRequest) -> Say:
    found: Say = request.getfixturevalue(request.param)
    return found


async def test_a_reminder_is_asked_for_seen_delivered_and_ended(
    say: Say, app: Acron, platform: Platform, chat: RecordingAdapter
) -> None:
    await say("/remind every day at 9am <tea>", topic=3)
    assert "<tea>" in platform.told[-1]
    (job,) = [job async for job in app.jobs()]
    assert job.deliver == ("telegram:-100:3",)
    assert job.tags == ("user:telegram:42", "chat:telegram:-100:3")
    await app.run_now(job.id, wait=True)
    await say("/schedules", user=43)
    assert platform.told[-1].startswith("You have no reminders")
    await say("/schedules")
    assert job.id in platform.told[-1]
    await say(f"/schedules cancel {job.id}")
    assert platform.told[-1] == "Ended: <tea>"
    await app.drain()
    assert [message.to for message in chat.messages] == ["-100:3"]


async def test_an_edited_message_does_not_remind_twice(say: Say, app: Acron) -> None:
    await say("/remind in 2h tea")
    await say("/remind in 2h tea", edited=True)
    assert len([job async for job in app.jobs()]) == 1


async def test_hooks_that_were_there_are_called_and_see_the_app_closed_or_not_yet_open(
    platform: Platform, app: Acron
) -> None:
    seen: list[tuple[str, bool]] = []

    def hook(name: str) -> Callable[[Any], Coroutine[Any, Any, None]]:
        async def note(_: Any) -> None:
            seen.append((name, app.node is not None))

        return note

    builder = Application.builder().token(TOKEN).base_url(f"{platform.url}/bot")
    builder = builder.post_init(hook("init")).post_stop(hook("stop"))
    application = builder.post_shutdown(hook("shutdown")).build()
    telegram.attach(application, app)
    for one in (application.post_init, application.post_stop, application.post_shutdown):
        assert one
        await one(application)
    assert seen == [("init", False), ("stop", False), ("shutdown", False)]


async def test_an_application_that_could_not_begin_closes_the_app(
    platform: Platform, app: Acron
) -> None:
    application = Application.builder().token(TOKEN).base_url(f"{platform.url}/bot").build()
    telegram.attach(application, app)
    assert application.post_init
    assert application.post_shutdown
    await application.post_init(application)
    assert app.node is not None
    await application.post_shutdown(application)
    assert app.node is None
