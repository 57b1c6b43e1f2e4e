"""PostgresStore on a real PostgreSQL: the contract, and what only a server can do to it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
import time
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

import asyncpg
import pytest
from msgspec.structs import replace

from acron.errors import ConfigError, StoreCorrupt, StoreError, StoreUnavailable
from acron.model import Decision, Delivery, RunState
from acron.stores import open_store, postgres_link
from acron.stores.postgres import PostgresStore
from acron.testing.contracts._stores_base import (
    CAN,
    NOW,
    Refused,
    a_job,
    a_node,
    at,
    delivering,
    end_of,
    ended,
    keeps,
    starts,
)
from acron.testing.contracts.stores import StoreContract
from tests.pg import Network, Server, server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from acron.abc import Store
    from acron.model import Due, End, Job, Run
    from acron.testing.contracts._stores_base import Mint


@pytest.fixture(scope="module")
def pg() -> Iterator[Server]:
    with server() as made:
        yield made


@pytest.fixture
async def schema(pg: Server, tmp_path: Path) -> AsyncIterator[str]:
    name = "t_" + blake2b(str(tmp_path).encode(), digest_size=8).hexdigest()
    yield name
    await pg.drop(name)


@asynccontextmanager
async def opened(
    url: str, schema: str, node: str | None = "n1", lease: float | None = None
) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url, schema=schema, lease=lease)
    await store.open(NOW, None if node is None else a_node(node))
    try:
        yield store
    finally:
        await store.close()


async def put(store: Store, *jobs: Job) -> None:
    await store.write([job.id for job in jobs], keeps(*jobs), NOW)


async def start(store: Store, node: str = "n1", then: float | None = None) -> list[Run]:
    decisions = await store.claim(NOW, 1000, CAN, starts(node, then))
    return [run for decision in decisions for run in decision.runs]


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 (in another process)
            await asyncio.sleep(0.02)


class TestPostgresStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _schema(self, pg: Server, schema: str) -> None:
        self.url, self.schema = pg.url, schema

    async def make_store(self, room: Path) -> Store:
        return PostgresStore(self.url, schema=self.schema)


# addresses and tables


def test_its_address_keeps_the_password() -> None:
    for url in (
        "postgres://me:s3cr3t%21@db.example:5433/jobs?sslmode=require",
        "postgresql://me@db.example:5433/jobs?password=s3cr3t%21&lease=9",
    ):
        assert PostgresStore(url).address == "postgresql://me@db.example:5433/jobs"
    assert PostgresStore("postgresql:///jobs?schema=bot").address.endswith("/jobs?schema=bot")


async def test_no_error_and_no_log_tells_the_password(
    pg: Server, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Network(pg) as network:
        async with opened(network.url, schema, lease=0.4) as store:
            network.down = True
            network.cut()
            with pytest.raises(StoreUnavailable) as refused:
                await store.get("a")
            await asyncio.sleep(0.3)
        assert "renew" in caplog.text
        assert "hunter2" in network.url
        assert "hunter2" not in caplog.text + str(refused.value) + store.address


@pytest.mark.parametrize(
    "query",
    ["schema=Upper", "schema=a-b", "schema=" + "x" * 60, "lease=0", "lease=soon", "lease=nan"],
)
def test_what_no_store_can_be(query: str) -> None:
    with pytest.raises(ConfigError) as refused:
        PostgresStore(f"postgresql://me:s3cr3t@db/jobs?{query}")
    assert "s3cr3t" not in str(refused.value)


async def test_it_is_opened_by_its_url(pg: Server, schema: str, tmp_path: Path) -> None:
    for scheme in ("postgresql", "postgres"):
        url = f"{scheme}{pg.url.removeprefix('postgresql')}&schema={schema}"
        store = open_store(url, tmp_path)
        await store.open(NOW)
        assert await store.page() == []
        await store.close()


def test_without_asyncpg_it_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [one for one in sys.modules if one.startswith("acron.stores.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigError, match=r"acron-runtime\[postgres\]"):
        open_store("postgresql://db/jobs", tmp_path)


async def test_many_may_make_the_tables_at_once(pg: Server, schema: str) -> None:
    stores = [PostgresStore(pg.url, schema=schema) for _ in range(6)]
    await asyncio.gather(*(store.open(NOW) for store in stores))
    await put(stores[0], a_job("a"))
    assert [job.id for job in await stores[5].page()] == ["a"]
    await asyncio.gather(*(store.close() for store in stores))


async def test_tables_of_a_newer_acron_are_refused(pg: Server, schema: str) -> None:
    async with opened(pg.url, schema, None) as store:
        await put(store, a_job("a"))
    await pg.fetch(f'UPDATE "{schema}".meta SET version = 99')
    with pytest.raises(StoreError, match="newer acron"):
        await PostgresStore(pg.url, schema=schema).open(NOW, a_node("n1"))
    await pg.fetch(f'UPDATE "{schema}".meta SET version = 1')
    async with opened(pg.url, schema, None) as store:
        assert [job.id for job in await store.page()] == ["a"]


async def test_looking_is_cheap(pg: Server, schema: str) -> None:
    async with opened(pg.url, schema, None) as store:
        assert await store.page() == []
        sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'acron'"
        assert (await pg.fetch(sql))[0][0] == 1
        assert await store.nodes() == []


async def test_nothing_is_left_open(pg: Server, schema: str) -> None:
    async with opened(pg.url, schema) as store:
        await asyncio.gather(*(store.get("a") for _ in range(20)))
    sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'acron'"

    async def gone() -> bool:
        return not await pg.fetch(sql)

    await until(gone)


async def test_more_jobs_than_a_statement_holds(pg: Server, schema: str) -> None:
    async with opened(pg.url, schema) as store:
        await put(store, *(a_job(f"j{n:05}") for n in range(11_000)))
        await put(store, *(a_job(f"j{n:05}", 60) for n in range(11_000)))
        assert await store.next_due(at(-1), CAN) == at(60)
        assert [job.id for job in await store.page("j10998")] == ["j10999"]


async def test_a_record_that_cannot_be_read_stops_nobody(pg: Server, schema: str) -> None:
    async with opened(pg.url, schema) as store:
        await put(store, a_job("a", -2), a_job("bad", -1), a_job("c"))
        await pg.fetch(f"""UPDATE "{schema}".jobs SET data = '\\xff00' WHERE id = 'bad'""")
        assert [run.job_id for run in await start(store)] == ["a", "c"]
        assert [job.id for job in await store.page()] == ["a", "c"]
        (problem,) = await store.problems()
        assert "'bad'" in problem
        with pytest.raises(StoreCorrupt):
            await store.get("bad")
        await put(store, a_job("bad"))
        assert [run.job_id for run in await start(store)] == ["bad"]


async def test_a_record_that_cannot_be_read_does_not_end_a_page(pg: Server, schema: str) -> None:
    async with opened(pg.url, schema) as store:
        await put(store, *(a_job(f"j{n}", n - 10) for n in range(10)))
        await pg.fetch(f"""UPDATE "{schema}".jobs SET data = '\\xff' WHERE id < 'j3'""")
        decisions = await store.claim(NOW, 3, CAN, starts())
        assert [one.runs[0].job_id for one in decisions] == ["j3", "j4", "j5"]


@pytest.mark.parametrize("error", [OSError("disk"), TimeoutError(), LookupError("x")])
async def test_what_a_function_raises_is_raised(pg: Server, schema: str, error: Exception) -> None:
    asked: list[str] = []

    def decide(due: Due, mint: Mint) -> Decision:
        asked.append(due.job.id)
        raise error

    async with opened(pg.url, schema) as store:
        await put(store, a_job("a"))
        with pytest.raises(type(error)) as raised:
            await store.claim(NOW, 9, CAN, decide)
        assert raised.value is error
        assert asked == ["a"]


# claims among many


async def test_tokens_of_a_job_grow_across_nodes(pg: Server, schema: str) -> None:
    async with opened(pg.url, schema) as one, opened(pg.url, schema, "n2") as two:
        await put(one, *(a_job(f"j{n}") for n in range(40)))

        async def claims(store: Store, node: str) -> list[Decision]:
            found: list[Decision] = []
            for _ in range(15):
                found += await store.claim(NOW, 10, CAN, starts(node, then=0.0))
            return found

        found = await asyncio.gather(claims(one, "n1"), claims(two, "n2"), claims(one, "n1"))
        order: dict[str, list[tuple[int, int]]] = {}
        for decision in itertools.chain(*found):
            assert decision.job is not None
            order.setdefault(decision.job.id, []).append(
                (decision.job.fired, decision.runs[0].token)
            )
        assert sum(map(len, order.values())) > 300
        for claimed in order.values():
            tokens = [token for _, token in sorted(claimed)]
            assert all(before < after for before, after in itertools.pairwise(tokens))


async def test_what_others_held_is_looked_at_again(pg: Server, schema: str) -> None:
    async with opened(pg.url, schema) as store:
        await put(store, a_job("a"), a_job("b"))
        assert await store.changed(5)
        other = await asyncpg.connect(pg.url)
        async with other.transaction():
            await other.execute(f"""SELECT FROM "{schema}".jobs WHERE id = 'a' FOR UPDATE""")
            assert [run.job_id for run in await start(store)] == ["b"]
        await other.close()
        assert await store.changed(5)
        assert [run.job_id for run in await start(store)] == ["a"]
        assert not await store.changed(0)


async def test_a_claim_of_one_job_waits_for_who_holds_it(pg: Server, schema: str) -> None:
    async with opened(pg.url, schema) as store:
        await put(store, a_job("a"))
        other = await asyncpg.connect(pg.url)
        async with other.transaction():
            await other.execute(f"""SELECT FROM "{schema}".jobs WHERE id = 'a' FOR UPDATE""")
            waiting = asyncio.create_task(store.claim(NOW, 1, CAN, starts(), only="a"))
            await asyncio.wait({waiting}, timeout=0.1)
            assert not waiting.done()
        await other.close()
        assert len(await waiting) == 1


async def test_an_end_that_changes_its_job_meets_an_edit(pg: Server, schema: str) -> None:
    def counted(job: Job | None, run: Run, end: End, mint: Mint) -> Decision:
        assert job is not None
        return Decision(replace(job, failures=job.failures + 1), ended(job, run, end, mint).runs)

    async with opened(pg.url, schema) as one, opened(pg.url, schema, "n2") as two:
        await put(one, a_job("a"))
        runs = [(await start(one, then=0.0))[0] for _ in range(20)]
        await asyncio.gather(
            *(
                store.finish([end_of(run)], counted)
                for store, run in zip([one, two] * 10, runs, strict=True)
            )
        )
        job = await one.get("a")
        assert job is not None
        assert job.failures == 20


# connections and commits that are lost


async def test_a_lost_connection_in_the_middle_of_a_claim(pg: Server, schema: str) -> None:
    broken: list[bool] = []

    def decide(due: Due, mint: Mint) -> Decision | None:
        if not broken:
            broken.append(True)
            pg.terminate_transactions()
        return starts()(due, mint)

    async with opened(pg.url, schema) as store:
        await put(store, a_job("a"))
        (decision,) = await store.claim(NOW, 9, CAN, decide)
        assert broken
        assert await store.runs() == list(decision.runs)


@pytest.mark.parametrize("lost", ["answer", "request"])
async def test_a_claim_whose_commit_was_lost(pg: Server, schema: str, lost: str) -> None:
    async with Network(pg) as network, opened(network.url, schema) as store:
        await put(store, a_job("a"))
        network.lose = lost
        if lost == "answer":
            (run,) = await start(store)
            assert await store.runs() == [run]
        else:
            with pytest.raises(StoreUnavailable):
                await start(store)
            assert await store.runs() == []
            assert len(await start(store)) == 1
        assert await start(store) == []


@pytest.mark.parametrize("lost", ["answer", "request"])
async def test_no_run_before_proof(
    pg: Server, schema: str, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_link, "PROOF_WAIT", 0.1)
    async with Network(pg) as network, opened(network.url, schema) as store:
        await put(store, a_job("a"), a_job("b"))
        network.lose, network.then_down = lost, True
        with pytest.raises(StoreUnavailable):
            await start(store)
        with pytest.raises(StoreUnavailable):
            await start(store)
        network.down = False
        runs = await start(store)
        assert sorted(run.job_id for run in runs) == ["a", "b"]
        assert {run.id for run in await store.runs()} == {run.id for run in runs}
        assert await start(store) == []


async def test_a_claim_proven_too_late_is_not_started(
    pg: Server, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_link, "PROOF_WAIT", 0.1)
    async with (
        Network(pg) as network,
        opened(network.url, schema, lease=0.5) as store,
        opened(pg.url, schema, "n2") as other,
    ):
        await put(other, a_job("a"))
        network.lose, network.then_down = "answer", True
        with pytest.raises(StoreUnavailable):
            await start(store)

        async def recovered() -> bool:
            return bool(await other.recover(at(60), ended))

        await until(recovered)
        network.down = False

        async def lives() -> bool:
            return all(node.alive for node in await other.nodes())

        async def starts_nothing() -> bool:
            try:
                assert await start(store) == []
            except StoreUnavailable:  # on a busy machine the lease runs out once more
                return False
            return True

        await until(lives)
        await until(starts_nothing)
        assert [run.state for run in await other.runs()] == [RunState.UNKNOWN]


@pytest.mark.parametrize("lost", ["answer", "request"])
async def test_an_end_whose_commit_was_lost(
    pg: Server, schema: str, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_link, "PROOF_WAIT", 0.1)
    async with Network(pg) as network, opened(network.url, schema) as store:
        await put(store, a_job("a"), a_job("b"))
        one, two = await start(store)
        network.lose, network.then_down = lost, True
        with pytest.raises(StoreUnavailable):
            await store.finish([end_of(one)], ended)
        network.down = False
        results = await store.finish([end_of(two), end_of(one)], ended)
        assert [result and result.runs[0].id for result in results] == [two.id, one.id]
        assert await store.finish([end_of(one)], ended) == [None]
        assert {run.state for run in await store.runs()} == {RunState.SUCCEEDED}


async def test_a_claim_that_is_cancelled_at_its_commit(pg: Server, schema: str) -> None:
    async with Network(pg) as network, opened(network.url, schema) as store:
        await put(store, a_job("a"))
        network.lose = "answer"
        claiming = asyncio.create_task(start(store))
        while network.lose:  # noqa: ASYNC110 (the network's own doing)
            await asyncio.sleep(0)
        claiming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claiming
        (run,) = await start(store)
        assert await store.runs() == [run]
        assert await start(store) == []


async def test_an_error_of_a_function_costs_no_connection(pg: Server, schema: str) -> None:
    def refuse(_id: str, _job: Job | None, _runs: Sequence[Run], _mint: Mint) -> Decision:
        raise Refused

    async with opened(pg.url, schema, None) as store:
        before = await pg.fetch("SELECT pid FROM pg_stat_activity WHERE application_name = 'acron'")
        for _ in range(5):
            with pytest.raises(Refused):
                await store.write(["a"], refuse, NOW)
        after = await pg.fetch("SELECT pid FROM pg_stat_activity WHERE application_name = 'acron'")
        assert before == after


# nodes


async def test_a_blocked_loop_keeps_its_lease(pg: Server, schema: str) -> None:
    async with opened(pg.url, schema, lease=0.6) as store, opened(pg.url, schema, "n2") as other:
        await put(store, a_job("a"))
        await start(store)
        time.sleep(1.5)  # noqa: ASYNC251 (what is tested)
        assert await other.recover(at(60), ended) == []
        assert [node.alive for node in await other.nodes()] == [True, True]


async def test_a_loop_blocked_for_too_long_lets_its_lease_lapse(pg: Server, schema: str) -> None:
    async with opened(pg.url, schema, lease=0.6) as store, opened(pg.url, schema, "n2") as other:
        await put(store, a_job("a"))
        await start(store)
        (own,) = [node for node in await other.nodes() if node.id != "n2"]
        blocked = replace(own, blocked="job a at a.py:1")

        async def seen(*, alive: bool, word: str | None) -> bool:
            nodes = {node.id: node for node in await other.nodes()}
            return (nodes[own.id].alive, nodes[own.id].blocked) == (alive, word)

        store.beat_blocked(blocked, keep=True)
        await until(lambda: seen(alive=True, word="job a at a.py:1"))
        store.beat_blocked(blocked, keep=False)
        await until(lambda: seen(alive=False, word="job a at a.py:1"))
        (lost,) = await other.recover(at(60), ended)
        assert [run.state for run in lost.runs] == [RunState.UNKNOWN]
        store.beat_blocked(own, keep=True)  # the loop goes on
        await until(lambda: seen(alive=True, word=None))


async def test_a_stale_node_writes_nothing(pg: Server, schema: str) -> None:
    sending = Delivery("telegram:1", "sending")

    async with (
        Network(pg) as network,
        opened(network.url, schema, lease=0.5) as stale,
        opened(pg.url, schema, "n2") as other,
    ):
        await put(stale, a_job("a", -1), a_job("b"), a_job("later", 60))
        running, done = await start(stale)
        await stale.finish([end_of(done)], delivering(Delivery("telegram:1")))
        told = await stale.run(done.id)
        assert told is not None
        network.down = True

        async def recovered() -> bool:
            return len(await other.recover(at(60), ended)) == 2

        await until(recovered)
        with pytest.raises(StoreUnavailable, match="lease"):
            await stale.claim(at(60), 9, CAN, starts())
        network.down = False
        before = await other.runs()
        assert await stale.finish([end_of(running)], ended) == [None]
        with suppress(StoreUnavailable):  # before it has heard that its lease is over
            assert await stale.mark(told, lambda _: (sending,)) is None
        assert await other.runs() == before
        assert {run.state for run in before} == {RunState.UNKNOWN, RunState.SUCCEEDED}

        async def claims_again() -> bool:
            try:
                return bool(await stale.claim(at(60), 9, CAN, starts()))
            except StoreUnavailable:
                return False

        await until(claims_again)


async def test_the_database_has_the_last_word_on_a_lease(pg: Server, schema: str) -> None:
    async with opened(pg.url, schema) as store:
        await put(store, a_job("a"))
        await pg.fetch(f"""UPDATE "{schema}".nodes SET expires = '-infinity'""")
        with pytest.raises(StoreUnavailable, match="lease"):
            await start(store)
        assert await store.runs() == []


# news


async def test_listening_outlives_its_connection(pg: Server, schema: str) -> None:
    async with opened(pg.url, schema) as one, opened(pg.url, schema, "n2") as two:
        await pg.cut_off(kind="LISTEN%")
        assert await one.changed(5)  # who knows what came meanwhile
        await put(two, a_job("a"))
        assert await one.changed(5)


async def test_who_only_looks_hears_too(pg: Server, schema: str) -> None:
    async with opened(pg.url, schema) as one, opened(pg.url, schema, None) as two:
        await two.changed(0)
        waiting = asyncio.create_task(two.changed(10))
        await asyncio.sleep(0)
        await put(one, a_job("a"))
        assert await waiting


# the server goes away


@pytest.mark.parametrize("way", ["stop", "crash"])
async def test_a_restart_under_load(schema: str, pg: Server, way: str) -> None:
    claimed: list[str] = []
    failures = 0

    async def work(store: Store, node: str) -> None:
        nonlocal failures
        while len(claimed) < 3000:
            try:
                decisions = await store.claim(NOW, 5, CAN, starts(node, then=0.0))
                claimed.extend(decision.runs[0].id for decision in decisions)
                ends = [end_of(decision.runs[0]) for decision in decisions]
                while True:
                    try:
                        assert None not in await store.finish(ends, ended)
                        break
                    except StoreUnavailable:
                        failures += 1
                        await asyncio.sleep(0.02)
            except StoreUnavailable:
                failures += 1
                await asyncio.sleep(0.02)

    loop = asyncio.get_running_loop()
    async with opened(pg.url, schema) as one, opened(pg.url, schema, "n2") as two:
        await put(one, *(a_job(f"j{n}") for n in range(50)))
        tasks = [asyncio.create_task(work(one, "n1")), asyncio.create_task(work(two, "n2"))]
        for _ in range(2):
            await asyncio.sleep(0.3)
            await loop.run_in_executor(None, getattr(pg, way))
            await asyncio.sleep(0.3)
            await loop.run_in_executor(None, pg.start)
        await asyncio.gather(*tasks)
        assert failures
        assert len(set(claimed)) == len(claimed)
        runs = await one.runs(limit=100_000)
        assert {run.state for run in runs} == {RunState.SUCCEEDED}
        assert {run.id for run in runs} == set(claimed)
