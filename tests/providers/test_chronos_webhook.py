"""FAULTS 43 to 46: a forged, replayed, expired, oversize or slow call changes nothing and learns
nothing."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from acron import Acron
from acron.abc import Fired
from acron.providers.chronos_tokens import Keys, Verifier
from acron.providers.chronos_webhook import BODY_LIMIT, Webhook
from acron.testing.contracts.arming import FakeJobs
from tests.providers.chronos_world import KEY, SETTINGS, Issuer, Served, World, jwk, jwks, post

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from acron.testing import VirtualTime

OTHER = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
WEAK = rsa.generate_private_key(65537, 1024)
BODY = b'{"job_id": "a", "fire_at": "2026-01-01T00:00:00+00:00"}'
REFUSED = (401, b'{"status":"refused"}')


class Site:
    """A webhook, and what came through it."""

    def __init__(self, time: VirtualTime) -> None:
        self.fired: list[tuple[str, datetime | None]] = []
        self.answer: Fired | BaseException = Fired.CLAIMED
        self.served = Served(
            jwk(KEY, "k1"), jwk(RSA, "rsa"), jwk(WEAK, "weak"), jwk(KEY, "enc", use="enc")
        )
        keys = Keys(self.served, time.clock)
        audience, issuer = SETTINGS.chronos_audience, SETTINGS.chronos_issuer
        verifier = Verifier(keys, audience=audience, issuer=issuer, clock=time.clock)
        self.webhook = Webhook(verifier, self.fire)
        self.issuer = Issuer(time.clock)

    async def fire(self, job_id: str, fire_at: datetime | None) -> Fired:
        self.fired.append((job_id, fire_at))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture
def site(acron_time: VirtualTime) -> Site:
    return Site(acron_time)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def by_hand(issuer: Issuer, head: dict[str, str], sign: Callable[[bytes], bytes]) -> str:
    """A token that no library would sign."""
    signed = f"{b64(json.dumps(head).encode())}.{issuer.token().split('.')[1]}"
    return f"{signed}.{b64(sign(signed.encode()))}"


def by_public_key(text: bytes) -> bytes:
    """HS256, with the public key as its secret: the classic confusion."""
    return hmac.digest(json.dumps(jwk(KEY, "k1")).encode(), text, "sha256")


def by_weak_key(text: bytes) -> bytes:
    return WEAK.sign(text, padding.PKCS1v15(), hashes.SHA256())


def tampered(issuer: Issuer) -> str:
    head, _, signature = issuer.token().split(".")
    _, claims, _ = issuer.token(exp=9e9).split(".")
    return f"{head}.{claims}.{signature}"


FORGED: dict[str, Callable[[Site, float], str | None]] = {
    "no token": lambda site, now: None,
    "empty": lambda site, now: "",
    "no JWT": lambda site, now: "bearer-of-the-agent",
    "too long": lambda site, now: "a" * 9000,
    "deep header": lambda site, now: base64.urlsafe_b64encode(b"[" * 5000).decode() + ".e30.e30",
    "alg none": lambda site, now: by_hand(site.issuer, {"alg": "none", "kid": "k1"}, lambda _: b""),
    "HS256": lambda site, now: by_hand(site.issuer, {"alg": "HS256", "kid": "k1"}, by_public_key),
    "tampered": lambda site, now: tampered(site.issuer),
    "another key": lambda site, now: Issuer(site.issuer.clock, OTHER).token(),
    "a weak key": lambda site, now: by_hand(
        site.issuer, {"alg": "RS256", "kid": "weak"}, by_weak_key
    ),
    "a key for something else": lambda site, now: Issuer(site.issuer.clock, KEY, "enc").token(),
    "another algorithm than the key's": lambda site, now: Issuer(
        site.issuer.clock, RSA, "rsa"
    ).token(alg="RS512"),
    "PS256": lambda site, now: Issuer(site.issuer.clock, RSA, "rsa").token(alg="PS256"),
    "no kid": lambda site, now: site.issuer.token(head={}),
    "unknown kid": lambda site, now: site.issuer.token(head={"kid": "k2"}),
    "unknown crit": lambda site, now: site.issuer.token(
        head={"kid": "k1", "crit": ["odd"], "odd": 1}
    ),
    "wrong audience": lambda site, now: site.issuer.token(aud="agent:2"),
    "no audience": lambda site, now: site.issuer.token(aud=None),
    "wrong issuer": lambda site, now: site.issuer.token(iss="https://portal.example.evil"),
    "no issuer": lambda site, now: site.issuer.token(iss=None),
    "wrong purpose": lambda site, now: site.issuer.token(purpose="login"),
    "no purpose": lambda site, now: site.issuer.token(purpose=None),
    "expired": lambda site, now: site.issuer.token(exp=now - 31),
    "no expiry": lambda site, now: site.issuer.token(exp=None),
    "expiry is true": lambda site, now: site.issuer.token(exp=True),
    "expiry is infinite": lambda site, now: site.issuer.token(exp=float("inf")),
    "expiry is NaN": lambda site, now: site.issuer.token(exp=float("nan")),
    "expiry is text": lambda site, now: site.issuer.token(exp="later"),
    "not yet valid": lambda site, now: site.issuer.token(nbf=now + 31),
    "issued in the future": lambda site, now: site.issuer.token(iat=now + 31),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
async def test_forged_is_one_identical_401(
    acron_time: VirtualTime, site: Site, forge: Callable[[Site, float], str | None]
) -> None:
    plain = await post(site.webhook, None, BODY)
    token = forge(site, acron_time.now().timestamp())
    for body in (BODY, b"", b"x" * (BODY_LIMIT + 1), b"[" * 9999):
        assert await post(site.webhook, token, body) == plain
    assert (plain[0], plain[2]) == REFUSED
    assert site.fired == []


GOOD: dict[str, Callable[[Site, float], str]] = {
    "plain": lambda site, now: site.issuer.token(),
    "RS256": lambda site, now: Issuer(site.issuer.clock, RSA, "rsa").token(alg="RS256"),
    "expired within the leeway": lambda site, now: site.issuer.token(exp=now - 29),
    "valid within the leeway": lambda site, now: site.issuer.token(nbf=now + 29),
    "one of several audiences": lambda site, now: site.issuer.token(aud=["x", "agent:1"]),
    "no nbf": lambda site, now: site.issuer.token(nbf=None),
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD)
async def test_a_good_token_fires(
    acron_time: VirtualTime, site: Site, make: Callable[[Site, float], str]
) -> None:
    token = make(site, acron_time.now().timestamp())
    status, _, body = await post(site.webhook, token, BODY)
    assert (status, body) == (202, b'{"status":"claimed"}')
    assert site.fired == [("a", acron_time.now())]


async def test_two_authorization_headers_are_none(site: Site) -> None:
    good = (b"authorization", f"Bearer {site.issuer.token()}".encode())
    assert (await post(site.webhook, "junk", BODY, headers=(good,)))[0] == 401


@pytest.mark.parametrize(
    "fired,status",
    [
        (Fired.CLAIMED, 202),
        (Fired.LOST, 200),
        (Fired.NOTHING, 200),
        (Fired.EARLY, 200),
        (Fired.DRAINING, 503),
        (OSError("disk of /secret/path"), 503),
        (SystemExit(3), 503),
    ],
)
async def test_answers(site: Site, fired: Fired | BaseException, status: int) -> None:
    site.answer = fired
    answer, headers, body = await post(site.webhook, site.issuer.token(), BODY)
    assert answer == status
    assert (b"retry-after" in headers) is (status == 503)
    assert b"secret" not in body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'{"job_id": null}',
        b'{"job_id": 3}',
        b'{"job_id": ""}',
        b'{"job_id": "a", "fire_at": "tomorrow"}',
        b'{"job_id": "a", "fire_at": "2026-01-01T00:00:00"}',
        b'{"job_id": "a", "fire_at": "0001-01-01T00:00:00+23:59"}',
        b'{"job_id": "a", "fire_at": NaN}',
        b'{"job_id": "a", "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"job_id": "\xff"}',
        *(
            json.dumps({"job_id": bad}).encode()
            for bad in ("../../etc/passwd", "a\0b", "a" * 10_000, "a/b", "\u202ea", "-rf", "a\r\nb")
        ),
    ],
)
async def test_bad_bodies_and_bad_ids_are_400(site: Site, body: bytes) -> None:
    assert (await post(site.webhook, site.issuer.token(), body))[0] == 400
    assert site.fired == []


async def test_large_bodies_are_413_before_they_are_read(site: Site) -> None:
    token = site.issuer.token()
    told = ((b"content-length", str(BODY_LIMIT + 1).encode()),)
    for headers in (told, ((b"content-length", b"9" * 400),)):
        status = (await post(site.webhook, token, b"", headers=headers, pause=3600))[0]
        assert status == 413  # though nothing of it has come
    chunks = [b" " * 1024] * 65
    assert (await post(site.webhook, token, chunks))[0] == 413
    assert (await post(site.webhook, token, [b" " * 1024] * 60 + [BODY]))[0] == 202
    assert len(site.fired) == 1


async def test_a_slow_body_is_408(acron_time: VirtualTime, site: Site) -> None:
    chunks = [BODY[n : n + 1] for n in range(len(BODY))]
    begun = acron_time.now()
    assert (await post(site.webhook, site.issuer.token(), chunks, pause=1.0))[0] == 408
    assert (acron_time.now() - begun).total_seconds() == 10
    assert site.fired == []


async def test_other_paths_and_methods(site: Site) -> None:
    token = site.issuer.token()
    assert (await post(site.webhook, token, BODY, path="/api/cron/fire/../x"))[0] == 404
    assert (await post(site.webhook, token, BODY, method="GET"))[0] == 405
    assert (await post(site.webhook, token, BODY, path="/acron/api/cron/fire"))[0] == 202


async def test_a_rotated_key_is_fetched_and_made_up_ids_do_not_make_us_call(
    acron_time: VirtualTime, site: Site
) -> None:
    async def status(issuer: Issuer) -> int:
        return (await post(site.webhook, issuer.token(), BODY))[0]

    new = Issuer(acron_time.clock, OTHER, "k2")
    assert await status(site.issuer) == 202
    await asyncio.gather(*(status(Issuer(acron_time.clock, OTHER, f"x{n}")) for n in range(50)))
    assert site.served.fetched == 1
    site.served.text = jwks(jwk(OTHER, "k2"))
    await acron_time.advance(seconds=30)
    assert await status(new) == 401
    assert site.served.fetched == 1
    await acron_time.advance(seconds=30)
    assert [await status(new), await status(site.issuer)] == [202, 401]
    assert site.served.fetched == 2
    site.served.down = True
    await acron_time.advance(minutes=20)
    assert await status(new) == 202  # the keys that were known stay
    site.served.down, site.served.text = False, b'{"keys": 3}'
    await acron_time.advance(minutes=20)
    assert await status(new) == 202


async def test_a_replayed_call_runs_nothing_twice(acron_time: VirtualTime) -> None:
    world = World(acron_time.clock)
    provider = world.provider(acron_time.clock)
    app = Acron("memory://", clock=acron_time.clock, provider=provider)

    @app.job("every 10m")
    async def beat() -> None: ...

    token = world.issuer.token(exp=9e9)
    async with app:
        await acron_time.advance(minutes=10)
        one = world.held()["beat"]
        body = json.dumps({"job_id": "beat", "fire_at": one.instant.isoformat()}).encode()
        answers = [(await post(app.webhook, token, body))[::2] for _ in range(3)]
        assert answers == [(202, b'{"status":"claimed"}')] + 2 * [(200, b'{"status":"lost"}')]
        gone = await post(app.webhook, token, b'{"job_id": "nobody"}')
        assert gone[::2] == (200, b'{"status":"nothing"}')
        await acron_time.settle()
        await app.drain()
        assert (await post(app.webhook, token, body))[0] == 503
        assert len(await app.runs("beat")) == 1
    assert (await post(app.webhook, token, body))[0] == 503


@pytest.fixture
async def fuzzed(acron_time: VirtualTime) -> AsyncIterator[tuple[World, Any, FakeJobs]]:
    world = World(acron_time.clock)
    provider = world.provider(acron_time.clock)
    firing = FakeJobs({"a": 9000.0})
    await provider.start(asyncio.Event(), firing=firing)
    yield world, provider.webhook, firing
    await provider.stop()


async def test_ids_that_are_well_formed_and_unknown_are_nothing(
    fuzzed: tuple[World, Any, FakeJobs],
) -> None:
    world, webhook, firing = fuzzed
    for job_id in ("a..b", "a..", "con", "nul.txt", "日本語", "a:b@c+d", "A" * 128):
        body = json.dumps({"job_id": job_id}).encode()
        status = (await post(webhook, world.issuer.token(), body))[0]
        assert status == 200
    assert firing.claims == []
