"""Make one HTTP request."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import socket
from importlib.util import find_spec
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from acron.abc import Action
from acron.actions.signature import json_problem
from acron.errors import ActionFailed, InvalidJob
from acron.model import OUTPUT_LIMIT
from acron.text import HIDDEN, Excerpt, one_line

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
#: Bytes of an answer that are read; of these ``OUTPUT_LIMIT`` are kept.
LARGEST = 16 * 1024 * 1024

_MISSING = 'aiohttp is not installed: pip install "acron-runtime[http]"'
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REFERENCE = re.compile(r"\$(?:\$|\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))", re.ASCII)
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade"})
_AS_GET = frozenset({301, 302, 303})
_REDIRECT = _AS_GET | {307, 308}
#: Networks whose addresses stand for an IPv4 address, in their last 32 bits.
_CARRIES_IPV4 = ip_network("64:ff9b::/96")


class HttpAction(Action):
    """Makes a request with aiohttp (the extra ``http``); the answer's text is the output.

    ``$NAME`` and ``${NAME}`` in a header's value, or a value ``env:NAME``, stand for a variable
    of acron's environment at the time of the run, so that no secret is stored (``$$`` is a plain
    ``$``). What they stood for is hidden wherever the answer repeats it.

    Private, loopback, link-local and other addresses that are not of the public Internet are
    refused, by the address that is really connected to, unless ``allow_private``. A redirect to
    another origin gets none of the job's headers.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        environ: Mapping[str, str] = os.environ,
        resolver: Callable[[], AbstractResolver] | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._environ = environ
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None
        # Asked once: each tick wants to know what is offered, and the answer walks the disk.
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
        except (ClientError, OSError, ValueError) as error:
            raise ActionFailed(_hidden(_why(error), secrets)) from error
        output = _hidden(text, secrets) if text.strip() else None
        if status not in spec.expect if spec.expect else status >= 400:
            shown = one_line((output or "").strip(), 200)
            raise ActionFailed(f"status {status}{': ' if shown else ''}{shown}", output=output)
        return output

    async def _fetch(self, spec: Http, headers: dict[str, str]) -> tuple[int, str]:
        """The status and the text of the last answer, redirects followed."""
        from yarl import URL  # noqa: PLC0415 (aiohttp brings it)

        url, method = URL(spec.url), spec.method
        sent: dict[str, Any] = {"headers": headers, **_body(spec.body)}
        for _ in range(REDIRECTS + 1):
            request = self._open().request(method, url, allow_redirects=False, **sent)
            async with request as answer:
                to = answer.headers.get("Location") if answer.status in _REDIRECT else None
                if to is None or answer.status in spec.expect:
                    return answer.status, await _text(answer)
                if answer.status in _AS_GET and method != "HEAD":
                    method, sent = "GET", {"headers": sent["headers"]}
            url, before = _joined(url, to), url
            if url.origin() != before.origin():
                sent = {**sent, "headers": {}}
        raise ActionFailed(f"redirected more than {REDIRECTS} times")

    def _open(self) -> aiohttp.ClientSession:
        """One session for all requests, so that connections are kept."""
        if self._session is None or self._session.closed:
            import aiohttp  # noqa: PLC0415 (an extra)

            resolver = aiohttp.ThreadedResolver() if self._resolver is None else self._resolver()
            connector = aiohttp.TCPConnector(
                resolver=resolver if self._allow_private else _public_only(resolver),
                socket_factory=None if self._allow_private else _public_socket,
            )
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


async def _text(answer: aiohttp.ClientResponse) -> str:
    said = Excerpt(OUTPUT_LIMIT)
    try:
        decoder = codecs.getincrementaldecoder(answer.charset or "utf-8")("replace")
    except LookupError:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
    left = LARGEST
    async for data in answer.content.iter_any():
        said.add(decoder.decode(data[:left]))
        left -= len(data)
        if left <= 0:
            said.add(f"\n[… cut after {LARGEST:,} bytes]")
            return str(said)
    said.add(decoder.decode(b"", final=True))
    return str(said)


def _joined(url: URL, to: str) -> URL:
    from yarl import URL  # noqa: PLC0415 (aiohttp brings it)

    joined = url.join(URL(to))
    if joined.scheme not in {"http", "https"} or not joined.host:
        raise ActionFailed(f"redirected to {one_line(to, 200)}, which is no web address")
    if joined.user is not None or joined.password is not None:
        return joined.with_user(None)
    return joined


def _why(error: BaseException) -> str:
    """The reason in one line; a refused address in our own words."""
    inner = getattr(error, "os_error", None) or error
    if isinstance(inner, _Refused):
        return str(inner)
    text = str(error) or type(error).__name__
    return one_line(f"{type(error).__name__}: {text}", 500)


# --- whom it may ask -----------------------------------------------------------------------------


class _Refused(OSError):
    """An address that is not of the public Internet."""

    def __init__(self, host: str, address: str) -> None:
        super().__init__(
            f"{one_line(host, 100)} is {one_line(address, 100)}, a private address, which jobs may "
            "not ask (the setting http_allow_private lets them)"
        )


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public Internet, and so do those that it carries."""
    try:
        found = ip_address(address)
    except ValueError:
        return False  # such as 127.1, which the system would understand
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _CARRIES_IPV4:
            inner = ip_address(int(found) & 0xFFFFFFFF)  # type: ignore[assignment]
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


def _public_socket(info: Any) -> socket.socket:
    """The last door: what is about to be connected to, whichever way it was found."""
    family, kind, proto, _, address = info
    if not is_public(address[0]):
        raise _Refused("it", address[0])
    return socket.socket(family, kind, proto)


def _public_only(inner: AbstractResolver) -> AbstractResolver:
    """``inner``, but a host with any private address has none at all."""
    from aiohttp.abc import AbstractResolver as Base  # noqa: PLC0415 (an extra)

    class PublicOnly(Base):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> Any:
            found = await inner.resolve(host, port, family)
            for one in found:
                if not is_public(one["host"]):
                    raise _Refused(host, one["host"])
            return found

        async def close(self) -> None:
            await inner.close()

    return PublicOnly()
