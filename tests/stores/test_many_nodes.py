"""What many nodes ask of a store: what comes up, many jobs at once, and whether tables are ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from acron.errors import StoreError
from acron.stores import open_store, postgres_ledger
from acron.stores.postgres import PostgresStore
from acron.testing.contracts._stores_base import CAN, NOW, a_job, a_node, at, keeps, starts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from acron.abc import Store
    from tests.pg import Server


@pytest.fixture(params=["memory", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        made = open_store("memory://", tmp_path)
    else:
        made = PostgresStore(request.getfixturevalue("pg").url, schema="many")
    await made.open(NOW, a_node("n1"))
    yield made
    await made.close()
    if request.param == "postgresql":
        await request.getfixturevalue("pg").drop("many")


async def test_what_comes_up_in_order_a_page_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_ledger, "_PAGE", 3)
    jobs = [a_job(f"j{n}", n % 4 * 60.0) for n in range(12)] + [a_job("never", None)]
    await store.write([job.id for job in jobs], keeps(*jobs), NOW)
    rows = [row async for row in store.upcoming(NOW, at(120))]
    assert rows == [(at(60), "j1"), (at(60), "j5"), (at(60), "j9")] + [
        (at(120), job_id) for job_id in ("j10", "j2", "j6")
    ]
    everything = [row async for row in store.upcoming(None, at(10_000))]
    assert len(everything) == 12
    assert everything == sorted(everything)


async def test_many_jobs_at_once(store: Store) -> None:
    jobs = [a_job(f"j{n}") for n in range(3)]
    await store.write([job.id for job in jobs], keeps(*jobs), NOW)
    assert await store.get_many({"j0", "j2", "gone", "\0"}) == {"j0": jobs[0], "j2": jobs[2]}


async def test_a_request_to_drain_is_seen_and_is_news(store: Store) -> None:
    await store.write(["a"], keeps(a_job("a")), NOW)
    node = replace(a_node("n1"), provider="nats")
    await store.beat(node)
    while await store.changed(0.05):
        pass
    await store.request_drain(node)
    assert await store.changed(2)
    (seen,) = [one for one in await store.nodes() if one.id == "n1"]
    assert seen.drain_requested
    assert seen.provider == "nats"
    assert await store.get("a") == a_job("a")


async def test_a_node_whose_tables_were_changed_under_it_claims_nothing(pg: Server) -> None:
    store = PostgresStore(pg.url, schema="newer")
    await store.open(NOW, a_node("n1"))
    try:
        await store.write(["a"], keeps(a_job("a")), NOW)
        await pg.fetch('UPDATE "newer".meta SET version = 99')
        with pytest.raises(StoreError, match="tables are those of a newer acron"):
            await store.claim(NOW, 10, CAN, starts("n1"))
        await pg.fetch('UPDATE "newer".meta SET version = 1')
        assert len(await store.claim(NOW, 10, CAN, starts("n1"))) == 1
    finally:
        await store.close()
        await pg.drop("newer")
