from __future__ import annotations

import asyncio
import gc
import os
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acron.adapters.local import LocalAdapter, path_of
from acron.errors import DeliveryError
from acron.testing.contracts.adapters import ODD_IDS, AdapterContract, message_of, send
from acron.text import LONGEST, safe_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from acron.abc import Adapter


def read(path: Path) -> str:
    return path.read_bytes().decode()


def files(root: Path) -> list[Path]:
    return [one for one in root.rglob("*") if one.is_file()]


class TestLocalAdapter(AdapterContract):
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Adapter:
        return LocalAdapter(tmp_path / "home")

    @pytest.fixture
    def told(self, adapter: Adapter, tmp_path: Path) -> Callable[[], list[str]]:
        return lambda: [read(one) for one in (tmp_path / "home").glob("output/*/*")]


async def test_writes_who_spoke_when_and_what(tmp_path: Path) -> None:
    receipt = await LocalAdapter(tmp_path).send(message_of("one\r\ntwo\n", name="Tea time"))
    assert receipt.id == "output/job/20260101T090000Z-r7.md"
    assert read(tmp_path / receipt.id) == (
        "# Tea time\n"
        "\n"
        "- job: job\n"
        "- run: r7, attempt 1\n"
        "- scheduled: 2026-01-01 09:00:00 UTC\n"
        "- started: 2026-01-01 09:00:00 UTC\n"
        "- finished: 2026-01-01 09:00:00 UTC\n"
        "- state: succeeded\n"
        "\n"
        "one\n"
        "two\n"
    )


@pytest.mark.parametrize("text", ["", " ", "\n"])
async def test_a_text_may_be_empty(tmp_path: Path, text: str) -> None:
    receipt = await LocalAdapter(tmp_path).send(message_of(text))
    assert receipt.id is not None
    assert read(tmp_path / receipt.id).endswith("- state: succeeded\n\n\n")


async def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        receipt = await LocalAdapter(tmp_path / "home").send(message_of("hello"))
    finally:
        os.umask(before)
    path = tmp_path / "home" / str(receipt.id)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for directory in (path.parent, path.parent.parent, tmp_path / "home"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("job_id", ODD_IDS, ids=lambda one: ascii(one)[:20])
async def test_never_leaves_its_root(tmp_path: Path, job_id: str) -> None:
    await LocalAdapter(tmp_path / "home").send(message_of("odd", job_id=job_id, run_id=job_id))
    (written,) = files(tmp_path)
    parts = written.relative_to(tmp_path / "home").parts
    assert parts[0] == "output"
    assert len(parts) == 3


@given(st.text(st.characters(exclude_categories=())), st.text(st.characters()))
def test_every_id_has_a_safe_name_of_its_own(one: str, other: str) -> None:
    name = safe_name(one)
    assert name.isascii()
    assert name.isprintable()
    assert 0 < len(name) <= LONGEST
    assert not name.startswith(".")
    assert not set(name) & set('/\\:*?"<>| ')
    assert (safe_name(other) == name) is (other == one)


def test_long_ids_that_begin_alike_are_told_apart() -> None:
    assert safe_name("x" * 10_240) != safe_name("x" * 10_241)
    assert safe_name("daily-report.v2_x") == "daily-report.v2_x"


async def test_runs_that_start_together_have_files_of_their_own() -> None:
    paths = {path_of(message_of("", run_id=f"r{n}").run) for n in range(3)}
    assert len(paths) == 3


async def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """A reader never sees a part of it, also while it is written again and again."""
    adapter = LocalAdapter(tmp_path)
    message = message_of("x" * 1_000_000)
    path = tmp_path / path_of(message.run)
    await adapter.send(message)
    whole = path.stat().st_size
    sends = [asyncio.create_task(send(adapter, message)) for _ in range(5)]
    sizes = set()
    while not all(one.done() for one in sends):
        sizes.add(path.stat().st_size)
        await asyncio.sleep(0)
    assert sizes == {whole}
    assert [one.name for one in path.parent.iterdir()] == [path.name]


async def test_what_cannot_be_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    message = message_of("hello")
    path = tmp_path / path_of(message.run)
    path.mkdir(parents=True)  # a directory stands where the file should be
    with pytest.raises(DeliveryError, match=r"cannot write .*: Is a directory"):
        await LocalAdapter(tmp_path).send(message)
    assert list(path.parent.iterdir()) == [path]
    assert list(path.iterdir()) == []


async def test_a_root_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeliveryError, match=r"cannot write .*file/output/job/.*: File exists"):
        await LocalAdapter(tmp_path / "file").send(message_of("hello"))


async def test_cancelled_half_way_it_leaves_neither_drafts_nor_descriptors(tmp_path: Path) -> None:
    """An open file that nobody closes is a ResourceWarning, and so a failure."""
    adapter, message = LocalAdapter(tmp_path), message_of("x" * 100_000)
    await adapter.send(message)
    directory = (tmp_path / path_of(message.run)).parent
    for _ in range(50):
        sending = asyncio.create_task(send(adapter, message))
        while not sending.done() and not list(directory.glob("*.tmp")):  # noqa: ASYNC110
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait({sending})
        assert [one.name for one in directory.iterdir()] == [path_of(message.run).name]
    gc.collect()
