"""Tell a Discord channel, through a discord.py client or a webhook."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from acron.adapters.base import (
    ClientAdapter,
    content,
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

    from acron.abc import Adapter, Message


class _Discord(ClientAdapter):
    limit = 2000
    rate = 40.0

    async def _what(self, message: Message) -> dict[str, Any]:
        """What is sent. It alerts nobody, whatever it says."""
        import io  # noqa: PLC0415

        import discord  # noqa: PLC0415 (only with its client)

        files = [discord.File(io.BytesIO(await content(one)), one.name) for one in message.files]
        mentions = discord.AllowedMentions.none()
        return {"content": message.text, "files": files, "allowed_mentions": mentions}

    def fault(self, error: Exception) -> DeliveryError:
        status = getattr(error, "status", None)
        if type(error).__name__ == "RateLimited":
            return refused(429, str(error), getattr(error, "retry_after", None))
        if isinstance(status, int) and status >= 400:
            headers = getattr(getattr(error, "response", None), "headers", {})
            return refused(status, str(error), headers.get("Retry-After"))
        return lost(error)


class DiscordAdapter(_Discord):
    """``discord:<channel>[:<thread>]``: their ids; a thread is a channel itself.

    The client must be logged in. It waits by itself when Discord tells it to, and tries again;
    a nonce keeps Discord from taking the same message twice.
    """

    async def post(self, message: Message) -> AsyncIterator[str]:
        chat, thread = chat_and_thread(message.to)
        if not chat:
            why = "no channel: write discord:<channel>, or set home_channels.discord"
            raise DeliveryError(why, permanent=True)
        await self._ready()
        channel = self.client.get_partial_messageable(number(thread or chat, "a channel"))
        what = await self._what(message)
        sent = await channel.send(nonce=secrets.randbits(63), **what)
        yield str(sent.id)

    async def _ready(self) -> None:
        """A program's client is logged in by the program."""


class OwnDiscord(DiscordAdapter):
    """With a client that we log in, and close. It listens to nothing."""

    def __init__(self, client: Any, *, name: str, token: str) -> None:
        super().__init__(client, name=name)
        self._token = token

    async def _ready(self) -> None:
        if self.client.user is None:
            await self.client.login(self._token)

    async def close(self) -> None:
        await self.client.close()


class DiscordWebhook(_Discord):
    """``discord`` or ``discord:<thread>``: the channel is the webhook's own."""

    async def post(self, message: Message) -> AsyncIterator[str]:
        import discord  # noqa: PLC0415 (only with its client)

        what = await self._what(message)
        if message.to:
            thread = number(chat_and_thread(message.to)[0], "a thread")
            what["thread"] = discord.Object(thread)
        sent = await self.client.send(wait=True, **what)
        yield str(sent.id)


class OwnWebhook(DiscordWebhook):
    """With a session that we open and close."""

    def __init__(self, url: str, *, name: str) -> None:
        super().__init__(None, name=name)
        self._url = url
        self._session: Any = None

    async def post(self, message: Message) -> AsyncIterator[str]:
        if self._session is None:
            import aiohttp  # noqa: PLC0415 (comes with discord.py)
            import discord  # noqa: PLC0415

            self._session = aiohttp.ClientSession()
            self.client = discord.Webhook.from_url(self._url, session=self._session)
        async for one in super().post(message):
            yield one

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def from_environment(environ: Mapping[str, str]) -> Adapter | None:
    """``ACRON_DISCORD_TOKEN`` of a bot, or ``ACRON_DISCORD_WEBHOOK``, a webhook's URL."""
    token = setting(environ, "ACRON_DISCORD_TOKEN")
    url = setting(environ, "ACRON_DISCORD_WEBHOOK")
    if not token and not url:
        return None
    try:
        import discord  # noqa: PLC0415 (heavy, and only when asked for)
    except ImportError:
        variable = "ACRON_DISCORD_TOKEN" if token else "ACRON_DISCORD_WEBHOOK"
        raise missing("discord", variable) from None
    if not token:
        return OwnWebhook(url, name="discord")
    client = discord.Client(intents=discord.Intents(guilds=True), max_ratelimit_timeout=30.0)
    return OwnDiscord(client, name="discord", token=token)
