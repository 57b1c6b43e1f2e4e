"""Who may call the fire webhook: a signed, short-lived token, and the keys that prove it."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Any

import msgspec

from acron.contain import text_of
from acron.errors import AcronError, ConfigError
from acron.text import one_line

try:
    import jwt
except ImportError as missing:
    what = 'the provider chronos needs an extra: pip install "acron-runtime[chronos]"'
    raise ConfigError(what) from missing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acron.clock import Clock

logger = logging.getLogger("acron.providers")

#: Asymmetric, and no weaker than 256 bits. Nothing else is even looked at.
ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"})
#: The least size of an RSA key, in bits.
RSA_BITS = 2048
#: How far clocks may be apart, in seconds.
LEEWAY = 30.0
PURPOSE = "cron_fire"
#: Longer ones are refused unread, in characters.
TOKEN_LIMIT = 8192
#: Seconds after which the keys are fetched again, and between any two fetches: a caller who makes
#: up key ids must not make us call.
KEYS_AGE = 600.0
FETCH_INTERVAL = 60.0


class Keys:
    """The public keys of a JWKS by their id, kept for ten minutes.

    An unknown id makes them be fetched again, at most once a minute: that is how a rotated key
    becomes known. When fetching fails, those that were known stay.
    """

    def __init__(self, fetch: Callable[[], Awaitable[bytes]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._tried_at = -math.inf
        self._read_at = -math.inf
        self._fetching = asyncio.Lock()

    async def get(self, kid: str) -> jwt.PyJWK | None:
        """The key with that id, None when there is none."""
        if not self._fresh(kid):
            async with self._fetching:
                now = self._clock.monotonic()
                if not self._fresh(kid) and now - self._tried_at >= FETCH_INTERVAL:
                    self._tried_at = now
                    await self._refresh()
        return self._keys.get(kid)

    def _fresh(self, kid: str) -> bool:
        return kid in self._keys and self._clock.monotonic() - self._read_at < KEYS_AGE

    async def _refresh(self) -> None:
        try:
            found = _usable(await self._fetch())
        except (AcronError, ValueError, RecursionError) as error:
            logger.warning("the webhook's keys: %s", one_line(text_of(error), 300))
            return
        self._keys = found
        self._read_at = self._clock.monotonic()


class Verifier:
    """Says whether an ``Authorization`` header is a token for this webhook.

    Signed with a key of ``keys``, for ``audience``, by ``issuer``, in force, and meant for firing.
    Whatever is wrong, the answer is the same: no.
    """

    def __init__(self, keys: Keys, *, audience: str, issuer: str, clock: Clock) -> None:
        self._keys = keys
        self._audience = audience
        self._issuer = issuer
        self._clock = clock
        self._told_at = -math.inf

    async def __call__(self, authorization: str) -> bool:
        """Whether the header's value proves that the scheduler calls."""
        try:
            await self._verify(authorization)
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            self._tell(error)
            return False
        return True

    async def _verify(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > TOKEN_LIMIT:
            raise ValueError("no token")
        head = jwt.get_unverified_header(token)
        kid, algorithm = head.get("kid"), head.get("alg")
        if not isinstance(kid, str) or algorithm not in ALGORITHMS:
            raise ValueError("no key id, or another algorithm")
        key = await self._keys.get(kid)
        if key is None or key.algorithm_name != algorithm:
            raise ValueError("no such key")
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self._audience,
            issuer=self._issuer,
            # The times are checked below, by acron's clock.
            options={
                "require": ["aud", "iss", "exp"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
        if claims.get("purpose") != PURPOSE:
            raise ValueError("meant for something else")
        now = self._clock.now().timestamp()
        if now >= _number(claims["exp"]) + LEEWAY:
            raise ValueError("expired")
        if any(_number(claims[name]) > now + LEEWAY for name in ("nbf", "iat") if name in claims):
            raise ValueError("not yet valid")

    def _tell(self, error: Exception) -> None:
        """Once a minute: who sets this up needs the reason, and no caller may fill the log."""
        now = self._clock.monotonic()
        if now - self._told_at >= FETCH_INTERVAL:
            self._told_at = now
            logger.warning("a call of the webhook is refused: %s", one_line(text_of(error), 200))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a time that is no number")
    return value


def _usable(text: bytes) -> dict[str, jwt.PyJWK]:
    """The keys of a JWKS that may sign a token. What else is in it is none of ours."""
    listed = msgspec.json.decode(text, type=dict[str, Any]).get("keys")
    if not isinstance(listed, list):
        raise ValueError("that is no JWKS")  # noqa: TRY004 (what came is a value)
    found: dict[str, jwt.PyJWK] = {}
    for one in listed:
        try:
            key = jwt.PyJWK.from_dict(one)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError, KeyError):
            logger.debug("a key of another kind in the JWKS")
            continue
        if key.key_id and key.algorithm_name in ALGORITHMS and _strong(key, one):
            found[key.key_id] = key
    return found


def _strong(key: jwt.PyJWK, raw: dict[str, Any]) -> bool:
    bits: int = getattr(key.key, "key_size", 0)
    return raw.get("use", "sig") == "sig" and (key.key_type != "RSA" or bits >= RSA_BITS)
