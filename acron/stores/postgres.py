"""Jobs in PostgreSQL, shared by many machines."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec.structs import replace

from acron.abc import Store
from acron.errors import StoreError, StoreUnavailable
from acron.model import Decision, RunState
from acron.stores import postgres_jobs as jobs
from acron.stores import postgres_ledger as ledger
from acron.stores import postgres_node as nodes
from acron.stores import postgres_work as work
from acron.stores.dead import is_of_claim
from acron.stores.lanes import is_news
from acron.stores.news import News
from acron.stores.postgres_link import Doubt, Link, Mark, Target
from acron.stores.postgres_news import Listener, channel
from acron.stores.postgres_rows import number_of, read_job, read_run, read_skip
from acron.stores.postgres_schema import prepare
from acron.stores.postgres_write import Rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
    from datetime import datetime

    from acron.abc import Change, Decide, Settle, Tell
    from acron.model import End, Job, Node, Run, Skip
    from acron.scans import DueRow
    from acron.stores.postgres_link import Connection

T = TypeVar("T")
log = logging.getLogger("acron.stores")

#: How soon to look again for rows that others held, in seconds: at first, and at last.
_SOON, _LATEST = 0.02, 1.0
_STILL_OURS = "SELECT number, token FROM open_runs WHERE number = ANY($1::bigint[])"


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
        for doubts in self._doubts.values():
            doubts.clear()  # they were another node's
        try:
            await self._link.ask(lambda connection: prepare(connection, self._target))
            if node is not None:
                await self._listener.start()
                self._lease = nodes.Lease(self._target, node)
                await self._lease.start()
        except BaseException:
            await self.close()
            raise

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
        async def whole(connection: Connection) -> tuple[Mark | None, T]:
            rows = Rows(connection)
            result = await step(rows)
            for job_id, problem in rows.problems.items():
                self._note(job_id, problem)
            return rows.mark, result

        try:
            return await self._link.transact(whole, doubts)
        except StoreError as error:
            error.address = error.address or self.address
            raise

    def _note(self, job_id: str, problem: str) -> None:
        if self._problems.get(job_id) != problem:
            self._problems[job_id] = problem
            log.error("%s: %s", self.address, problem)

    async def _tell(self, rows: Rows) -> None:
        """Others hear of it with the commit."""
        where = channel(self._target.schema)
        await rows.connection.execute("SELECT pg_notify($1, $2)", where, self._name)

    def _read(self, decode: Callable[[bytes], T], data: bytes) -> T:
        try:
            return decode(data)
        except msgspec.DecodeError as error:
            raise self._target.corrupt(error) from error

    def _fence(self) -> None:
        if self._lease is not None and not self._lease.held:
            raise nodes.lapsed(self.address)

    @property
    def _own(self) -> str | None:
        """The node that we are, if any."""
        return None if self._lease is None else self._lease.node.id

    async def _happened(self, kind: str) -> list[Doubt]:
        """Those of the commits whose answers were lost that did happen. Raises StoreUnavailable
        while that cannot be told."""
        found: list[Doubt] = []
        for doubt in self._doubts[kind]:
            did = await self._link.happened(doubt.mark)
            if did is None:
                message = "an earlier commit is still under way"
                raise StoreUnavailable(message, address=self.address)
            if did:
                found.append(doubt)
        return found

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
        data = await self._link.ask(lambda link: jobs.one(link, job_id))
        return None if data is None else self._read(read_job, data)

    async def named(self, name: str) -> list[Job]:
        rows = await self._link.ask(lambda link: jobs.named(link, name))
        wanted = name.casefold()
        return [job for job in self._readable(rows) if job.name.casefold() == wanted]

    async def page(
        self, after: str = "", limit: int = 1000, *, app: str | None = None, tag: str | None = None
    ) -> list[Job]:
        rows = await self._link.ask(lambda link: jobs.page(link, after, limit, app, tag))
        return self._readable(rows)

    async def remove_tagged(self, tag: str, now: datetime) -> int:
        async def step(rows: Rows) -> int:
            gone = await rows.remove_tagged(tag, now)
            await self._tell(rows)
            return gone

        gone = await self._transact(step)
        self._news.tell()
        return gone

    async def incidents(self, limit: int = 100) -> list[Job]:
        return self._readable(await self._link.ask(lambda link: jobs.incidents(link, limit)))

    async def on_start(self) -> list[Job]:
        return self._readable(await self._link.ask(jobs.on_start))

    def _readable(self, rows: Sequence[tuple[str, bytes]]) -> list[Job]:
        found: list[Job] = []
        for job_id, data in rows:
            try:
                found.append(read_job(data))
            except msgspec.DecodeError as error:
                self._note(job_id, f"job {job_id!r} cannot be read: {error}")
        return found

    async def get_many(self, ids: Collection[str]) -> dict[str, Job]:
        rows = await self._link.ask(lambda one: ledger.jobs(one, ids))
        return {job.id: job for job in self._readable(rows)}

    def upcoming(self, since: datetime | None, until: datetime) -> AsyncIterator[DueRow]:
        return ledger.upcoming(self._link.ask, since, until)

    # firing

    async def next_due(self, after: datetime, can_run: Collection[str]) -> datetime | None:
        return await self._link.ask(lambda link: jobs.next_due(link, after, can_run))

    async def overdue(self, before: datetime, limit: int = 100) -> list[Job]:
        return self._readable(await self._link.ask(lambda link: jobs.overdue(link, before, limit)))

    async def claim(
        self,
        now: datetime,
        limit: int,
        can_run: Collection[str],
        decide: Decide,
        *,
        only: str | None = None,
    ) -> list[Decision]:
        self._link.check()
        self._fence()
        if self._doubts["claim"] and (earlier := await self._claimed_earlier()):
            return earlier
        if limit <= 0:
            return []

        async def step(rows: Rows) -> tuple[list[Decision], int, bool]:
            if only is None:
                decisions, held = await work.claim(rows, now, limit, can_run, decide, self._own)
            else:
                await nodes.hold(rows.connection, self._own)
                decisions, held = await work.claim_job(rows, only, now, can_run, decide), 0
            news = is_news(decisions)
            if news:
                await self._tell(rows)
            if not decisions:
                rows.mark = None
            return decisions, held, news

        decisions, held, news = await self._transact(step, self._doubts["claim"])
        if news:
            self._news.tell()
        self._look_again(held)
        return decisions

    def _look_again(self, held: int) -> None:
        """What others held was left out, and they may let it go: look again soon."""
        if self._look is not None:
            self._look.cancel()
        self._pause = min(2 * self._pause, _LATEST) if held else _SOON
        if held:
            self._look = asyncio.get_running_loop().call_later(self._pause / 2, self._news.tell)

    async def _claimed_earlier(self) -> list[Decision]:
        """Claims that are proven now, with the runs that are still ours to start."""
        happened = await self._happened("claim")
        decisions = [one for doubt in happened for one in doubt.result[0]]
        numbers = [number_of(run.id) for one in decisions for run in one.runs]
        rows = await self._link.ask(lambda one: one.fetch(_STILL_OURS, numbers))
        running = {tuple(row) for row in rows}
        self._doubts["claim"].clear()
        return [
            Decision(
                one.job,
                tuple(run for run in one.runs if (number_of(run.id), run.token) in running),
                one.skips,
                one.dropped,
            )
            for one in decisions
        ]

    async def finish(self, ends: Sequence[End], settle: Settle) -> list[Decision | None]:
        self._link.check()
        for doubt in await self._happened("finish"):
            for end, decision in zip(*doubt.result[:2], strict=True):
                if decision is not None:
                    self._proven[end.run_id, end.token] = decision
        self._doubts["finish"].clear()
        rest = [end for end in ends if (end.run_id, end.token) not in self._proven]
        fresh = iter(await self._finish(rest, settle) if rest else ())
        return [self._proven.pop((end.run_id, end.token), None) or next(fresh) for end in ends]

    async def _finish(self, ends: Sequence[End], settle: Settle) -> list[Decision | None]:
        locked = any(end.outcome.state is not RunState.SUCCEEDED for end in ends)

        async def step(rows: Rows) -> tuple[Sequence[End], list[Decision | None], bool]:
            results, news = await work.finish(rows, ends, settle, locked=locked)
            if news:
                await self._tell(rows)
            return ends, results, news

        try:
            _, results, news = await self._transact(step, self._doubts["finish"])
        except work.NeedsLocks:
            locked = True
            _, results, news = await self._transact(step, self._doubts["finish"])
        if news:
            self._news.tell()
        return results

    async def recover(self, now: datetime, settle: Settle) -> list[Decision]:
        self._fence()
        happened = await self._happened("recover")
        self._doubts["recover"].clear()
        if happened:
            return [one for doubt in happened for one in doubt.result]

        async def step(rows: Rows) -> list[Decision]:
            await nodes.hold(rows.connection, self._own)
            decisions = await work.recover(rows, now, settle, self._own)
            if decisions:
                await self._tell(rows)
            return decisions

        decisions = await self._transact(step, self._doubts["recover"])
        if decisions:
            self._news.tell()
        return decisions

    async def mark(self, run: Run, change: Tell) -> Run | None:
        async def step(rows: Rows) -> Run | None:
            await rows.lock_ended(run.id)
            stored = rows.ended.get(run.id)
            if stored is None or not is_of_claim(stored, run):
                return None
            marked = replace(stored, deliveries=change(stored.deliveries))
            if ledger.begins(stored, marked):
                self._fence()
            if marked != stored:
                await rows.reserve(0)
                await rows.store([run.job_id], [Decision(None, (marked,))])
            return marked

        return await self._transact(step)

    async def request_cancel(self, run_id: str, now: datetime) -> Run | None:
        async def step(rows: Rows) -> Run | None:
            run, changed = await work.request_cancel(rows, run_id, now)
            if changed:
                await self._tell(rows)
            return run

        run = await self._transact(step)
        self._news.tell()
        return run

    # the ledger

    async def run(self, run_id: str) -> Run | None:
        data = await self._link.ask(lambda one: ledger.run(one, run_id))
        return None if data is None else self._read(read_run, data)

    async def runs(
        self,
        job_id: str | None = None,
        *,
        state: RunState | None = None,
        node: str | None = None,
        limit: int = 100,
    ) -> list[Run]:
        rows = await self._link.ask(lambda one: ledger.runs(one, job_id, state, node, limit))
        return [self._read(read_run, data) for (data,) in rows]

    async def skips(self, job_id: str | None = None, *, limit: int = 100) -> list[Skip]:
        rows = await self._link.ask(lambda one: ledger.skips(one, job_id, limit))
        return [self._read(read_skip, data) for (data,) in rows]

    async def deliveries(self, state: str | None = None, limit: int = 100) -> list[Run]:
        rows = await self._link.ask(lambda one: ledger.deliveries(one, state, limit))
        return [self._read(read_run, data) for (data,) in rows]

    async def prune(self, before: datetime, keep: int) -> int:
        async def step(rows: Rows) -> int:
            await rows.reserve(0)
            return await ledger.prune(rows.connection, before, keep)

        return await self._transact(step)

    # nodes and news

    async def beat(self, node: Node) -> None:
        await self._link.ask(lambda one: nodes.beat(one, node))

    def beat_blocked(self, node: Node, *, keep: bool) -> None:
        if self._lease is not None:
            self._lease.tell(node, keep=keep)

    async def nodes(self) -> list[Node]:
        return await self._link.ask(nodes.all_nodes)

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (a bound, not a deadline)
        self._link.check()
        if await self._listener.start():
            self._news.tell()  # what came before anybody listened
        return await self._news.wait(timeout)

    async def problems(self) -> list[str]:
        return sorted(self._problems.values())
