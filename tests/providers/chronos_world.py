"""A portal in memory, keys, and a chronos provider between them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from acron.abc import Armed
from acron.model import Settings
from acron.providers.chronos import ChronosCronScheduler
from acron.providers.chronos_portal import PortalError
from acron.providers.chronos_tokens import Keys
from acron.testing.contracts.arming import Outside

if TYPE_CHECKING:
    from datetime import datetime

    from acron.clock import Clock

SETTINGS = Settings(
    provider="chronos",
    chronos_portal_url="https://portal.example",
    chronos_callback_url="https://agent.example",
    chronos_token="bearer-of-the-agent",
    chronos_audience="agent:1",
    chronos_issuer="https://portal.example",
    chronos_jwks_url="https://portal.example/jwks.json",
)
KEY = ec.generate_private_key(ec.SECP256R1())


def jwk(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    algorithms = jwt.get_algorithm_by_name
    kind = algorithms("ES256") if isinstance(key, ec.EllipticCurvePrivateKey) else None
    kind = kind or algorithms("RS256")
    public: dict[str, Any] = json.loads(kind.to_jwk(key.public_key()))
    return {"kid": kid, "use": "sig", **public, **more}


def jwks(*keys: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"keys": keys})


class Issuer:
    """Signs as the scheduler does; each call takes a claim's value, or None to leave it out."""

    def __init__(self, clock: Clock, key: Any = KEY, kid: str = "k1") -> None:
        self.clock, self.key, self.kid = clock, key, kid

    def token(self, *, alg: str = "ES256", head: dict[str, Any] | None = None, **over: Any) -> str:
        now = self.clock.now().timestamp()
        claims = {
            "iss": SETTINGS.chronos_issuer,
            "aud": SETTINGS.chronos_audience,
            "exp": now + 60,
            "nbf": now,
            "purpose": "cron_fire",
        }
        claims = {name: one for name, one in (claims | over).items() if one is not None}
        # By the lower door, because the upper one would refuse to sign some of our forgeries.
        header = {"kid": self.kid} if head is None else head
        return jwt.PyJWS().encode(json.dumps(claims).encode(), self.key, alg, header)


class Served:
    """The JWKS as it is served; counts how often it was fetched."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.text = jwks(*keys)
        self.fetched = 0
        self.down = False

    async def __call__(self) -> bytes:
        self.fetched += 1
        if self.down:
            raise PortalError("no keys today")
        return self.text


class MemoryPortal:
    """The portal as the provider sees it, its wire left out."""

    def __init__(self) -> None:
        self.changes = 0
        self.trouble = ""
        self.armed: dict[str, datetime] = {}
        self.refuses: set[str] = set()
        self.lists = 0
        self.closed = 0

    async def _answer(self) -> None:
        await asyncio.sleep(0.01)
        if self.trouble == "down":
            raise PortalError("down")
        if self.trouble == "hangs":
            await asyncio.sleep(46.5)  # what three attempts of 15 s come to
            raise PortalError("no answer")

    async def held(self) -> dict[str, datetime]:
        self.lists += 1
        await self._answer()
        return dict(self.armed)

    async def arm(self, job_id: str, instant: datetime) -> None:
        await self._answer()
        if job_id in self.refuses:
            raise PortalError("never that one", refused=True)
        self.changes += 1
        self.armed[job_id] = instant

    async def cancel(self, job_id: str) -> None:
        await self._answer()
        self.changes += 1
        self.armed.pop(job_id, None)

    async def close(self) -> None:
        self.closed += 1


class World(Outside):
    """The portal as the suite sees it."""

    def __init__(self, clock: Clock) -> None:
        self.portal = MemoryPortal()
        self.issuer = Issuer(clock)
        self.statuses: list[int] = []
        self.keys = Served(jwk(KEY, "k1"))

    @property
    def changes(self) -> int:  # type: ignore[override]
        return self.portal.changes

    @property
    def trouble(self) -> str:
        return self.portal.trouble

    @trouble.setter
    def trouble(self, kind: str) -> None:
        self.portal.trouble = kind

    def held(self) -> dict[str, Armed]:
        return {job_id: Armed(job_id, at) for job_id, at in self.portal.armed.items()}

    def plant(self, one: Armed) -> None:
        self.portal.armed[one.job_id] = one.instant

    def lose(self, job_id: str) -> None:
        self.portal.armed.pop(job_id, None)

    async def call(self, provider: Any, one: Armed) -> None:
        body = {"job_id": one.job_id, "fire_at": one.instant.isoformat()}
        status, *_ = await post(provider.webhook, self.issuer.token(), json.dumps(body).encode())
        self.statuses.append(status)

    def provider(self, clock: Clock, **options: Any) -> ChronosCronScheduler:
        portal: Any = self.portal
        keys = Keys(self.keys, clock)
        return ChronosCronScheduler(SETTINGS, portal=portal, keys=keys, clock=clock, **options)


async def post(
    webhook: Any,
    token: str | None,
    body: bytes | list[bytes],
    *,
    path: str = "/api/cron/fire",
    method: str = "POST",
    headers: tuple[tuple[bytes, bytes], ...] = (),
    pause: float = 0.0,
) -> tuple[int, dict[bytes, bytes], bytes]:
    """One request through ASGI: its status, headers and body."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    if token is not None:
        headers = (*headers, (b"authorization", f"Bearer {token}".encode()))
    answer: dict[str, Any] = {}

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(pause)
        if not chunks:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(message: Any) -> None:
        answer.update(message)

    scope = {"type": "http", "path": path, "method": method, "headers": list(headers)}
    await webhook(scope, receive, send)
    return answer["status"], dict(answer["headers"]), answer["body"]
