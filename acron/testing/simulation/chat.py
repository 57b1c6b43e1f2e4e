"""A chat platform in a simulation: it fails in each of the ways that platforms do."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

from acron.abc import Adapter, Message, Receipt
from acron.errors import DeliveryError
from acron.testing.simulation.people import CONTROL, SECRET

if TYPE_CHECKING:
    from datetime import datetime

    from acron.testing.simulation.process import Process
    from acron.testing.simulation.world import World

#: Seconds that a busy chat asks to be left alone: longer than acron waits first by itself.
BUSY = 30.0


class Chat:
    """A chat platform that all processes talk to. ``accepted`` is what it has shown, by run and
    room; ``next`` how it treats the messages to come."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.accepted: Counter[tuple[str, str]] = Counter()
        self.confirmed: dict[tuple[str, str], str] = {}
        self.texts: list[str] = []
        self.next: list[str] = []
        self._refused: set[tuple[str, str]] = set()
        # On the clock of the world, and on that of the machine that was told so.
        self._busy_until: dict[tuple[str, str], tuple[float, datetime]] = {}

    def has_not_refused(self, run_id: str, room: str) -> bool:
        """Whether it would have taken what it was told of that run, there, or would have yet."""
        key = (run_id, room)
        return key not in self._refused and key in self._busy_until.keys() | self.accepted.keys()

    def is_asked(self, message: Message, by: Process) -> None:
        """I13: what was refused for good is not sent again, and what is to wait waits; until then
        by the clock of who sends, that is: it may have been put forward, as after a sleep."""
        key = (message.run.id, message.to)
        if key in self._refused:
            self.world.broke("I13", f"{message.to} is told of {message.run.id}, and refused it")
        if key in self._busy_until:
            until, then = self._busy_until[key]
            early = until - self.world.loop.time()
            if early > 0 and by.clock.now() < then:
                why = f"is busy for {early:g} s"
                self.world.broke("I13", f"{message.to} is told of {message.run.id}, and {why}")

    def is_busy(self, message: Message, by: Process) -> DeliveryError:
        key = (message.run.id, message.to)
        until = by.clock.now() + timedelta(seconds=BUSY)
        self._busy_until[key] = self.world.loop.time() + BUSY, until
        return DeliveryError(f"https://u:{SECRET}@chat/ is busy{CONTROL}", retry_after=BUSY)

    def refuses(self, message: Message) -> DeliveryError:
        self._refused.add((message.run.id, message.to))
        return DeliveryError(f"no such room\r\nsecret={SECRET}", permanent=True)

    def adapter(self, process: Process) -> Adapter:
        return _ChatAdapter(self, process)


class _ChatAdapter(Adapter):
    def __init__(self, chat: Chat, process: Process) -> None:
        self._chat = chat
        self._process = process

    @property
    def name(self) -> str:
        return "chat"

    async def send(self, message: Message) -> Receipt:
        chat = self._chat
        how = chat.next.pop(0) if chat.next else "takes it"
        chat.world.seen[f"chat {how}"] += 1
        await asyncio.sleep(0.1)
        room = f"{self._process.name} tells {message.to} of {message.run.id}"
        chat.world.happened(f"{room}: the chat {how}")
        chat.is_asked(message, self._process)
        if how == "fails":
            raise chat.is_busy(message, self._process)
        if how == "refuses":
            raise chat.refuses(message)
        await self._is_noted(message)
        key = (message.run.id, message.to)
        chat.accepted[key] += 1
        if chat.accepted[key] > 1:
            chat.world.broke("I13", f"{message.to} is told once more of {message.run.id}")
        chat.texts.append(message.text)
        if how == "dies":  # in the middle: nobody will know whether it was shown
            await self._process.die()
        if how == "hangs":
            await asyncio.sleep(3600.0)
        if how == "says nothing":  # as some platforms do: no evidence
            return Receipt()
        if how == "dies after":  # what it has been told is not marked any more
            asyncio.get_running_loop().call_later(0.0, self._process.kill)
        chat.confirmed[key] = receipt = f"m{sum(chat.accepted.values())}"
        return Receipt(receipt)

    async def _is_noted(self, message: Message) -> None:
        """I4, I13: that it may be out is durable, and so is the end that it tells of."""
        world, run = self._chat.world, message.run
        stored = await (await world.probe()).run(run.id)
        if stored is None:
            return  # retention has taken it
        states = {one.state for one in stored.deliveries if one.target == f"chat:{message.to}"}
        # Who stood still in the middle of it was thought dead: then nobody knows, and says so.
        mid_way = "unknown" if stored.node != self._process.node else "sending"
        if not stored.state.ended or states.isdisjoint({"sending", mid_way}):
            world.broke(
                "I13", f"{message.to} is told of {run.id}, which is {stored.state}: {states}"
            )
