"""A server that answers as chat platforms do, and remembers what it was told."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BOT = {"id": "1", "username": "acron", "discriminator": "0", "avatar": None}


class Platform:
    """Telegram, Discord and Slack at ``url``. ``told`` is what people saw, in order. What is put
    into ``updates`` goes to bots that ask Telegram, or listen to Discord's gateway."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.commands: list[str] = []
        self.updates: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.url = ""
        self._ids = itertools.count(1000)

    async def answer(self, request: web.Request) -> web.Response:
        what: Any = {}
        if request.method in {"POST", "PUT"} and request.can_read_body:
            is_json = request.content_type == "application/json"
            what = await (request.json() if is_json else request.post())
        if request.path.startswith("/bot"):
            result = await self._telegram(request.path.rpartition("/")[2], what)
            return web.json_response({"ok": True, "result": result})
        response = web.json_response(self._json(request.path, what))
        response.headers["Content-Type"] = "application/json"  # discord.py wants just that
        return response

    async def _telegram(self, method: str, what: Any) -> Any:
        if method == "getMe":
            return {"id": 1, "is_bot": True, "first_name": "acron", "username": "acron_bot"}
        if method == "getUpdates":
            return [await self.updates.get()] if int(what.get("timeout", 0)) else []
        if method != "sendMessage":
            return True
        self.told.append(what["text"])
        chat = {"id": int(what["chat_id"]), "type": "private"}
        return {"message_id": next(self._ids), "date": 0, "chat": chat}

    def _json(self, path: str, what: Any) -> Any:
        if path.endswith("/users/@me"):
            return BOT
        if path.endswith("/oauth2/applications/@me"):
            texts = dict.fromkeys(("name", "description", "verify_key", "summary"), "")
            flags = dict.fromkeys(("bot_public", "bot_require_code_grant"), False)
            return {"id": "1", "icon": None, "owner": BOT, **texts, **flags}
        if path.endswith("/gateway/bot"):
            limit = {"total": 9, "remaining": 9, "reset_after": 1000, "max_concurrency": 1}
            ws = self.url.replace("http", "ws")
            return {"url": f"{ws}/gateway", "shards": 1, "session_start_limit": limit}
        if path.endswith("/commands"):
            self.commands = [one["name"] for one in what]
            return []
        if path.endswith("/callback"):
            if what["type"] == 8:
                self.told += [one["name"] for one in what["data"]["choices"]]
            return {"interaction": {"id": "9", "type": 2}, "resource": None}
        if path.endswith("/auth.test"):
            ids = {"user_id": "U1", "bot_id": "B1", "team_id": "T1"}
            return {"ok": True, "url": "", "user": "acron", "team": "club", **ids}
        return self._message(what.get("content", what.get("text")))

    def _message(self, text: str) -> dict[str, Any]:
        self.told.append(text)
        lists: dict[str, Any] = {
            key: [] for key in ("mentions", "mention_roles", "attachments", "embeds")
        }
        flags = dict.fromkeys(("tts", "mention_everyone", "pinned"), False)
        now = "2026-01-01T00:00:00+00:00"
        who = {"id": str(next(self._ids)), "channel_id": "7", "author": BOT, "type": 0}
        return {**who, "content": text, "timestamp": now, "edited_timestamp": None} | flags | lists

    async def gateway(self, request: web.Request) -> web.WebSocketResponse:
        """What Discord says to a bot that connects: hello, ready, and then what happens."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"op": 10, "d": {"heartbeat_interval": 45_000}})
        await socket.receive_json()  # it identifies itself
        ready = {"v": 10, "user": BOT, "guilds": [], "session_id": "1", "application": {"id": "1"}}
        ready["resume_gateway_url"] = f"{self.url.replace('http', 'ws')}/gateway"
        await socket.send_json({"op": 0, "s": 1, "t": "READY", "d": ready})
        telling = asyncio.create_task(self._tell(socket))
        async for _ in socket:
            pass
        telling.cancel()
        return socket

    async def _tell(self, socket: web.WebSocketResponse) -> None:
        for number in itertools.count(2):
            event = await self.updates.get()
            await socket.send_json({"op": 0, "s": number, "t": "INTERACTION_CREATE", "d": event})


@asynccontextmanager
async def serving() -> AsyncIterator[Platform]:
    made = Platform()
    app = web.Application()
    app.router.add_get("/gateway/", made.gateway)
    app.router.add_route("*", "/{path:.*}", made.answer)
    async with TestServer(app) as server:
        made.url = f"http://127.0.0.1:{server.port}"
        yield made


def interaction(name: str, *, kind: int = 2, user: int = 42, **options: str) -> dict[str, Any]:
    """Somebody uses a command on Discord (``kind`` 2), or types in it (4)."""
    given = [
        {"name": key, "type": 3, "value": value, "focused": kind == 4}
        for key, value in options.items()
    ]
    return {
        "id": "5",
        "application_id": "1",
        "type": kind,
        "token": "interaction",
        "version": 1,
        "data": {"id": "6", "name": name, "type": 1, "options": given},
        "channel_id": "7",
        "channel": {"id": "7", "type": 1},
        "user": {"id": str(user), "username": "ada", "discriminator": "0", "avatar": None},
        "entitlements": [],
        "authorizing_integration_owners": {},
        "attachment_size_limit": 1000,
        "locale": "en-US",
    }


def update(text: str, *, user: int = 42, topic: int | None = None, edited: bool = False) -> Any:
    """Somebody writes a command on Telegram."""
    length = len(text.partition(" ")[0])
    message = {
        "message_id": 1,
        "date": 1,
        "chat": {"id": -100, "type": "supergroup", "title": "club"},
        "from": {"id": user, "is_bot": False, "first_name": "Ada"},
        "text": text,
        "entities": [{"type": "bot_command", "offset": 0, "length": length}],
    }
    if topic is not None:
        message |= {"message_thread_id": topic, "is_topic_message": True}
    if edited:
        message["edit_date"] = 2
    return {"update_id": 1, "edited_message" if edited else "message": message}
