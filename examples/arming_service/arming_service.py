"""A small scheduler for agents that arm it over HTTP: it holds one call a job, and makes it.

It is an acron app itself: what it holds are jobs in SQLite, a call that is not accepted is a
retry. Run it with ``uvicorn arming_service:site``; README.md tells the settings.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import secrets
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from acron import Acron, Call, Context, InProcessCronScheduler, JobNotFound, Retry

if TYPE_CHECKING:
    from starlette.requests import Request

    from acron import Job

URL = os.environ.get("ARMING_URL", "http://127.0.0.1:8700")
#: Bearer tokens and their agents: ``ARMING_AGENTS="bot=secret,other=secret2"``.
AGENTS = dict(one.split("=", 1) for one in os.environ.get("ARMING_AGENTS", "").split(",") if one)
BODY_LIMIT = 64 * 1024
RETRY = Retry(attempts=20, delay=1.0, factor=2.0, max_delay=300.0)
YEAR = 366 * 86_400.0  # a call that is late is late, not lost

store = os.environ.get("ARMING_STORE", "sqlite:///arming.db")
app = Acron(store, app="arming", provider=InProcessCronScheduler())  # this clock winds itself
changing = asyncio.Lock()


class Signer:
    """Three keys: the last one, the one in use, and the next, which agents learn in advance."""

    def __init__(self) -> None:
        self.keys = deque([self._new() for _ in range(3)], maxlen=3)

    @staticmethod
    def _new() -> tuple[str, ec.EllipticCurvePrivateKey]:
        return secrets.token_hex(8), ec.generate_private_key(ec.SECP256R1())

    def rotate(self) -> None:
        self.keys.append(self._new())

    def jwks(self) -> dict[str, Any]:
        algorithm = jwt.get_algorithm_by_name("ES256")
        return {
            "keys": [
                {"kid": kid, "use": "sig", **json.loads(algorithm.to_jwk(key.public_key()))}
                for kid, key in self.keys
            ]
        }

    def token(self, agent: str) -> str:
        """Good for one minute, for that agent, for nothing but firing."""
        kid, key = self.keys[1]
        now = datetime.now(UTC)
        claims = {"iss": URL, "aud": f"agent:{agent}", "purpose": "cron_fire", "iat": now}
        claims |= {"nbf": now, "exp": now + timedelta(seconds=60)}
        return jwt.encode(claims, key, algorithm="ES256", headers={"kid": kid})


signer = Signer()


@app.job("every 6h")
async def rotate() -> None:
    """A new key; the one before the last goes."""
    signer.rotate()


@app.action
async def relay(ctx: Context, agent: str, callback: str, job_id: str, fire_at: str) -> str:
    """Call the agent. What it does not accept is an error, and so tried again, ever more rarely."""
    headers = {"Authorization": f"Bearer {signer.token(agent)}"}
    body = {"job_id": job_id, "fire_at": fire_at}
    timeout = aiohttp.ClientTimeout(total=20)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(
            f"{callback}/api/cron/fire", json=body, headers=headers, allow_redirects=False
        ) as answer,
    ):
        if not 200 <= answer.status < 300:
            raise RuntimeError(f"the agent answers {answer.status}")
    with suppress(JobNotFound):  # it has armed the next instant already
        await app.remove(ctx.job.id)
    return f"accepted with {answer.status}"


class Provision(msgspec.Struct):
    job_id: str
    fire_at: datetime
    agent_callback_url: str
    dedup_key: str = ""


class Cancel(msgspec.Struct):
    job_id: str


def agent_of(request: Request) -> str:
    """Whose token that is; all are compared, each in constant time."""
    _, _, given = request.headers.get("authorization", "").partition(" ")
    proof = given.encode()
    named = [agent for agent, token in AGENTS.items() if hmac.compare_digest(token.encode(), proof)]
    if not named:
        raise HTTPException(401)
    return named[0]


async def body_of(request: Request, kind: type[Any]) -> Any:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_LIMIT:
            raise HTTPException(413)
    try:
        return msgspec.json.decode(bytes(data), type=kind)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "that is no request of this kind") from error


def prefix(agent: str, job_id: str) -> str:
    return f"{agent}.{hashlib.sha256(job_id.encode()).hexdigest()[:32]}."


async def holding(start: str) -> list[Job]:
    """The jobs whose id starts so, and that will, or do, or try to call."""
    found: list[Job] = []
    after = start
    while page := [job for job in await app.store.page(after) if job.id.startswith(start)]:
        after = page[-1].id
        found += page
    return [job for job in found if job.due_at is not None or await calling(job)]


async def calling(job: Job) -> bool:
    """Whether it is being called now, or will be tried again."""
    return any(not run.state.ended for run in await app.store.runs(job.id))


async def provision(request: Request) -> JSONResponse:
    agent = agent_of(request)
    wanted: Provision = await body_of(request, Provision)
    if wanted.fire_at.tzinfo is None or not wanted.agent_callback_url.startswith("http"):
        raise HTTPException(400, "fire_at has a zone, agent_callback_url is a URL")
    at = wanted.fire_at.astimezone(UTC)
    start = prefix(agent, wanted.job_id)
    schedule_id = f"{start}{int(at.timestamp())}"
    async with changing:
        held = [job.id for job in await holding(start)]
        if held != [schedule_id]:
            await clear(start)
            call = {"agent": agent, "callback": wanted.agent_callback_url.rstrip("/")}
            call |= {"job_id": wanted.job_id, "fire_at": at.isoformat()}
            second = at.replace(microsecond=0).isoformat()
            await app.add(second, relay, id=schedule_id, kwargs=call, retry=RETRY, grace=YEAR)
    return JSONResponse({"schedule_id": schedule_id})


async def clear(start: str) -> None:
    for job in await app.store.page(start, 100):
        if job.id.startswith(start):
            with suppress(JobNotFound):
                await app.remove(job.id)


async def cancel(request: Request) -> JSONResponse:
    agent = agent_of(request)
    wanted: Cancel = await body_of(request, Cancel)
    async with changing:
        await clear(prefix(agent, wanted.job_id))
    return JSONResponse({"cancelled": wanted.job_id})


async def listing(request: Request) -> JSONResponse:
    held = await holding(f"{agent_of(request)}.")
    calls = [job.action.kwargs for job in held if isinstance(job.action, Call)]
    armed = [{"job_id": one["job_id"], "fire_at": one["fire_at"]} for one in calls]
    return JSONResponse({"armed": armed})


async def keys(_: Request) -> JSONResponse:
    return JSONResponse(signer.jwks())


site = Starlette(
    lifespan=app.lifespan,
    routes=[
        Route("/api/agent-cron/provision", provision, methods=["POST"]),
        Route("/api/agent-cron/cancel", cancel, methods=["POST"]),
        Route("/api/agent-cron/list", listing),
        Route("/.well-known/jwks.json", keys),
    ],
)
