"""Tell a Telegram chat, through the bot of python-telegram-bot or of aiogram."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from acron.adapters.base import (
    ClientAdapter,
    content,
    is_picture,
    lost,
    missing,
    number,
    refused,
    setting,
)
from acron.errors import DeliveryError
from acron.targets import chat_and_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from acron.abc import Adapter, Message

#: What the errors of both libraries mean, by the names of their classes.
_STATUS = {
    "BadRequest": 400,
    "ChatMigrated": 400,
    "Conflict": 409,
    "EndPointNotFound": 404,
    "Forbidden": 403,
    "InvalidToken": 401,
    "TelegramBadRequest": 400,
    "TelegramConflictError": 409,
    "TelegramEntityTooLarge": 413,
    "TelegramForbiddenError": 403,
    "TelegramMigrateToChat": 400,
    "TelegramNotFound": 404,
    "TelegramServerError": 500,
    "TelegramUnauthorizedError": 401,
}


class TelegramAdapter(ClientAdapter):
    """``telegram:<chat>[:<thread>]``: a chat's id, or ``@channel``; a topic's id.

    The text is plain: nothing in it is taken for mark-up. Pictures are sent as such.
    """

    limit = 4096
    rate = 25.0

    async def post(self, message: Message) -> AsyncIterator[str]:
        chat, thread = chat_and_thread(message.to)
        if not chat:
            why = "no chat: write telegram:<chat>, or set home_channels.telegram"
            raise DeliveryError(why, permanent=True)
        where: dict[str, Any] = {
            "chat_id": chat if chat.startswith("@") else number(chat, "a chat"),
            "message_thread_id": number(thread, "a topic") if thread else None,
        }
        if message.text.strip():
            yield _id(await self.client.send_message(text=message.text, **where))
        for path in message.files:
            data = self._file(path, await content(path))
            if is_picture(path):
                yield _id(await self.client.send_photo(photo=data, **where))
            else:
                yield _id(await self.client.send_document(document=data, **where))

    def _file(self, path: Path, data: bytes) -> object:
        if type(self.client).__module__.startswith("aiogram"):
            from aiogram.types import BufferedInputFile  # noqa: PLC0415 (only with its bot)

            return BufferedInputFile(data, path.name)
        from telegram import InputFile  # noqa: PLC0415 (only with its bot)

        return InputFile(data, filename=path.name)

    def fault(self, error: Exception) -> DeliveryError:
        name = type(error).__name__
        text = str(error)
        # Private, because the public one warns that it will be a timedelta one day.
        wait = getattr(error, "_retry_after", None) or getattr(error, "retry_after", None)
        if wait is not None:
            seconds = wait.total_seconds() if isinstance(wait, timedelta) else wait
            return refused(429, text, seconds)
        if name in _STATUS:
            return refused(_STATUS[name], text)
        if name == "NetworkError" and error.__cause__ is None:  # it has answered: 5xx
            return refused(500, text)
        if name == "TimedOut" and "*not* sent" in text:
            return DeliveryError(text)
        return lost(error)


def _id(sent: Any) -> str:
    return str(sent.message_id)


class OwnTelegram(TelegramAdapter):
    """With a bot that we have made, and close."""

    async def post(self, message: Message) -> AsyncIterator[str]:
        if hasattr(self.client, "initialize"):
            await self.client.initialize()  # of python-telegram-bot; at once when it is
        async for one in super().post(message):
            yield one

    async def close(self) -> None:
        if hasattr(self.client, "shutdown"):
            await self.client.shutdown()
        else:
            await self.client.session.close()


def from_environment(environ: Mapping[str, str]) -> Adapter | None:
    """``ACRON_TELEGRAM_TOKEN``; ``ACRON_TELEGRAM_API`` for a Bot API server of one's own."""
    token = setting(environ, "ACRON_TELEGRAM_TOKEN")
    if not token:
        return None
    api = setting(environ, "ACRON_TELEGRAM_API").rstrip("/") or "https://api.telegram.org"
    try:
        from telegram import Bot  # noqa: PLC0415 (heavy, and only when asked for)
    except ImportError:
        return OwnTelegram(_aiogram(token, api), name="telegram")
    return OwnTelegram(Bot(token, base_url=f"{api}/bot"), name="telegram")


def _aiogram(token: str, api: str) -> object:
    try:
        from aiogram import Bot  # noqa: PLC0415 (heavy, and only when asked for)
        from aiogram.client.session.aiohttp import AiohttpSession  # noqa: PLC0415
        from aiogram.client.telegram import TelegramAPIServer  # noqa: PLC0415
    except ImportError:
        raise missing("telegram", "ACRON_TELEGRAM_TOKEN") from None
    return Bot(token, session=AiohttpSession(api=TelegramAPIServer.from_base(api)))
