from __future__ import annotations

import asyncio
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from msgspec.structs import replace

from acron import Acron, Http
from acron.abc import Context
from acron.actions import http
from acron.actions.http import HttpAction
from acron.errors import ActionFailed, InvalidJob
from acron.model import OUTPUT_LIMIT, Policy, Settings
from acron.net import ANYWHERE, Guard
from acron.testing.contracts.actions import ActionContract, context_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from acron.abc import Action


class Site:
    """A server on this machine, which remembers what it was asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], str]] = []
        self.hanging = asyncio.Event()
        self.over = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        self.seen.append((request.method, request.path_qs, dict(request.headers), body))
        what, _, more = request.path.strip("/").partition("/")
        if what == "hang":
            self.hanging.set()
            await self.over.wait()
        if what == "status":
            return web.Response(status=int(more), text="so\nsorry" if more > "399" else "fine")
        if what == "to":
            status, _, target = more.partition("/")
            to = f"/{target}" if not request.query_string else request.query_string
            return web.Response(status=int(status), headers={"Location": to}, text="over there")
        if what == "echo":
            return web.Response(text=request.headers.get("Authorization", ""))
        if what == "send-away":  # to no web address, with what it was told
            away = f"ftp://{request.headers.get('Authorization', '')}"
            return web.Response(status=302, headers={"Location": away})
        if what == "many":
            return web.Response(body=b"x" * int(more))
        if what == "latin":
            return web.Response(body=b"caf\xe9", headers={"Content-Type": f"text/plain; {more}"})
        return web.Response(text="hello")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{tail:.*}", site.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    place = web.TCPSite(runner, "127.0.0.1", 0)
    await place.start()
    site.port = runner.addresses[0][1]
    yield site
    site.over.set()
    await runner.cleanup()


@pytest.fixture
async def action() -> AsyncIterator[HttpAction]:
    action = HttpAction(guard=Guard(ANYWHERE), environ={"KEY": "s3cret-key", "LINES": "a\nb"})
    yield action
    await action.close()


class TestHttpAction(ActionContract):
    @pytest.fixture
    def action(self, action: HttpAction) -> Action:
        return action

    @pytest.fixture
    def good(self, site: Site) -> tuple[Any, str]:
        return Http(site.url), "hello"

    @pytest.fixture
    def bad(self, site: Site) -> Any:
        return Http(f"{site.url}/status/500")

    @pytest.fixture
    def talkative(self, site: Site) -> tuple[Any, str]:
        return Http(f"{site.url}/status/500"), "so\nsorry"

    @pytest.fixture
    def endless(self, site: Site) -> Any:
        return Http(f"{site.url}/hang")

    @pytest.fixture
    def begun(self, site: Site) -> Callable[[], bool]:
        return site.hanging.is_set

    @pytest.fixture
    def senseless(self) -> list[tuple[Any, str]]:
        url = "https://example.org"
        return [
            (Http(""), "$.http"),
            (Http(7), "$.http"),  # type: ignore[arg-type]
            (Http("example.org"), "$.http"),
            (Http("file:///etc/passwd"), "$.http"),
            (Http("http://"), "$.http"),
            (Http("http://a b"), "$.http"),
            (Http("http://a\r\nb"), "$.http"),
            (Http("http://a:port"), "$.http"),
            (Http("http://[::1"), "$.http"),
            (Http("http://me:word@example.org"), "$.http"),
            (Http("http://\ud800"), "$.http"),
            (Http(url, method="GET /"), "$.method"),
            (Http(url, method=""), "$.method"),
            (Http(url, headers=["A: b"]), "$.headers"),  # type: ignore[arg-type]
            (Http(url, headers={"A b": "c"}), "$.headers"),
            (Http(url, headers={"A": "b\r\nC: d"}), "$.headers.A"),
            (Http(url, headers={"A": 7}), "$.headers.A"),  # type: ignore[dict-item]
            (Http(url, headers={"Host": "b"}), "$.headers.Host"),
            (Http(url, headers={"content-length": "3"}), "$.headers.content-length"),
            (Http(url, body={"a": [1.5, {2}]}), "$.body.a[1]"),
            (Http(url, expect=(99,)), "$.expect"),
            (Http(url, expect=("200",)), "$.expect"),  # type: ignore[arg-type]
        ]


async def run(action: HttpAction, spec: Http, **policy: Any) -> str | None:
    context = context_of(spec)
    job = replace(context.job, policy=Policy(**policy))
    return await action.run(spec, Context(job, context.run, lambda *_: None))


async def failure(action: HttpAction, spec: Http, **policy: Any) -> ActionFailed:
    with pytest.raises(ActionFailed) as failed:
        await run(action, spec, **policy)
    assert str(failed.value).isprintable()
    return failed.value


async def test_text_goes_as_text_and_json_as_json(site: Site, action: HttpAction) -> None:
    await run(action, Http(site.url, method="POST", body="plain", headers={"X-A": "b"}))
    await run(action, Http(site.url, method="PUT", body={"a": [1, "é"]}))
    (first, _, headers, text), (second, _, others, json) = site.seen
    assert (first, text, headers["X-A"]) == ("POST", "plain", "b")
    assert (second, json) == ("PUT", '{"a": [1, "\\u00e9"]}')
    assert others["Content-Type"] == "application/json"
    assert headers["User-Agent"] == "acron"


@pytest.mark.parametrize(
    "status,expect,good",
    [
        (200, (), True),
        (204, (), True),
        (404, (), False),
        (404, (404,), True),
        (200, (201, 202), False),
        (304, (), True),
    ],
)
async def test_which_status_is_success(
    site: Site, action: HttpAction, status: int, expect: tuple[int, ...], good: bool
) -> None:
    spec = Http(f"{site.url}/status/{status}", expect=expect)
    if good:
        await run(action, spec)
    else:
        assert f"status {status}" in str(await failure(action, spec))


async def test_a_failure_tells_status_and_beginning(site: Site, action: HttpAction) -> None:
    failed = await failure(action, Http(f"{site.url}/status/503"))
    assert str(failed) == r"status 503: so\nsorry"


async def test_secrets_come_from_the_environment_and_stay_hidden(
    site: Site, action: HttpAction
) -> None:
    for value, sent in (
        ("Bearer $KEY", "Bearer s3cret-key"),
        ("Bearer ${KEY}s", "Bearer s3cret-keys"),
        ("env:KEY", "s3cret-key"),
        ("$$KEY $5", "$KEY $5"),
    ):
        said = await run(action, Http(f"{site.url}/echo", headers={"Authorization": value}))
        assert site.seen[-1][2]["Authorization"] == sent
        assert said == sent.replace("s3cret-key", "***")
    failed = await failure(action, Http(site.url, headers={"A": "$NOPE"}))
    assert "NOPE" in str(failed)
    assert "not set" in str(failed)
    assert "LINES" in str(await failure(action, Http(site.url, headers={"A": "env:LINES"})))


async def test_a_long_answer_is_cut(
    site: Site, action: HttpAction, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await run(action, Http(f"{site.url}/many/{OUTPUT_LIMIT * 3}")) == "x" * OUTPUT_LIMIT * 3
    monkeypatch.setattr(http, "LARGEST", 1000)
    said = await run(action, Http(f"{site.url}/many/50000"))
    assert said == "x" * 1000 + "\n[… cut after 1,000 bytes]"


@pytest.mark.parametrize(
    "charset,text",
    [
        ("charset=latin-1", "café"),
        ("charset=moon", "caf�"),
        ("a=b", "caf�"),
        ("charset=bz2", "caf�"),  # of Python's codecs, only those of text
        ("charset=idna", "caf�"),
    ],
)
async def test_the_charset_is_heeded(
    site: Site, action: HttpAction, charset: str, text: str
) -> None:
    assert await run(action, Http(f"{site.url}/latin/{charset}")) == text


async def test_no_answer_in_time(
    site: Site, action: HttpAction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "TIMEOUT", 0.05)
    spec = Http(f"{site.url}/hang")
    assert str(await failure(action, spec)) == "no answer within 0.05 s"
    assert str(await failure(action, spec, timeout=0.07)) == "no answer within 0.07 s"


async def test_nobody_there(action: HttpAction) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "ClientConnector" in str(await failure(action, Http(f"http://127.0.0.1:{port}/")))


# --- redirects -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status,method,body",
    [(301, "GET", ""), (302, "GET", ""), (303, "GET", ""), (307, "PUT", "x"), (308, "PUT", "x")],
)
async def test_redirects_are_followed(
    site: Site, action: HttpAction, status: int, method: str, body: str
) -> None:
    spec = Http(f"{site.url}/to/{status}/there", method="PUT", body="x", headers={"X-Key": "k"})
    assert await run(action, spec) == "hello"
    assert (site.seen[-1][0], site.seen[-1][1], site.seen[-1][3]) == (method, "/there", body)
    assert site.seen[-1][2]["X-Key"] == "k"


async def test_redirects_have_a_bound(site: Site, action: HttpAction) -> None:
    await run(action, Http(f"{site.url}/to/302/" + "to/302/" * 4))
    failed = await failure(action, Http(f"{site.url}/to/302/" + "to/302/" * 5))
    assert str(failed) == "redirected more than 5 times"


async def test_a_redirect_may_be_what_is_expected(site: Site, action: HttpAction) -> None:
    spec = Http(f"{site.url}/to/302/there", expect=(302,))
    assert await run(action, spec) == "over there"
    assert len(site.seen) == 1


async def test_another_origin_gets_no_header_of_the_job(site: Site, action: HttpAction) -> None:
    there = f"http://localhost:{site.port}/there"
    spec = Http(f"{site.url}/to/302/?{there}", headers={"X-Key": "$KEY"})
    assert await run(action, spec) == "hello"
    assert site.seen[0][2]["X-Key"] == "s3cret-key"
    assert "X-Key" not in site.seen[1][2]


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://example.org", "javascript:x"])
async def test_a_redirect_leads_to_the_web(site: Site, action: HttpAction, to: str) -> None:
    assert "no web address" in str(await failure(action, Http(f"{site.url}/to/302/?{to}")))


# --- whom it may ask -----------------------------------------------------------------------------


class Names(AbstractResolver):
    """A name service that says what it is told to, a list after the other."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> Any:
        return [
            {
                "hostname": host,
                "host": one,
                "port": port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
            for one in self.answers.pop(0)
        ]

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "127.1", "2130706433", "[::ffff:127.0.0.1]", "localhost", "rebound"],
)
async def test_private_addresses_are_refused_whatever_they_are_called(
    site: Site, host: str
) -> None:
    names = Names(["1.1.1.1", "127.0.0.1"])
    action = HttpAction(resolver=lambda: names)
    try:
        failed = await failure(action, Http(f"http://{host}:{site.port}/"))
        # What is a number and no canonical address, aiohttp refuses before we do.
        assert ("http_allow_private" in str(failed)) != (host in {"127.1", "2130706433"})
    finally:
        await action.close()
    assert site.seen == []


