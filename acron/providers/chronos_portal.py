"""The HTTP scheduler, as its client sees it: provision, cancel, list, and its signing keys."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from acron.errors import AcronError, ConfigError
from acron.text import one_line

try:
    import aiohttp
except ImportError as missing:
    what = 'the provider chronos needs an extra: pip install "acron-runtime[chronos]"'
    raise ConfigError(what) from missing

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger("acron.providers")

#: Seconds that one request may take.
TIMEOUT = 15.0
#: How often a request is made, and the first pause in between, which doubles; seconds.
ATTEMPTS = 3
PAUSE = 0.5
#: The longest pause that a portal may ask for between two attempts, in seconds.
LONGEST_PAUSE = 5.0
#: Bytes of an answer: a list of a million jobs, and the keys.
LIST_LIMIT = 128 * 1024 * 1024
KEYS_LIMIT = 256 * 1024
#: Seconds that fetching the keys may take: a webhook call waits for it.
KEYS_TIMEOUT = 5.0


class PortalError(AcronError):
    """The portal did not do what it was asked.

    ``refused``: it will not, for this one job; asking again is in vain.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class _Held(msgspec.Struct, frozen=True):
    job_id: str
    fire_at: datetime


class _List(msgspec.Struct, frozen=True):
    armed: list[_Held]


class _Again(Exception):
    """An answer that a further attempt may better; ``after`` seconds."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after


class Portal:
    """Speaks to ``{url}/api/agent-cron/…`` with a Bearer token.

    Each request is bounded by 15 s and made at most three times. Redirects are not followed: the
    token is for this address. What cannot be done raises PortalError, which tells no secret.
    """

    def __init__(self, url: str, token: str, callback_url: str) -> None:
        self._url = url.rstrip("/")
        self._callback = callback_url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._session: aiohttp.ClientSession | None = None

    async def held(self) -> dict[str, datetime]:
        """What is armed there: the instant (UTC) by job id."""
        answer = await self._ask("GET", "list")
        try:
            rows = msgspec.json.decode(answer, type=_List).armed
            return {row.job_id: _utc(row.fire_at) for row in rows}
        except (ValueError, RecursionError, OverflowError) as error:
            raise PortalError(f"the portal's list cannot be read: {error}") from error

    async def arm(self, job_id: str, instant: datetime) -> None:
        """Hold one call for the job, in the place of any other."""
        fire_at = instant.isoformat()
        body = {
            "job_id": job_id,
            "fire_at": fire_at,
            "agent_callback_url": self._callback,
            "dedup_key": f"{job_id}:{fire_at}",
        }
        await self._ask("POST", "provision", body)

    async def cancel(self, job_id: str) -> None:
        """Hold nothing for the job. Idempotent."""
        await self._ask("POST", "cancel", {"job_id": job_id})

    async def close(self) -> None:
        """Let go of connections; the next request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(self, method: str, verb: str, body: Mapping[str, Any] | None = None) -> bytes:
        """The body of a 2xx answer. Raises PortalError."""
        for attempt in range(ATTEMPTS):
            try:
                return await self._request(method, f"{self._url}/api/agent-cron/{verb}", body)
            except _Again as error:
                why, after = str(error), error.after
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                why, after = f"{type(error).__name__} {error}".strip(), 0.0
            if attempt < ATTEMPTS - 1:
                await asyncio.sleep(min(max(after, PAUSE * 2**attempt), LONGEST_PAUSE))
        raise PortalError(one_line(f"{verb} failed {ATTEMPTS} times: {why}", 300))

    async def _request(self, method: str, url: str, body: Mapping[str, Any] | None) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers, trust_env=True)
        async with self._session.request(
            method,
            url,
            json=body,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT),
            allow_redirects=False,
        ) as response:
            status = response.status
            if 200 <= status < 300:
                return await _read(response, LIST_LIMIT)
            if status in {408, 429} or status >= 500:
                raise _Again(f"HTTP {status}", _seconds(response.headers.get("Retry-After", "")))
            refused = status in {400, 404, 409, 413, 422}
            raise PortalError(f"the portal answers HTTP {status}", refused=refused)


async def fetch_keys(url: str) -> bytes:
    """The JWKS at ``url``. Raises PortalError."""
    timeout = aiohttp.ClientTimeout(total=KEYS_TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(trust_env=True, timeout=timeout) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise PortalError(f"the keys: HTTP {response.status}")
            return await _read(response, KEYS_LIMIT)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise PortalError(one_line(f"the keys: {type(error).__name__} {error}", 300)) from error


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_chunked(64 * 1024):
        data += chunk
        if len(data) > limit:
            raise PortalError(f"an answer of more than {limit} bytes")
    return bytes(data)


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _utc(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError(f"{instant.isoformat()} has no zone")
    return instant.astimezone(UTC)
