from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from acron.stores.json_file import JsonFileStore
from acron.testing.contracts.stores import StoreContract

if TYPE_CHECKING:
    from pathlib import Path

    from acron.abc import Store


class TestJsonFileStore(StoreContract):
    async def make_store(self, room: Path) -> Store:
        return JsonFileStore(room / "bot.json")


class TestJsonFileStoreThatCompactsAllTheTime(StoreContract):
    async def make_store(self, room: Path) -> Store:
        return JsonFileStore(room / "bot.json", compact_beyond=100)


@pytest.fixture(autouse=True)
def _virtual_time(acron_time: object) -> None:
    """Waiting for other stores takes no time."""
