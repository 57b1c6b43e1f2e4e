"""One guard for all that asks a URL which a job names."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from acron.net import ANYWHERE, BadUrl, Guard, PrivateAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PRIVATE = (
    *("127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "192.0.2.1", "224.0.0.1", "255.255.255.255"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1"),
    *("127.1", "2130706433", "0x7f.1", "localhost", ""),
)


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_public(address: str) -> None:
    with pytest.raises(PrivateAddress):
        Guard().check("x", address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_what_is_public(address: str) -> None:
    Guard().check("x", address)


def test_a_guard_may_let_everything_pass() -> None:
    for address in ("127.0.0.1", "::1", "10.0.0.1", "fe80::1%eth0"):
        Guard(ANYWHERE).check("x", address)


def test_what_is_no_url() -> None:
    for url in ("ftp://example.org", "http:///x", "x", "http://[::1"):
        with pytest.raises(BadUrl):
            Guard(ANYWHERE).checked_url(url)


class Names(AbstractResolver):
    """A name service that gives one list after the other."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> Any:
        found = self.answers.pop(0)
        rest = {"hostname": host, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
        return [{**rest, "host": one} for one in found]

    async def close(self) -> None: ...


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def ask(guard: Guard, url: str, names: Names | None = None) -> str:
    async with (
        aiohttp.ClientSession(connector=guard.connector(names)) as session,
        session.get(url) as answer,
    ):
        return await answer.text()


async def test_a_literal_address_meets_the_last_door(port: int) -> None:
    """It asks no resolver, and whoever forgets ``checked_url`` is stopped all the same."""
    url = f"http://127.0.0.1:{port}/"
    assert await ask(Guard(["127.0.0.1"]), url) == "hello"
    with pytest.raises(aiohttp.ClientConnectorError) as refused:
        await ask(Guard(["10.0.0.0/8"]), url)
    assert isinstance(refused.value.os_error, PrivateAddress)


async def test_an_allowed_name_leads_where_it_leads_and_another_does_not(port: int) -> None:
    guard = Guard(["intranet.example"])
    assert await ask(guard, f"http://intranet.example:{port}/", Names(["127.0.0.1"])) == "hello"
    for answer in (["127.0.0.1"], ["1.1.1.1", "127.0.0.1"]):
        with pytest.raises(aiohttp.ClientConnectorError) as refused:
            await ask(guard, f"http://rebound.example:{port}/", Names(answer))
        assert isinstance(refused.value.os_error, PrivateAddress)
