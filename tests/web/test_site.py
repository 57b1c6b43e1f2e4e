"""What ``run --serve`` serves, and where."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from acron import Acron, ConfigError
from acron.web import guard, listen, serving, site
from tests.providers.chronos_world import World, post

if TYPE_CHECKING:
    from pathlib import Path

    from acron.testing import VirtualTime


async def get(asgi: Any, path: str) -> tuple[int, bytes]:
    status, _, body = await post(asgi, None, b"", path=path, method="GET")
    return status, body


async def test_health_is_that_of_the_process(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)
    pages = site(app)
    assert await get(pages, "/healthz") == (503, b"not ok\n")
    async with app:
        await acron_time.settle()
        assert await get(pages, "/healthz") == (200, b"ok\n")
        await app.drain()
        assert await get(pages, "/healthz") == (503, b"not ok\n")


async def test_of_others_it_is_that_of_who_pulls_the_trigger(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    asked, by_hand, serving = (
        Acron(str(tmp_path / "jobs.json"), clock=acron_time.clock) for _ in range(3)
    )
    pages = site(asked, fires=False)
    async with asked.attached(), by_hand.attached(firing=True):
        assert await get(pages, "/healthz") == (503, b"not ok\n")
        async with serving:
            await acron_time.settle()
            assert await get(pages, "/healthz") == (200, b"ok\n")
        assert await get(pages, "/healthz") == (503, b"not ok\n")


async def test_the_webhook_is_the_providers(acron_time: VirtualTime) -> None:
    world = World(acron_time.clock)
    provider = world.provider(acron_time.clock)
    pages = site(Acron("memory://", clock=acron_time.clock, provider=provider))
    for path, status in [("/api/cron/fire", 401), ("/nothing", 404), ("/", 404)]:
        assert (await post(pages, None, b"", path=path))[0] == status
    plain = Acron("memory://", clock=acron_time.clock)
    assert (await post(site(plain), None, b"", path="/api/cron/fire"))[0] == 404
    with pytest.raises(ConfigError, match="no webhook"):
        _ = plain.webhook
    with pytest.raises(ValueError, match="lifespan"):
        await site(plain)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "address", ["", "x", "host:", "127.0.0.1:99999", "127.0.0.1:-1", "0" * 5000, f"{'ü' * 70}:80"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"is not \[HOST:\]PORT|label"):
        listen(address)


def test_a_taken_port_is_told() -> None:
    with listen("0") as at:
        assert at.getsockname()[0] == "127.0.0.1"
        with pytest.raises(ConfigError, match="cannot listen"):
            listen(f"127.0.0.1:{at.getsockname()[1]}")


async def test_it_serves_until_it_is_left() -> None:
    async def answers(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"hi"})

    at = listen("0")
    port = at.getsockname()[1]
    before = asyncio.all_tasks()
    async with (
        serving(answers, at),
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/") as answer,
    ):
        assert await answer.read() == b"hi"
        assert "server" not in {name.lower() for name in answer.headers}
    assert asyncio.all_tasks() == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize(
    "first", [b"", b"GET / HTT", b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: 1\r\n"]
)
@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"])
async def test_slow_headers_are_given_up(
    monkeypatch: pytest.MonkeyPatch, first: bytes, before: bytes
) -> None:
    if before and not first:
        pytest.skip("an idle connection is uvicorn's to end")
    monkeypatch.setattr(guard, "HEADERS", 0.1)
    asked: list[str] = []

    async def answers(scope: Any, _: Any, send: Any) -> None:
        asked.append(scope["path"])
        await asyncio.sleep(0.2)  # longer than headers may take: an answer is not cut
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"hi"})

    at = listen("127.0.0.1:0")
    async with serving(answers, at), asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*at.getsockname()[:2])
        if before:
            writer.write(before)
            assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200")
        writer.write(first)
        assert await reader.read() == b""
        writer.close()
    assert len(asked) == bool(before)
