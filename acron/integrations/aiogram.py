"""aiogram: an acron that lives as long as the Dispatcher, with ``/remind`` and ``/schedules``.

::

    bot, dispatcher = Bot(token), Dispatcher()
    app = Acron("sqlite:///bot.db", adapters={"telegram": bot})
    attach(dispatcher, app)
    dispatcher.run_polling(bot)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acron.integrations import missing
from acron.integrations.reminders import Reminders

try:
    from aiogram.filters import Command, CommandObject
except ImportError as error:
    raise missing("aiogram", "aiogram") from error

if TYPE_CHECKING:
    from aiogram import Dispatcher
    from aiogram.types import Message

    from acron.app import Acron


def attach(dispatcher: Dispatcher, app: Acron, reminders: Reminders | None = None) -> None:
    """Open ``app`` with ``dispatcher``'s start-up, and close it with its shutdown, while the bot
    can still send. ``reminders`` are those of ``/remind``."""
    ours = reminders or Reminders(app, "telegram")

    async def startup() -> None:
        await app.__aenter__()

    async def shutdown() -> None:
        await app.__aexit__()

    async def remind(message: Message, command: CommandObject) -> None:
        user, chat = _place(message)
        await message.answer(await ours.remind_line(user, chat, command.args or ""), **_PLAIN)

    async def schedules(message: Message, command: CommandObject) -> None:
        user, _ = _place(message)
        await message.answer(await ours.schedules_line(user, command.args or ""), **_PLAIN)

    dispatcher.startup.register(startup)
    dispatcher.shutdown.register(shutdown)
    dispatcher.message.register(remind, Command("remind"))
    dispatcher.message.register(schedules, Command("schedules"))


#: What people wrote is no markup, whatever the bot's default is.
_PLAIN: dict[str, Any] = {"parse_mode": None}


def _place(message: Message) -> tuple[str, str]:
    """Who speaks, and where: the chat, with its topic."""
    speaker = message.sender_chat or message.from_user  # admins may speak as their group
    who = message.chat.id if speaker is None else speaker.id
    topic = message.message_thread_id if message.is_topic_message else None
    return str(who), f"{message.chat.id}" if topic is None else f"{message.chat.id}:{topic}"
