"""Make one HTTP request."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from acron.abc import Action
from acron.actions.signature import json_problem
from acron.errors import ActionFailed, InvalidJob
from acron.net import BadUrl, Guard, PrivateAddress
from acron.text import HIDDEN, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import aiohttp
    from aiohttp.abc import AbstractResolver
    from yarl import URL

    from acron.abc import Context
    from acron.specs import Http

#: Seconds that a request may take, its redirects included, where the job has no ``timeout``.
TIMEOUT = 30.0
REDIRECTS = 5
#: Bytes of an answer that are read.
LARGEST = 16 * 1024 * 1024

_MISSING = 'aiohttp is not installed: pip install "acron-runtime[http]"'
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REFERENCE = re.compile(r"\$(?:\$|\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))", re.ASCII)
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade"})
_AS_GET = frozenset({301, 302, 303})
_REDIRECT = _AS_GET | {307, 308}


class HttpAction(Action):
    """Makes a request with aiohttp (the extra ``http``); the answer's text is the output.

    ``$NAME`` and ``${NAME}`` in a header's value, or a value ``env:NAME``, stand for a variable
    of acron's environment at the time of the run, so that no secret is stored (``$$`` is a plain
    ``$``). What they stood for is hidden wherever the answer repeats it.

    Private, loopback, link-local and other addresses that are not of the public Internet are
    refused, by the address that is really connected to, unless ``guard`` allows them. A redirect
    to another origin gets none of the job's headers.
    """

    def __init__(
        self,
        *,
        guard: Guard | None = None,
        environ: Mapping[str, str] = os.environ,
        resolver: Callable[[], AbstractResolver] | None = None,
    ) -> None:
        self._guard = guard or Guard()
        self._environ = environ
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None
        # Once: every tick asks what is offered, and this looks into every folder of the path.
        self._installed = find_spec("aiohttp") is not None

    @property
    def name(self) -> str:
        return "http"

    def offers(self) -> Collection[str]:
        return ("http",) if self._installed else ()

    def check(self, spec: Http) -> None:
        if not self._installed:
            raise InvalidJob(_MISSING, where="$.http")
        check(spec)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def run(self, spec: Http, ctx: Context) -> str | None:
        self.check(spec)
        from aiohttp import ClientError  # noqa: PLC0415 (an extra)

        headers, secrets = _resolved(spec.headers or {}, self._environ)
        bound = ctx.job.policy.timeout or TIMEOUT
        try:
            async with asyncio.timeout(bound):
                status, text = await self._fetch(spec, headers)
        except TimeoutError as error:
            raise ActionFailed(f"no answer within {bound:g} s") from error
        except (ClientError, OSError, ValueError, _NoWay) as error:
            raise ActionFailed(_hidden(_why(error), secrets)) from error
        output = _hidden(text, secrets) if text.strip() else None
        if status not in spec.expect if spec.expect else status >= 400:
            shown = one_line((output or "").strip(), 200)
            raise ActionFailed(f"status {status}{': ' if shown else ''}{shown}", output=output)
        return output

    async def _fetch(self, spec: Http, headers: dict[str, str]) -> tuple[int, str]:
        """The status and the text of the last answer, redirects followed."""
        url, method = self._guard.checked_url(spec.url), spec.method
        sent: dict[str, Any] = {"headers": headers, **_body(spec.body)}
        for _ in range(REDIRECTS + 1):
            request = self._open().request(method, url, allow_redirects=False, **sent)
            async with request as answer:
                to = answer.headers.get("Location") if answer.status in _REDIRECT else None
                if to is None or answer.status in spec.expect:
                    return answer.status, await _text(answer)
                if answer.status in _AS_GET and method != "HEAD":
                    method, sent = "GET", {"headers": sent["headers"]}
            url, before = _joined(url, to, self._guard), url
            if url.origin() != before.origin():
                sent = {**sent, "headers": {}}
        raise _NoWay(f"redirected more than {REDIRECTS} times")

    def _open(self) -> aiohttp.ClientSession:
        """One session for all requests, so that connections are kept."""
        if self._session is None or self._session.closed:
            import aiohttp  # noqa: PLC0415 (an extra)

            connector = self._guard.connector(self._resolver and self._resolver())
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),  # jobs share nothing
                timeout=aiohttp.ClientTimeout(total=None),
                headers={"User-Agent": "acron"},
            )
        return self._session


# --- what can be asked ---------------------------------------------------------------------------


def check(spec: Http) -> None:
    """Raise InvalidJob for a request that could never be made."""
    _check_url(spec.url)
    if not isinstance(spec.method, str) or not _TOKEN.fullmatch(spec.method):
        raise InvalidJob(f"{spec.method!r} is no HTTP method", where="$.method")
    if spec.headers is not None and not isinstance(spec.headers, dict):
        kind = type(spec.headers).__name__
        raise InvalidJob(f"headers map names to texts, and are no {kind}", where="$.headers")
    for name, value in (spec.headers or {}).items():
        _check_header(name, value)
    if problem := json_problem(spec.body, "$.body"):
        message, where = problem
        raise InvalidJob(message, where=where)
    for status in spec.expect:
        if not isinstance(status, int) or not 100 <= status <= 599:
            raise InvalidJob(f"{status!r} is no HTTP status", where="$.expect")


def _check_url(url: object) -> None:
    if not isinstance(url, str) or not url.isprintable() or any(one.isspace() for one in url):
        raise InvalidJob("a URL is a text without blanks", where="$.http")
    try:
        url.encode()
        parts = urlsplit(url)
        _ = parts.port  # refuses what is none
    except ValueError as error:
        raise InvalidJob(one_line(f"no URL: {error}", 200), where="$.http") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        message = "a URL begins with http:// or https:// and a host"
        raise InvalidJob(message, where="$.http")
    if parts.username is not None or parts.password is not None:
        message = "a URL would show its password: give an Authorization header, as in $TOKEN"
        raise InvalidJob(message, where="$.http")


def _check_header(name: object, value: object) -> None:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise InvalidJob(f"{name!r} cannot name a header", where="$.headers")
    where = f"$.headers.{name}"
    if name.lower() in _OURS:
        raise InvalidJob("is not the job's to set", where=where)
    if not isinstance(value, str) or not value.isprintable():
        raise InvalidJob("a header's value is one printable line", where=where)


def _resolved(
    headers: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Headers with their references filled in, and what these stood for."""
    secrets: list[str] = []

    def value_of(name: str) -> str:
        value = environ.get(name)
        if value is None:
            raise ActionFailed(f"the environment variable {name}, which a header names, is not set")
        if not value.isprintable():
            raise ActionFailed(f"the environment variable {name} cannot stand in a header")
        secrets.append(value)
        return value

    def one(value: str) -> str:
        if value.startswith("env:"):
            return value_of(value.removeprefix("env:").strip())
        return _REFERENCE.sub(
            lambda found: value_of(name) if (name := found[1] or found[2]) else "$", value
        )

    return {name: one(value) for name, value in headers.items()}, secrets


