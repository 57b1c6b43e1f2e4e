"""A server that answers as chat platforms do, and remembers what it was told."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from acron import Acron
from acron.testing import RecordingAdapter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

USER = {"id": "1", "username": "acron", "discriminator": "0", "avatar": None}


class Platform:
    """Telegram, Discord and Slack at ``url``. ``asked`` are the paths, ``told`` the answers that
    people saw."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.told: list[str] = []
        self.commands: list[str] = []
        self._ids = itertools.count(1000)
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        what: Any = {}
        if request.method in {"POST", "PUT"} and request.can_read_body:
            is_json = request.content_type == "application/json"
            what = await (request.json() if is_json else request.post())
        if request.path.startswith("/bot"):
            return web.json_response({"ok": True, "result": self._telegram(request.path, what)})
        response = web.json_response(self._discord(request.path, what))
        response.headers["Content-Type"] = "application/json"  # discord.py wants just that
        return response

    def _telegram(self, path: str, what: Any) -> Any:
        method = path.rpartition("/")[2]
        if method == "getMe":
            return {"id": 1, "is_bot": True, "first_name": "acron", "username": "acron_bot"}
        if method != "sendMessage":
            return True
        self.told.append(what["text"])
        chat = {"id": int(what["chat_id"]), "type": "private"}
        return {"message_id": next(self._ids), "date": 0, "chat": chat}

    def _discord(self, path: str, what: Any) -> Any:
        if path.endswith("/users/@me"):
            return USER
        if path.endswith("/oauth2/applications/@me"):
            texts = dict.fromkeys(("name", "description", "verify_key", "summary"), "")
            flags = dict.fromkeys(("bot_public", "bot_require_code_grant"), False)
            return {"id": "1", "icon": None, "owner": USER, **texts, **flags}
        if path.endswith("/commands"):
            self.commands = [one["name"] for one in what]
            return []
        if path.endswith("/callback"):
            if what["type"] == 8:
                self.told += [one["name"] for one in what["data"]["choices"]]
            kind = {"id": "9", "type": 2, "activity_instance_id": None}
            return {"interaction": kind, "resource": None}
        if path.endswith("/auth.test"):
            ids = {"user_id": "U1", "bot_id": "B1", "team_id": "T1"}
            return {"ok": True, "url": "", "user": "acron", "team": "club", **ids}
        self.told.append(what.get("content", what.get("text")))
        empty = {key: [] for key in ("mentions", "mention_roles", "attachments", "embeds")}
        flags = dict.fromkeys(("tts", "mention_everyone", "pinned"), False)
        return {
            "id": str(next(self._ids)),
            "channel_id": "7",
            "author": USER,
            "content": self.told[-1],
            "timestamp": "2026-01-01T00:00:00+00:00",
            "edited_timestamp": None,
            "type": 0,
            **flags,
            **empty,
        }


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    made = Platform()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    async with TestServer(app) as server:
        made.url = f"http://127.0.0.1:{server.port}"
        yield made


@pytest.fixture
def chat() -> RecordingAdapter:
    """Where reminders arrive."""
    return RecordingAdapter()


@pytest.fixture
def app(chat: RecordingAdapter) -> Acron:
    names = ("telegram", "discord", "slack")
    return Acron("memory://", adapters=dict.fromkeys(names, chat), tz="Europe/Paris")
