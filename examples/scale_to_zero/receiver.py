"""Receives the scheduler's calls for an agent that is not there, and starts it.

``uvicorn receiver:site --lifespan off``, with the settings of the agent in the environment. It may
as well be a serverless function: it holds nothing but the agent's process while that runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from acron import Fired, load_settings
from acron.clock import SystemClock
from acron.providers.chronos_portal import fetch_keys
from acron.providers.chronos_tokens import Keys, Verifier
from acron.providers.chronos_webhook import Webhook

if TYPE_CHECKING:
    from datetime import datetime

log = logging.getLogger("receiver")

IDLE = os.environ.get("RECEIVER_IDLE", "30")
AGENT = [sys.executable, "-m", "acron", "run", "--no-live", "--until-idle", IDLE]


class Waker:
    """One agent at a time. A call that comes while it runs may come too late for it: then it
    runs once more."""

    def __init__(self) -> None:
        self.running: asyncio.Task[None] | None = None
        self.again = False

    async def __call__(self, _job_id: str, _fire_at: datetime | None) -> Fired:
        self.again = True
        if self.running is None or self.running.done():
            self.running = asyncio.create_task(self.run())
        return Fired.CLAIMED

    async def run(self) -> None:
        pause = 1.0
        while self.again:
            self.again = False
            agent = await asyncio.create_subprocess_exec(*AGENT, stdin=asyncio.subprocess.DEVNULL)
            code = await agent.wait()
            if code != 0:  # it could not arm what comes next: nobody else would start it
                log.warning("the agent ended with %s; again in %g s", code, pause)
                await asyncio.sleep(pause)
                pause, self.again = min(2 * pause, 300.0), True


settings = load_settings()
clock = SystemClock()
verify = Verifier(
    Keys(partial(fetch_keys, settings.chronos_jwks_url), clock),
    audience=settings.chronos_audience,
    issuer=settings.chronos_issuer,
    clock=clock,
)
site = Webhook(verify, Waker())