async def test_a_redirect_to_a_private_address_is_refused(site: Site) -> None:
    """The first server is allowed; where it points to is not."""
    for to in (f"http://127.0.0.2:{site.port}/", f"http://inside:{site.port}/"):
        names = Names(["10.0.0.1"])
        guard = Guard(["127.0.0.1"])
        action = HttpAction(guard=guard, resolver=lambda names=names: names)  # type: ignore[misc]
        failed = await failure(action, Http(f"{site.url}/to/302/?{to}"))
        await action.close()
        assert "not public" in str(failed)
    assert len(site.seen) == 2


async def test_the_app_has_it_and_closes_it(site: Site) -> None:
    app = Acron("memory://", settings=Settings(http_allow_private=True))
    async with app:
        await app.add("every 1h", Http(site.url, expect=(200,)), id="get")
        run = await app.run_now("get", wait=True)
        assert (run.state, run.output) == ("succeeded", "hello")
        (action,) = [one for one in app._actions.values() if isinstance(one, HttpAction)]
        session = action._session
        assert session is not None
    assert session.closed
    shut = Acron("memory://")
    async with shut:
        await shut.add("every 1h", Http(site.url), id="get")
        assert "private" in ((await shut.run_now("get", wait=True)).error or "")


async def test_without_aiohttp_it_is_not_offered_and_adding_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "find_spec", lambda name: None)
    assert HttpAction().offers() == ()
    async with Acron("memory://") as app:
        with pytest.raises(InvalidJob, match=r"acron-runtime\[http\]"):
            await app.add("every 1h", Http("https://example.org"))


def test_acron_starts_without_aiohttp() -> None:
    import subprocess

    code = "import sys, acron; acron.Acron('memory://'); sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_a_redirect_that_repeats_a_secret_tells_none(site: Site) -> None:
    action = HttpAction(guard=Guard(ANYWHERE), environ={"KEY": "canary-of-the-key"})
    try:
        with pytest.raises(ActionFailed, match="no web address") as failed:
            await run(action, Http(f"{site.url}/send-away", headers={"Authorization": "$KEY"}))
    finally:
        await action.close()
    assert "canary" not in str(failed.value)
