"""Look at the disk and at some pages every five minutes, and speak only if something is wrong.

What the check prints is delivered; when it prints nothing, nobody hears anything.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import urllib.request

from acron import Acron, Command

EVERY = os.environ.get("WATCH_EVERY", "every 5m")
TELL = os.environ.get("WATCH_TELL", "log")  # or telegram:42, with ACRON_TELEGRAM_TOKEN


def check(full: float, pages: list[str]) -> None:
    disk = shutil.disk_usage("/")
    if disk.used / disk.total > full:
        print(f"the disk is {disk.used / disk.total:.0%} full")
    for page in pages:
        try:
            urllib.request.urlopen(page, timeout=10).close()
        except OSError as error:
            print(f"{page}: {error}")


async def watch(full: str, pages: list[str]) -> None:
    app = Acron(os.environ.get("WATCH_STORE", "watchdog.json"), app="watchdog")
    command = Command((sys.executable, __file__, "--check", full, *pages))
    async with app.attached():
        await app.add(EVERY, command, id="watch", deliver=TELL, timeout="1m", on_conflict="replace")
    await app.run()


if __name__ == "__main__":
    if sys.argv[1] == "--check":
        check(float(sys.argv[2]), sys.argv[3:])
    else:
        asyncio.run(watch(sys.argv[1], sys.argv[2:]))
