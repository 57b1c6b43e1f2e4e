"""The database that the processes of a simulation share: it leases nodes, and fails before a
transaction or after it, where the script says so."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from acron.errors import StoreUnavailable
from acron.stores.memory import MemoryStore
from acron.stores.news import News
from acron.testing.simulation.ends import judged
from acron.testing.simulation.process import LEASE
from acron.testing.simulation.watch import Kept

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from acron.model import Node
    from acron.stores.book import Book, Changes
    from acron.testing.simulation.process import Process
    from acron.testing.simulation.world import World

#: Seconds between two renewals of a lease.
RENEWAL = 20.0

_FENCED = frozenset({"claim", "finish", "recover", "mark", "beat"})


class Database(MemoryStore):
    """One for all processes, with leases by its own time (``monotonic``), which nobody else has."""

    def __init__(self, world: World, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._world = world
        self.leases: dict[str, float] = {}
        self.connections: list[Connection] = []
        self._monotonic = monotonic

    @property
    def book(self) -> Book:
        return self._book

    def lapsed(self, node: str) -> bool:
        return self.leases.get(node, float("-inf")) <= self._monotonic()

    def _dead(self, node: str) -> bool:
        return self.lapsed(node)

    async def open(self, now: datetime, node: Node | None = None) -> None:
        await super().open(now, node)
        self._news = _Everybody(self.connections)

    async def nodes(self) -> list[Node]:
        known = await super().nodes()
        return [replace(node, alive=not self.lapsed(node.id)) for node in known]

    def _apply(self, changes: Changes | None) -> None:
        if changes is None or changes.prune is None:
            super()._apply(changes)
        else:
            kept = Kept(self.book, *changes.prune)
            super()._apply(changes)
            kept.compare(self._world, self.book)

    def admit(self, node: Node) -> None:
        self._nodes[node.id] = replace(node, alive=True)
        self.leases[node.id] = self._monotonic() + LEASE

    def speaks(self, node: str | None) -> None:
        """Who asks next."""
        self._node = node


class _Everybody(News):
    """Whoever is connected hears the news."""

    def __init__(self, connections: list[Connection]) -> None:
        super().__init__()
        self._connections = connections

    def tell(self) -> None:
        for connection in self._connections:
            connection.news.tell()


class Connection(MemoryStore):
    """A process's way to the database."""

    def __init__(self, database: Database, process: Process) -> None:
        super().__init__()
        self.news = News()
        self._database = database
        self._process = process
        self._renewing: asyncio.Task[None] | None = None
        self.node: str | None = None

    @property
    def address(self) -> str:
        return "simulated://database"

    async def open(self, now: datetime, node: Node | None = None) -> None:
        await self._process.at("open")
        self.news = News()
        self._database.connections.append(self)
        if not self._database._opened:  # noqa: SLF001 (the first who comes)
            await self._database.open(now)
        if node is not None:
            self._database.admit(node)
            self.node = node.id
            renewing = self._renew(node.id)
            self._renewing = asyncio.create_task(renewing, context=Context())

    async def _renew(self, node: str) -> None:
        """The thread that renews the lease, also while the loop is blocked; a lapsed one too,
        whose runs others may have ended."""
        while True:
            await asyncio.sleep(RENEWAL)
            if not self._process.partitioned and not self._process.frozen:
                self._database.leases[node] = self._database._monotonic() + LEASE  # noqa: SLF001

    async def close(self) -> None:
        self.drop()
        if self.node is not None:
            self._database.leases[self.node] = float("-inf")
            self.node = None

    def drop(self) -> None:
        """Its process is gone; the lease runs on."""
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        if self in self._database.connections:
            self._database.connections.remove(self)

    async def call(self, name: str, *args: Any, **options: Any) -> Any:
        """One transaction, with what may go wrong around it."""
        process, database = self._process, self._database
        watch = process.world.watch
        if name == "claim":
            watch.claims(process)
        await process.at(name, database.book)
        if name in _FENCED and self.node is not None and database.lapsed(self.node):
            raise StoreUnavailable("the lease of this node has lapsed", address=self.address)
        if name == "claim":
            args = (*args[:3], watch.decided(args[0], args[3]))
        if name in {"finish", "recover"}:
            args = (args[0], judged(process, args[1]))
        database.speaks(self.node)
        result = await getattr(database, name)(*args, **options)
        if name == "write":
            process.world.eras.look(database.book)
        if name == "claim":
            watch.claimed(process, database.book, result)
        if name == "recover":
            watch.recovered(process, result)
            watch.is_recovered(database.book, database._dead, self.node)  # noqa: SLF001
        if name == "finish":
            watch.ended(process, result)
        await process.after(name, result)
        return result

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (a bound, not a deadline)
        return await self.news.wait(timeout)


def _through(name: str) -> Any:
    async def method(self: Connection, *args: Any, **options: Any) -> Any:
        return await self.call(name, *args, **options)

    return method


def _fill() -> None:
    """Every transaction of the contract, whatever it is called, goes through ``call``."""
    for name, member in vars(MemoryStore).items():
        if asyncio.iscoroutinefunction(member) and name not in vars(Connection):
            setattr(Connection, name, _through(name))


_fill()
