from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from acron.stores.sqlite import SqliteStore
from acron.testing.contracts.stores import StoreContract

if TYPE_CHECKING:
    from pathlib import Path

    from acron.abc import Store


class TestSqliteStore(StoreContract):
    async def make_store(self, room: Path) -> Store:
        return SqliteStore(room / "bot.db")


@pytest.fixture(autouse=True)
def _virtual_time(acron_time: object) -> None:
    """Waiting for other stores takes no time."""
