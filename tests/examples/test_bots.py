"""The bots of the examples: real processes, with their real client libraries."""

# ruff: noqa: ASYNC110, ASYNC220 - the loop has nothing else to do

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from acron import Acron
from acron.integrations.reminders import Reminders, acron_reminder
from tests.integrations.chats import interaction, serving, update

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.integrations.chats import Platform

EXAMPLES = Path(__file__).parents[2] / "examples"
#: Reminders of other people in the Discord bot's store.
MANY = int(os.environ.get("REMINDERS", "10000"))
#: discord.py has no setting for its server's address.
ELSEWHERE = """
import runpy, sys
from discord.gateway import DiscordWebSocket
from discord.http import Route
from yarl import URL
Route.BASE = sys.argv[2] + "/api/v10"
DiscordWebSocket.DEFAULT_GATEWAY = URL(sys.argv[2] + "/gateway/")
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@asynccontextmanager
async def started(tmp_path: Path, *command: str, **environ: str) -> AsyncIterator[None]:
    path = os.pathsep.join(one for one in sys.path if one)
    environ |= {"PYTHONPATH": path, "ACRON_HOME": str(tmp_path / "home")}
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, *command], env={**os.environ, **environ}, stderr=log, text=True
    )
    try:
        yield
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, 20) == 0
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()
        log.close()


async def told(platform: Platform, so: Callable[[list[str]], bool]) -> list[str]:
    """All that people saw, as soon as ``so``."""
    async with asyncio.timeout(30):
        while not so(platform.told):
            await asyncio.sleep(0.02)
    return platform.told


async def test_a_discord_bot_reminds_among_many_reminders(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/bot.db"
    async with Acron(store, app="reminders").attached() as app:
        people = Reminders(app, "discord")
        await app.add_many(
            {
                "schedule": f"{n % 60} {n % 24} * * *",
                "action": acron_reminder,
                "kwargs": {"text": f"tea {n}"},
                "deliver": f"discord:{n % 100 + 1000}",
                "tags": (f"user:discord:{n}",),
                "start": "2040-01-01T00:00Z",
            }
            for n in range(MANY)
        )
        assert len(await people.of("41")) == 1
    async with serving() as platform:
        bot = str(EXAMPLES / "discord_reminders" / "bot.py")
        command = ("-c", ELSEWHERE, bot, platform.url)
        async with started(tmp_path, *command, BOT_STORE=store, DISCORD_TOKEN="token"):
            platform.updates.put_nowait(interaction("remind", when="in 1s", text="my cake"))
            platform.updates.put_nowait(interaction("schedules", user=41))
            seen = await told(platform, lambda seen: sum("my cake" in one for one in seen) == 2)
            assert sum("tea 41" in one for one in seen) == 1
    async with (after := Acron(store, app="looker")).attached():
        (run,) = await after.runs(limit=10)
        assert [one.state for one in run.deliveries] == ["delivered"]


async def test_a_telegram_bot_briefs(tmp_path: Path) -> None:
    async with serving() as platform:
        environ = {
            "BOT_STORE": f"sqlite:///{tmp_path}/bot.db",
            "TELEGRAM_TOKEN": "123:abc",
            "TELEGRAM_API": platform.url,
        }
        async with started(tmp_path, str(EXAMPLES / "telegram_briefing" / "bot.py"), **environ):
            platform.updates.put_nowait(update("/briefing whenever"))
            platform.updates.put_nowait(update("/briefing in 1s"))
            seen = await told(platform, lambda seen: len(seen) == 3)
    refused, confirmed, briefing = seen
    assert "whenever" in refused
    assert confirmed.startswith("The next one: ")
    assert "Good morning! You wanted: the weather" in briefing
