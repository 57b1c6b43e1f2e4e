from __future__ import annotations

from typing import TYPE_CHECKING

from acron.stores.memory import MemoryStore
from acron.testing.contracts._stores_base import NOW, a_job, a_node
from acron.testing.contracts.stores import StoreContract

if TYPE_CHECKING:
    from pathlib import Path

    from acron.abc import Store


class TestMemoryStore(StoreContract):
    shared = False
    durable = False

    async def make_store(self, room: Path) -> Store:
        return MemoryStore()

    async def test_it_can_be_opened_again(self, tmp_path: Path) -> None:
        store = MemoryStore()
        await store.open(NOW, a_node("n1"))
        await self.put(store, a_job("a"))
        await self.start(store)
        await store.close()
        await store.open(NOW, a_node("n2"))
        assert [run.node for run in await store.runs("a")] == ["n1"]
        assert [(node.id, node.alive) for node in await store.nodes()] == [
            ("n1", False),
            ("n2", True),
        ]
