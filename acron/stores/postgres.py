"""Jobs in PostgreSQL, shared by many machines."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec.structs import replace

from acron.abc import Store
from acron.errors import StoreUnavailable
from acron.model import Decision, RunState
from acron.stores import postgres_node as nodes
from acron.stores import postgres_work as work
from acron.stores.news import News
from acron.stores.postgres_link import Doubt, Link, Target
from acron.stores.postgres_news import Listener, channel
from acron.stores.postgres_rows import Rows, name_key, read_job, read_run, read_skip
from acron.stores.postgres_schema import prepare

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from datetime import datetime

    from acron.abc import Change, Decide, Settle
    from acron.model import End, Job, Node, Run, Skip
    from acron.stores.postgres_link import Connection

T = TypeVar("T")

#: How soon to look again for rows that others held, in seconds: at first, and at last.
_SOON, _LATEST = 0.02, 1.0
#: Bound for forgetting old runs, in seconds.
_PRUNE_TIMEOUT = 600.0

_NEXT_DUE = """
SELECT least(
    (SELECT due_at FROM jobs WHERE due_at > $1 AND needs = ANY($2::text[])
        ORDER BY due_at, id LIMIT 1),
    (SELECT r.due_at FROM runs r JOIN jobs j ON j.id = r.job_id
        WHERE r.state = 'pending' AND r.due_at > $1 AND j.needs = ANY($2::text[])
        ORDER BY r.due_at, r.job_id, r.id LIMIT 1))
"""
_PRUNE_RUNS = """
DELETE FROM runs USING (
    SELECT id, row_number() OVER (PARTITION BY job_id ORDER BY token DESC, id DESC) AS place
    FROM runs WHERE state NOT IN ('pending', 'running')
) AS ended
WHERE runs.id = ended.id AND (ended.place > $2 OR runs.finished_at < $1)
"""
_PRUNE_SKIPS = """
DELETE FROM skips USING (
    SELECT number, row_number() OVER (PARTITION BY job_id ORDER BY number DESC) AS place FROM skips
) AS ranked
WHERE skips.number = ranked.number AND (ranked.place > $2 OR skips.at < $1)
"""


class PostgresStore(Store):
    """``postgresql://user@host/database``, with its tables in a schema of their own.

    ``schema`` sets stores in one database apart. A node lives by a ``lease`` of so many seconds
    on the database's clock. Both may stand in the URL: ``?schema=bot&lease=30``. Raises
    ConfigError.
    """

    def __init__(self, url: str, *, schema: str | None = None, lease: float | None = None) -> None:
        self._target = Target(url, schema, lease)
        self._link = Link(self._target)
        self._lease: nodes.Lease | None = None
        self._name = secrets.token_hex(8)  # who we are in notifications
        self._news = News()
        self._listener = Listener(self._target, self._name, self._news.tell)
        self._look: asyncio.TimerHandle | None = None
        self._pause = _SOON
        self._problems: dict[str, str] = {}
        self._doubts: dict[str, list[Doubt]] = {"claim": [], "finish": [], "recover": []}
        self._proven: dict[tuple[str, int], Decision] = {}  # ends that did happen, by their fence

    @property
    def address(self) -> str:
        return self._target.address

    # open and close

    async def open(self, now: datetime, node: Node | None = None) -> None:  # noqa: ARG002
        self._news = News()
        self._listener = Listener(self._target, self._name, self._news.tell)
        self._link.open()
        await self._link.ask(lambda connection: prepare(connection, self._target))
        if node is not None:
            await self._listener.start()
            self._lease = nodes.Lease(self._target, node)
            await self._lease.start()

    async def close(self) -> None:
        lease, self._lease = self._lease, None
        if self._look is not None:
            self._look.cancel()
        await self._listener.close()
        if lease is not None:
            await lease.stop()
        await self._link.close()

    # the ways in

    async def _transact(
        self,
        step: Callable[[Rows], Awaitable[T]],
        doubts: list[Doubt] | None = None,
    ) -> T:
        async def whole(connection: Connection) -> tuple[str | None, T]:
            rows = Rows(connection)
            result = await step(rows)
            self._problems |= rows.problems
            return rows.xid, result

        return await self._link.transact(whole, doubts)

    async def _tell(self, rows: Rows) -> None:
        """Others hear of it with the commit."""
        where = channel(self._target.schema)
        await rows.connection.execute("SELECT pg_notify($1, $2)", where, self._name)

    def _fence(self) -> None:
        if self._lease is not None and not self._lease.held:
            raise self._lapsed()

    def _lapsed(self) -> StoreUnavailable:
        message = "the lease of this node has run out: it starts and delivers nothing"
        return StoreUnavailable(message, address=self.address)

    async def _settle_doubts(self, kind: str) -> list[Doubt]:
        """What did happen of the commits whose answers were lost. Raises StoreUnavailable while
        that cannot be told."""
        happened: list[Doubt] = []
        doubts = self._doubts[kind]
        for doubt in list(doubts):
            did = await self._link.happened(doubt.xid)
            if did is None:
                message = "an earlier commit is still under way"
                raise StoreUnavailable(message, address=self.address)
            if did:
                happened.append(doubt)
        doubts.clear()
        return happened

    # definitions

    async def write(self, ids: Sequence[str], change: Change, now: datetime) -> list[Decision]:  # noqa: ARG002
        async def step(rows: Rows) -> list[Decision]:
            decisions = await work.write(rows, ids, change)
            await self._tell(rows)
            return decisions

        decisions = await self._transact(step)
        self._news.tell()
        return decisions

    async def get(self, job_id: str) -> Job | None:
        sql = "SELECT data FROM jobs WHERE id = $1"
        data = await self._link.ask(lambda one: one.fetchval(sql, _plain(job_id)))
        return None if data is None else read_job(data)

    async def named(self, name: str) -> list[Job]:
        sql = "SELECT id, data FROM jobs WHERE name = $1 ORDER BY id"
        rows = await self._link.ask(lambda one: one.fetch(sql, name_key(name)))
        wanted = name.casefold()
        return [job for job in self._readable(rows) if job.name.casefold() == wanted]

    async def page(self, after: str = "", limit: int = 1000) -> list[Job]:
        sql = "SELECT id, data FROM jobs WHERE id > $1 ORDER BY id LIMIT $2"
        rows = await self._link.ask(lambda one: one.fetch(sql, _plain(after), max(limit, 0)))
        return self._readable(rows)
