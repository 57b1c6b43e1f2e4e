"""Whether this node may go on claiming, in view of the others and of what was asked of it."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING

from acron.errors import NodeNotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from acron.abc import Action, Store
    from acron.model import Node
    from acron.runtime import Runtime

log = logging.getLogger("acron.runtime")

#: Seconds between two looks, whatever the rate of news.
LOOK_INTERVAL = 1.0
#: Looks at a node that was asked to drain, in 10 s; each fifth time it is asked anew.
_ASKED = 50


class Standing:
    """A request to drain, seen; and newer code of the same app, to which this node leaves what
    the app declares (``declared``, in the words of ``ActionSpec.needs``) while it lives.

    ``offered`` is what the actions offered when they were last asked, but for that; ``offers`` has
    the same in order.
    """

    def __init__(
        self, rt: Runtime, actions: Mapping[str, Action], declared: frozenset[str]
    ) -> None:
        self.drain_requested = False
        self.why = ""
        self.offers: tuple[str, ...] = ()
        self.offered: set[str] = set()
        self._rt = rt
        self._actions = actions
        self._declared = declared
        self._looked_at = float("-inf")

    def ask(self) -> Collection[str]:
        """What this node can run: what the actions offer now, but for what is left to others."""
        offered: set[str] = set()
        for name, action in self._actions.items():
            try:
                offered.update(action.offers())
            except BaseException as error:  # noqa: BLE001 (a stranger's action stops no sibling)
                self._rt.pulse.trouble(f"action {name} cannot say what it offers", error)
        if self.why:
            offered -= self._declared
        if offered != self.offered:
            self.offered = offered
            self.offers = tuple(sorted(offered))
        return self.offered

    async def look_soon(self) -> None:
        """``look``, if the last one is some time ago."""
        if self._rt.clock.monotonic() - self._looked_at >= LOOK_INTERVAL:
            await self.look()

    async def look(self) -> None:
        """Read what the store says of the nodes, and stand accordingly."""
        rt = self._rt
        self._looked_at = rt.clock.monotonic()
        self.ask()
        nodes = await rt.store.nodes()
        own = next((one for one in nodes if one.id == rt.node_id), None)
        asked = own is not None and own.drain_requested and not self.drain_requested
        if asked:
            log.warning("asked to drain: this node takes no more runs, and waits to be stopped")
            self.drain_requested = True
            rt.take_no_more()
        me = rt.pulse.sent
        newer = newer_code(me, nodes)
        why = ""
        if newer is not None:
            code = f"app {me.app!r} {me.version}"
            why = f"{code} leaves its declared jobs to {newer.version}, on {newer.id}"
        if why != self.why:
            log.warning("%s", why or f"no newer code of app {me.app!r} lives any more")
            self.why = why
            rt.wake()
            asked = True
        if asked:
            await rt.pulse.beat(force=True)


async def drain_node(store: Store, node_id: str) -> None:
    """Ask a node to take no more, and wait until it says that it drains, for 10 s at most.
    Raises NodeNotFound for one that does not live."""
    for asked in range(_ASKED):
        found = next((one for one in await store.nodes() if one.id == node_id), None)
        if found is None or not found.alive:
            raise NodeNotFound(node_id)
        if found.draining:
            return
        if asked % 5 == 0:
            await store.request_drain(found)
        await asyncio.sleep(10.0 / _ASKED)


def newer_code(me: Node, nodes: list[Node]) -> Node | None:
    """The live node with the newest code of this node's app, if that is newer than its own.
    Who tells no version takes no part."""
    others = [one for one in nodes if one.alive and one.app == me.app and one.id != me.id]
    mine = _numbers(me.version) if others else ()
    if not mine:
        return None
    newest = max(others, key=lambda one: _numbers(one.version))
    return newest if _numbers(newest.version) > mine else None


def _numbers(version: str) -> tuple[int, ...]:
    """``v1.4.0rc2+g12ab`` as (1, 4): what is compared. Trials of a release count as it, so that it
    does not stand down for them; what follows it is in no order."""
    found = re.match(r"\D*(\d+(?:\.\d+)*)", version)
    numbers = [int(part) for part in found[1].split(".")] if found else []
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
