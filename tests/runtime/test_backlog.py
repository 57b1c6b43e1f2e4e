"""A crowd of one-shots that an outage left, on real time and in memory.

In the suite it is a fifth of what the page on performance speaks of; ``ACRON_BACKLOG=100000``
runs all of it, and prints the lag of the loop.
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from acron import Acron, Context
from acron.model import RunState, Settings
from acron.stores.memory import MemoryStore
from acron.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acron.model import Node

COUNT = int(os.environ.get("ACRON_BACKLOG", "20000"))
ROOM = 50


class Watched(MemoryStore):
    """Notes how many runs had ended at each beat of the node."""

    def __init__(self) -> None:
        super().__init__()
        self.beats: list[int] = []
        self.ended = 0

    async def beat(self, node: Node) -> None:
        self.beats.append(self.ended)
        await super().beat(node)