def _hidden(text: str, secrets: list[str]) -> str:
    for secret in sorted((one for one in secrets if len(one) > 3), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _body(body: Any) -> dict[str, Any]:
    if body is None:
        return {}
    return {"data": body} if isinstance(body, str) else {"json": body}


# --- what comes back -----------------------------------------------------------------------------


class _NoWay(Exception):
    """Where a redirect leads; the words may repeat what was sent."""


async def _text(answer: aiohttp.ClientResponse) -> str:
    said: list[str] = []
    decoder = _decoder(answer.charset or "utf-8")
    left = LARGEST
    async for data in answer.content.iter_any():
        said.append(decoder.decode(data[:left]))
        left -= len(data)
        if left <= 0:
            said.append(f"\n[… cut after {LARGEST:,} bytes]")
            return "".join(said)
    said.append(decoder.decode(b"", final=True))
    return "".join(said)


def _decoder(charset: str) -> codecs.IncrementalDecoder:
    """Of Python's codecs only those of text: bz2, which is one too, could fill the memory."""
    try:
        b"\xff".decode(charset, "replace")
        return codecs.getincrementaldecoder(charset)("replace")
    except (LookupError, ValueError):
        return codecs.getincrementaldecoder("utf-8")("replace")


def _joined(url: URL, to: str, guard: Guard) -> URL:
    from yarl import URL  # noqa: PLC0415 (aiohttp brings it)

    try:
        joined = guard.checked_url(url.join(URL(to)))
    except BadUrl as error:
        raise _NoWay(f"redirected to {one_line(to, 200)}, which is no web address") from error
    if joined.user is not None or joined.password is not None:
        return joined.with_user(None)
    return joined


def _why(error: BaseException) -> str:
    """The reason in one line; a refused address with what would let it pass."""
    inner = getattr(error, "os_error", None) or error
    if isinstance(inner, PrivateAddress):
        return f"{inner} (the setting http_allow_private lets jobs ask it)"
    if isinstance(inner, _NoWay):
        return str(inner)
    text = str(error) or type(error).__name__
    return one_line(f"{type(error).__name__}: {text}", 500)
