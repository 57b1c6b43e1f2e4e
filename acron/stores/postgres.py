"""Jobs in PostgreSQL, shared by many machines."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from acron.abc import Store
from acron.errors import StoreUnavailable
from acron.model import Decision, Due, End, Outcome, RunState
from acron.stores import postgres_node as nodes
from acron.stores.news import News
from acron.stores.postgres_link import Doubt, Link, Target
from acron.stores.postgres_news import Listener, channel
from acron.stores.postgres_rows import EPOCH, OutOfTokens, Rows, name_key, read_job, read_run, read_skip
from acron.stores.postgres_schema import prepare

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from datetime import datetime

    from acron.abc import Change, Decide, Settle
    from acron.model import Job, Node, Run, Skip
    from acron.stores.postgres_link import Connection
    from acron.stores.postgres_rows import Cursor

T = TypeVar("T")
log = logging.getLogger("acron.stores")

DIED = Outcome(state=RunState.UNKNOWN, error="the process died")
#: How soon to look again for rows that others held, in seconds.
LOOK_AGAIN = 0.02
#: Tokens reserved beforehand for jobs that are written: most need none.
_WRITE_TOKENS = 1000
_LEAST_PAGE = 32

_NEXT_DUE = """
SELECT least(
    (SELECT due_at FROM jobs WHERE due_at > $1 AND needs = ANY($2::text[])
        ORDER BY due_at, id LIMIT 1),
    (SELECT r.due_at FROM runs r JOIN jobs j ON j.id = r.job_id
        WHERE r.state = 'pending' AND r.due_at > $1 AND j.needs = ANY($2::text[])
        ORDER BY r.due_at, r.job_id, r.id LIMIT 1))
"""
_LOST = """
SELECT id, job_id FROM runs
WHERE state = 'running' AND node IS NOT NULL
    AND (node = ANY($1::text[]) OR node NOT IN (SELECT id FROM nodes)) ORDER BY token
"""
_UNSENT = """
SELECT id, job_id FROM runs WHERE unsent AND node IS NOT NULL AND node <> $2
    AND (node = ANY($1::text[]) OR node NOT IN (SELECT id FROM nodes)) ORDER BY token
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
_PRUNE_TIMEOUT = 600.0


class PostgresStore(Store):
    """``postgresql://user@host/database``: tables in a schema of their own.

    A node lives by a lease of ``lease`` seconds on the database's clock. ``schema`` sets stores
    in one database apart. Both may also be given in the URL: ``?schema=bot&lease=30``.
    """

    def __init__(self, url: str, *, schema: str | None = None, lease: float | None = None) -> None:
        self._target = Target(url, schema, lease)
        self._link: Link | None = None
        self._lease: nodes.Lease | None = None
        self._own = secrets.token_hex(8)
        self._news = News()
        self._listener: Listener | None = None
        self._again: asyncio.TimerHandle | None = None
        self._problems: dict[str, str] = {}
        self._doubts: dict[str, list[Doubt]] = {}  # by what was being done

    @property
    def address(self) -> str:
        return self._target.address
