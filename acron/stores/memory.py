"""Jobs in this process only: for tests, and for programs that declare all they need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.abc import Store
from acron.errors import StoreUnavailable
from acron.stores.book import Book
from acron.stores.news import News

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from acron.abc import Change, Decide, Settle, Tell
    from acron.model import Decision, End, Job, Node, Run, RunState, Skip
    from acron.stores.book import Changes


class MemoryStore(Store):
    """Keeps everything in memory; ``close`` keeps it too, so that it can be opened again."""

    batch = 200  # no commit to share: what is just decided is still in the processor's cache

    def __init__(self) -> None:
        self._book = Book()
        self._news = News()
        self._nodes: dict[str, Node] = {}
        self._node: str | None = None
        self._opened = False
        self.at_once = type(self) is MemoryStore  # what is made of it may wait

    @property
    def address(self) -> str:
        return "memory://"

    async def open(self, now: datetime, node: Node | None = None) -> None:  # noqa: ARG002
        self._news = News()
        self._opened = True
        if node is not None:
            self._node = node.id
            self._nodes[node.id] = replace(node, alive=True)

    async def close(self) -> None:
        self.drop()

    def drop(self) -> None:
        """The process that had it open is gone."""
        self._opened = False
        if self._node is not None:
            self._nodes[self._node] = replace(self._nodes[self._node], alive=False)
            self._node = None

    def _ready(self) -> Book:
        if not self._opened:
            message = "the store is not open"
            raise StoreUnavailable(message, address=self.address)
        return self._book

    def _apply(self, changes: Changes | None) -> None:
        if changes is None or not (changes.ids or changes.prune):
            return
        if self._book.apply(changes):
            self._news.tell()

    async def write(self, ids: Sequence[str], change: Change, now: datetime) -> list[Decision]:  # noqa: ARG002
        changes = self._ready().write(ids, change)
        self._apply(changes)
        return changes.decisions

    async def get(self, job_id: str) -> Job | None:
        return self._ready().jobs.get(job_id)

    async def named(self, name: str) -> list[Job]:
        return self._ready().index.named(name)

    async def page(
        self, after: str = "", limit: int = 1000, *, app: str | None = None, tag: str | None = None
    ) -> list[Job]:
        return self._ready().index.page(after, limit, app, tag)

    async def remove_tagged(self, tag: str, now: datetime) -> int:
        changes, count = self._ready().remove_tagged(tag, now)
        self._apply(changes)
        return count

    async def incidents(self, limit: int = 100) -> list[Job]:
        return self._ready().index.incidents(limit)

    async def next_due(self, after: datetime, can_run: Collection[str]) -> datetime | None:
        return self._ready().next_due(after, can_run)

    async def overdue(self, before: datetime, limit: int = 100) -> list[Job]:
        return self._ready().overdue(before, limit)

    async def claim(
        self,
        now: datetime,
        limit: int,
        can_run: Collection[str],
        decide: Decide,
        *,
        only: str | None = None,
    ) -> list[Decision]:
        changes = self._ready().claim(now, limit, can_run, decide, only)
        self._apply(changes)
        return changes.decisions

    async def finish(self, ends: Sequence[End], settle: Settle) -> list[Decision | None]:
        changes, results = self._ready().finish(ends, settle)
        self._apply(changes)
        return results

    async def recover(self, now: datetime, settle: Settle) -> list[Decision]:
        book = self._ready()
        changes = book.recover(now, settle, self._dead, self._node)
        self._apply(changes)
        dead = [node for node in self._nodes.values() if not node.alive]
        if len(dead) > 1:
            dead.sort(key=lambda node: node.heartbeat_at or node.started_at)
            busy = book.nodes_at_work()
            for node in dead[:-1]:
                if node.id not in busy:
                    del self._nodes[node.id]
        return changes.decisions

    def _dead(self, node: str) -> bool:
        known = self._nodes.get(node)
        return known is None or not known.alive

    async def mark(self, run: Run, change: Tell) -> Run | None:
        changes, marked = self._ready().mark(run, change)
        self._apply(changes)
        return marked

    async def request_cancel(self, run_id: str, now: datetime) -> Run | None:
        changes, run = self._ready().request_cancel(run_id, now)
        self._apply(changes)
        return run

    async def run(self, run_id: str) -> Run | None:
        return self._ready().run(run_id)

    async def runs(
        self,
        job_id: str | None = None,
        *,
        state: RunState | None = None,
        node: str | None = None,
        limit: int = 100,
    ) -> list[Run]:
        return self._ready().list_runs(job_id, state, node, limit)

    async def skips(self, job_id: str | None = None, *, limit: int = 100) -> list[Skip]:
        return self._ready().list_skips(job_id, limit)

    async def deliveries(self, state: str | None = None, limit: int = 100) -> list[Run]:
        return self._ready().deliveries(state, limit)

    async def prune(self, before: datetime, keep: int) -> int:
        changes, count = self._ready().prune(before, keep)
        self._apply(changes)
        return count

    async def beat(self, node: Node) -> None:
        self._ready()
        self._keep(node)

    def beat_blocked(self, node: Node, *, keep: bool) -> None:  # noqa: ARG002 (it dies with us)
        self._keep(node)

    def _keep(self, node: Node) -> None:
        alive = node.id == self._node
        self._nodes[node.id] = node if node.alive is alive else replace(node, alive=alive)

    async def nodes(self) -> list[Node]:
        self._ready()
        return list(self._nodes.values())

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (a bound, not a deadline)
        self._ready()
        return await self._news.wait(timeout)
