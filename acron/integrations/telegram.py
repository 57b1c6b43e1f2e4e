"""python-telegram-bot: an acron that lives as long as the Application, with ``/remind`` and
``/schedules``.

::

    telegram = Application.builder().token(token).build()
    app = Acron("sqlite:///bot.db", adapters={"telegram": telegram.bot})
    attach(telegram, app)
    telegram.run_polling()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acron.integrations import missing
from acron.integrations.reminders import Reminders

try:
    from telegram.ext import Application, CommandHandler, filters
except ImportError as error:
    raise missing("telegram", "python-telegram-bot") from error

if TYPE_CHECKING:
    from telegram import Message, Update
    from telegram.ext import CallbackContext

    from acron.app import Acron

_App = Application[Any, Any, Any, Any, Any, Any]


def attach(application: _App, app: Acron, reminders: Reminders | None = None) -> None:
    """Open ``app`` after ``application``'s own ``post_init``, and close it before its
    ``post_stop``, while the bot can still send. ``reminders`` are those of ``/remind``.

    Where you run an Application by hand, without ``run_polling`` or ``run_webhook``, these hooks
    are not called: use ``async with app:`` there.
    """
    _open_and_close(application, app)
    ours = reminders or Reminders(app, "telegram")

    async def remind(update: Update, _: CallbackContext[Any, Any, Any, Any]) -> None:
        if update.message is not None:
            user, chat = place(update.message)
            line = _rest(update.message)
            await update.message.reply_text(await ours.remind_line(user, chat, line))

    async def schedules(update: Update, _: CallbackContext[Any, Any, Any, Any]) -> None:
        if update.message is not None:
            user, line = place(update.message)[0], _rest(update.message)
            await update.message.reply_text(await ours.schedules_line(user, line))

    only = filters.UpdateType.MESSAGE  # an edited message would remind twice
    application.add_handler(CommandHandler("remind", remind, only))
    application.add_handler(CommandHandler("schedules", schedules, only))


def _open_and_close(application: _App, app: Acron) -> None:
    init, stop, shutdown = application.post_init, application.post_stop, application.post_shutdown
    opened = False

    async def post_init(one: _App) -> None:
        nonlocal opened
        if init is not None:
            await init(one)
        await app.__aenter__()
        opened = True

    async def close() -> None:
        nonlocal opened
        if opened:
            opened = False
            await app.__aexit__()

    async def post_stop(one: _App) -> None:
        await close()
        if stop is not None:
            await stop(one)

    async def post_shutdown(one: _App) -> None:
        await close()  # where polling could not begin, there was no post_stop
        if shutdown is not None:
            await shutdown(one)

    application.post_init = post_init
    application.post_stop = post_stop
    application.post_shutdown = post_shutdown


def place(message: Any) -> tuple[str, str]:
    """Who speaks, and where: the chat, with its topic."""
    speaker = message.sender_chat or message.from_user  # admins may speak as their group
    topic = message.message_thread_id if message.is_topic_message else None
    chat = str(message.chat.id)
    return str(speaker.id), chat if topic is None else f"{chat}:{topic}"


def _rest(message: Message) -> str:
    return (message.text or "").partition(" ")[2]
