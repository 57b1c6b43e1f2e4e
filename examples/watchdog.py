"""Look at disks and pages every five minutes, and say something only when something is wrong.

What a check prints is delivered; no output is silence, and no delivery.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import urllib.error
import urllib.request

from acron import Acron, Command

FULL = float(os.environ.get("WATCH_FULL", "0.9"))
PAGES = os.environ.get("WATCH_PAGES", "").split()


def check() -> None:
    disk = shutil.disk_usage("/")
    if disk.used / disk.total > FULL:
        print(f"the disk is {disk.used / disk.total:.0%} full")
    for page in PAGES:
        try:
            urllib.request.urlopen(page, timeout=10).close()
        except OSError as error:
            print(f"{page}: {error}")


async def watch() -> None:
    app = Acron(os.environ.get("WATCH_STORE", "watchdog.json"), app="watchdog")
    command = Command((sys.executable, os.path.abspath(__file__), "check"))
    every, to = os.environ.get("WATCH_EVERY", "every 5m"), os.environ.get("WATCH_TELL", "log")
    async with app.attached():
        policy = {"timeout": "1m", "deliver": to, "on_conflict": "replace"}
        await app.add(every, command, id="watch", **policy)
    await app.run()


if __name__ == "__main__":
    check() if sys.argv[1:] == ["check"] else asyncio.run(watch())
