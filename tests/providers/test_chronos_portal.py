"""The wire to the portal: real HTTP on the loopback."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from acron.providers import chronos_portal
from acron.providers.chronos_portal import Portal, PortalError, fetch_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Answer = Callable[[web.Request], Awaitable[web.Response]]

AT = datetime(2026, 12, 1, 9, tzinfo=UTC)


class Served:
    """A server that answers with what the test gives, in turn, and keeps what was asked."""

    def __init__(self, *answers: web.Response | float) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, str, Any]] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        auth = request.headers.get("Authorization", "")
        self.asked.append((request.method, request.path, auth, body))
        answer = self.answers.pop(0) if self.answers else web.json_response({"schedule_id": "s1"})
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            return web.Response()
        return answer


@asynccontextmanager
async def serve(*answers: web.Response | float) -> AsyncIterator[tuple[Served, Portal, str]]:
    served = Served(*answers)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", served.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    portal = Portal(f"{url}/base/", "the-token", "https://agent.example")
    try:
        yield served, portal, url
    finally:
        await portal.close()
        await portal.close()
        await runner.cleanup()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chronos_portal, "PAUSE", 0.001)
    monkeypatch.setattr(chronos_portal, "LONGEST_PAUSE", 0.001)


async def test_the_wire() -> None:
    armed = {"armed": [{"job_id": "a", "fire_at": "2026-12-01T10:00:00+01:00", "more": 1}]}
    async with serve(web.json_response(armed)) as (served, portal, _):
        assert await portal.held() == {"a": AT}
        await portal.arm("b", AT)
        await portal.cancel("c")
    fire_at = "2026-12-01T09:00:00+00:00"
    body = {
        "job_id": "b",
        "fire_at": fire_at,
        "agent_callback_url": "https://agent.example",
        "dedup_key": f"b:{fire_at}",
    }
    token = "Bearer the-token"
    assert served.asked == [
        ("GET", "/base/api/agent-cron/list", token, None),
        ("POST", "/base/api/agent-cron/provision", token, body),
        ("POST", "/base/api/agent-cron/cancel", token, {"job_id": "c"}),
    ]


async def test_what_may_pass_is_tried_again_and_then_told() -> None:
    busy = [web.Response(status=503), web.Response(status=429, headers={"Retry-After": "9999"})]
    async with serve(*busy) as (served, portal, _):
        await portal.arm("a", AT)
        assert len(served.asked) == 3
    async with serve(*(web.Response(status=500) for _ in range(5))) as (served, portal, _):
        with pytest.raises(PortalError, match="3 times: HTTP 500") as caught:
            await portal.arm("a", AT)
        assert len(served.asked) == 3
        assert not caught.value.refused


@pytest.mark.parametrize("status,refused", [(422, True), (400, True), (401, False), (403, False)])
async def test_what_will_not_pass_is_told_at_once(status: int, refused: bool) -> None:
    async with serve(web.Response(status=status, text="the-token")) as (served, portal, _):
        with pytest.raises(PortalError, match=str(status)) as caught:
            await portal.arm("a", AT)
        assert len(served.asked) == 1
        assert caught.value.refused is refused
        assert "the-token" not in str(caught.value)


async def test_the_token_follows_no_redirect() -> None:
    away = web.Response(status=302, headers={"Location": "/elsewhere"})
    async with serve(away) as (served, portal, _):
        with pytest.raises(PortalError, match="302"):
            await portal.cancel("a")
        assert len(served.asked) == 1


async def test_a_portal_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chronos_portal, "TIMEOUT", 0.05)
    async with serve(60.0, 60.0, 60.0) as (served, portal, _):
        with pytest.raises(PortalError, match="TimeoutError"):
            await portal.held()
        assert len(served.asked) == 3


async def test_nobody_there() -> None:
    async with serve() as (_, _, url):
        pass
    portal = Portal(url, "the-token", "")
    with pytest.raises(PortalError):
        await portal.held()
    with pytest.raises(PortalError):
        await fetch_keys(url)
    await portal.close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"armed": 3}',
        '{"armed": [{"job_id": "a"}]}',
        '{"armed": [' + "[" * 9999,
        '{"armed": [{"job_id": "a", "fire_at": "2026-12-01T09:00:00"}]}',
    ],
)
async def test_a_list_that_is_none(text: str) -> None:
    async with serve(web.Response(text=text)) as (_, portal, _):
        with pytest.raises(PortalError, match="cannot be read"):
            await portal.held()


async def test_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    big = web.Response(body=b" " * (chronos_portal.KEYS_LIMIT + 1))
    async with serve(web.Response(text="{}"), big, web.Response(status=404)) as (_, _, url):
        assert await fetch_keys(url) == b"{}"
        with pytest.raises(PortalError, match="more than"):
            await fetch_keys(url)
        with pytest.raises(PortalError, match="404"):
            await fetch_keys(url)
