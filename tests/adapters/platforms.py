"""One server that speaks enough of each platform, with faults by script.

Real clients talk to it: their base addresses point here. ``told`` is what people can see.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from aiohttp import web
from aiohttp.test_utils import TestServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: ``drop``: the message is taken, and the connection ends before the answer.
Fault = Literal["429", "500", "403", "hang", "drop", "garbage"]
#: What the servers tell clients to wait, in seconds.
WAIT = 7


class Platforms:
    """Telegram, Discord, Slack, Matrix and a webhook's receiver, at ``url``."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.posts: list[dict[str, Any]] = []  # all that was sent with each message
        self.files: list[tuple[str, bytes]] = []
        self.requests: list[web.Request] = []
        self.faults: list[Fault] = []
        self.wait: float = WAIT
        self.url = ""
        self._ids = itertools.count(1001)
        self._transactions: dict[str, str] = {}
        self._go = asyncio.Event()

    # what each platform answers

    async def telegram(self, request: web.Request) -> web.Response:
        form = await self._form(request)
        if request.match_info["method"] == "getMe":
            me = {"id": 1, "is_bot": True, "first_name": "acron", "username": "acron_bot"}
            return web.json_response({"ok": True, "result": me})
        text = str(form.get("text", ""))
        if len(text.encode("utf-16-le")) > 2 * 4096:
            return _telegram_error(400, "Bad Request: message is too long")
        if not text and "sendMessage" in request.path:
            return _telegram_error(400, "Bad Request: message text is empty")
        sent = self._tell(text, form)
        chat = {"id": 1, "type": "private"}
        return web.json_response(
            {"ok": True, "result": {"message_id": sent, "date": 0, "chat": chat}}
        )

    async def discord_me(self, _: web.Request) -> web.Response:
        me = {"id": "1", "username": "acron", "discriminator": "0", "avatar": None}
        return web.json_response({**me, "public_flags": 0})

    async def discord_app(self, _: web.Request) -> web.Response:
        owner = {"id": "1", "username": "acron", "discriminator": "0", "avatar": None}
        texts = dict.fromkeys(("name", "description", "verify_key", "summary"), "")
        flags = dict.fromkeys(("bot_public", "bot_require_code_grant"), False)
        return web.json_response({"id": "1", "icon": None, "owner": owner, **texts, **flags})

    async def discord(self, request: web.Request) -> web.Response:
        if request.content_type == "application/json":
            what = await request.json()
        else:
            form = await self._form(request)
            what = json.loads(form["payload_json"])
        if len(what["content"]) > 2000:
            errors = {"code": 50035, "message": "Invalid Form Body"}
            return web.json_response(errors, status=400)
        author = {"id": "1", "username": "acron", "discriminator": "0", "avatar": None}
        return web.json_response(
            {
                "id": str(self._tell(what["content"], what)),
                "channel_id": request.match_info.get("channel", "1"),
                "author": author,
                "content": what["content"],
                "timestamp": "2026-01-01T00:00:00+00:00",
                "edited_timestamp": None,
                **dict.fromkeys(("tts", "mention_everyone", "pinned"), False),
                **{key: [] for key in ("mentions", "mention_roles", "attachments", "embeds")},
                "type": 0,
            }
        )

    async def slack(self, request: web.Request) -> web.Response:
        if request.content_type == "application/json":
            what = await request.json()
        else:
            what = await self._form(request)
        method = request.match_info["method"]
        if method == "files.getUploadURLExternal":
            return web.json_response(
                {"ok": True, "upload_url": f"{self.url}/slack-upload", "file_id": "F1"}
            )
        if method == "files.completeUploadExternal":
            return web.json_response({"ok": True, "files": [{"id": "F1"}]})
        if len(what["text"]) > 4000:
            return web.json_response({"ok": False, "error": "msg_too_long"})
        sent = f"1700000000.{self._tell(what['text'], what):06}"
        return web.json_response({"ok": True, "ts": sent, "channel": what["channel"]})

    async def slack_upload(self, request: web.Request) -> web.Response:
        self.files.append(("slack", await request.read()))
        return web.Response(text="OK")

    async def matrix(self, request: web.Request) -> web.Response:
        what = await request.json()
        transaction = request.match_info["transaction"]
        if len(json.dumps(what, ensure_ascii=False).encode()) > 65_536:
            return web.json_response({"errcode": "M_TOO_LARGE", "error": "too large"}, status=413)
        if transaction not in self._transactions:
            self._transactions[transaction] = f"${self._tell(what['body'], what)}"
        return web.json_response({"event_id": self._transactions[transaction]})

    async def matrix_upload(self, request: web.Request) -> web.Response:
        self.files.append((request.query["filename"], await request.read()))
        return web.json_response({"content_uri": "mxc://server/1"})

    async def hook(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.path == "/elsewhere":
            raise web.HTTPFound("/hook")
        what = json.loads(body)
        text = what.get("text", what.get("message"))  # Apprise's own JSON says message
        self._tell(text, {"body": body, **what})
        return web.Response(status=202)

    # how they fail

    @web.middleware
    async def misbehave(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await self._answer(request, handler)
        if request.path.startswith("/api/v10") and answer.content_type == "application/json":
            answer.headers["Content-Type"] = "application/json"  # discord.py wants just that
        return answer

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests.append(request)
        fault = self.faults.pop(0) if self.faults else None
        if fault == "hang":
            await self._go.wait()
        if fault == "drop":
            await handler(request)
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if fault == "garbage":
            return web.Response(text="<html>", content_type="text/html")
        if fault in {"429", "500", "403"}:
            return self._refusal(request, int(fault))
        return await handler(request)

    def _refusal(self, request: web.Request, status: int) -> web.Response:
        headers = {"Retry-After": str(self.wait)} if status == 429 else {}
        if request.path.startswith("/bot"):
            more = {"parameters": {"retry_after": self.wait}} if status == 429 else {}
            return _telegram_error(status, f"told to say {status}", **more)
        if request.path.startswith("/_matrix") and status == 429:
            wait = int(self.wait * 1000)
            told = {"errcode": "M_LIMIT_EXCEEDED", "error": "slow", "retry_after_ms": wait}
        elif request.path.startswith("/_matrix"):
            told = {"errcode": "M_FORBIDDEN" if status == 403 else "M_UNKNOWN", "error": "no"}
        elif request.path.startswith("/api/v10"):
            told = {"message": "no", "code": 0, "retry_after": self.wait, "global": False}
            if status == 429 and "webhooks" not in request.path:
                headers["Via"] = "1.1 proxy"
        else:
            told = {"ok": False, "error": "ratelimited" if status == 429 else "fatal_error"}
            if status == 403:
                told["error"] = "not_in_channel"
                status = 200 if request.path.startswith("/api/") else 403
        return web.json_response(told, status=status, headers=headers)

    def _tell(self, text: str, what: Any) -> int:
        self.told.append(text)
        self.posts.append(dict(what))
        return next(self._ids)

    async def _form(self, request: web.Request) -> dict[str, Any]:
        form: dict[str, Any] = {}
        for key, value in (await request.post()).items():
            if isinstance(value, web.FileField):
                self.files.append((value.filename, value.file.read()))
                form[key] = value.filename
            else:
                form[key] = value
        return form

    @contextmanager
    def serving(self) -> Iterator[Platforms]:
        """In a thread, as a server is: the loop of a test has none of its tasks."""
        self._loop = loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        server = asyncio.run_coroutine_threadsafe(self._start(), loop).result(10)
        try:
            yield self
        finally:
            self.reset()
            asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()

    def reset(self) -> None:
        """Forget all, and let go of what hangs."""
        self._loop.call_soon_threadsafe(self._go.set)
        self._go = asyncio.Event()
        self.told, self.posts, self.files, self.requests, self.faults = [], [], [], [], []
        self._transactions = {}
        self.wait, self.url = WAIT, self._url

    async def _start(self) -> TestServer:
        app = web.Application(middlewares=[self.misbehave], client_max_size=2**26)
        channel = "/api/v10/channels/{channel}/messages"
        room = "/_matrix/client/v3/rooms/{room}/send/{kind}/{transaction}"
        app.add_routes(
            [
                web.post("/bot{token}/{method}", self.telegram),
                web.get("/api/v10/users/@me", self.discord_me),
                web.get("/api/v10/oauth2/applications/@me", self.discord_app),
                web.post(channel, self.discord),
                web.post("/api/v10/webhooks/{id}/{token}", self.discord),
                web.post("/api/{method}", self.slack),
                web.post("/slack-upload", self.slack_upload),
                web.put(room, self.matrix),
                web.post("/_matrix/media/v3/upload", self.matrix_upload),
                web.post("/hook", self.hook),
                web.post("/elsewhere", self.hook),
            ]
        )
        server = TestServer(app)
        await server.start_server()
        self.url = self._url = f"http://127.0.0.1:{server.port}"
        return server


def _telegram_error(status: int, text: str, **more: Any) -> web.Response:
    told = {"ok": False, "error_code": status, "description": text, **more}
    return web.json_response(told, status=status)
