"""What every chat's adapter owes, besides the contract: to tell its client's errors apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from acron.errors import DeliveryError
from acron.messages import compose
from acron.testing.contracts.adapters import ODD_IDS, RAW, AdapterContract, message_of, send

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from acron.abc import Adapter
    from tests.adapters.platforms import Platforms


class PlatformContract(AdapterContract):
    """The contract of an adapter whose platform is played by our server."""

    @pytest.fixture
    def told(self, adapter: Adapter, platforms: Platforms) -> Callable[[], Sequence[str]]:
        return lambda: platforms.told

    async def test_takes_whatever_an_id_may_be(  # type: ignore[override]
        self, adapter: Adapter, platforms: Platforms
    ) -> None:
        """All in one go: to set a client up takes longer than to send."""
        for job_id in ODD_IDS:
            receipt = await send(adapter, message_of(f"odd {job_id}", job_id=job_id, to=self.to))
            assert (receipt.id is not None) is self.evidence
            assert not RAW.search(platforms.told[-1])


class ChatDuties(PlatformContract):
    """The contract, with the client's faults. ``adapter`` and ``point`` are to be given."""

    #: Seconds that the adapter hands on from a 429; None where the client waits by itself.
    waits: float | None = 7
    #: Whether the client tries a 5xx again by itself.
    persistent = False
    #: Whether a 403 is one.
    takes_files = True

    async def failing(self, adapter: Adapter) -> DeliveryError:
        with pytest.raises(DeliveryError) as caught:
            await send(adapter, message_of("tea", to=self.to))
        return caught.value

    async def test_when_to_come_again(self, adapter: Adapter, platforms: Platforms) -> None:
        platforms.faults = ["429"]
        if self.waits is None:
            platforms.wait = 0.01
            assert (await send(adapter, message_of("tea", to=self.to))).id
            assert platforms.told == ["tea"]
            return
        error = await self.failing(adapter)
        assert (error.retry_after, error.permanent, error.unknown) == (self.waits, False, False)
        assert platforms.told == []

    async def test_a_server_at_fault_is_worth_another_try(
        self, adapter: Adapter, platforms: Platforms
    ) -> None:
        platforms.faults = ["500"]
        if self.persistent:
            assert (await send(adapter, message_of("tea", to=self.to))).id
            assert platforms.told == ["tea"]
            return
        error = await self.failing(adapter)
        assert (error.retry_after, error.permanent, error.unknown) == (None, False, False)
        assert platforms.told == []
        assert (await send(adapter, message_of("tea", to=self.to))).id

    async def test_a_refusal_is_final(self, adapter: Adapter, platforms: Platforms) -> None:
        platforms.faults = ["403"]
        error = await self.failing(adapter)
        assert (error.permanent, error.unknown) == (True, False)

    @pytest.mark.parametrize("fault", ["hang", "drop", "garbage"])
    async def test_nobody_knows_what_became_of_it(
        self, adapter: Adapter, platforms: Platforms, fault: str
    ) -> None:
        """No second request: what may have been taken is not sent again."""
        platforms.faults = [fault]  # type: ignore[list-item]
        before = len(platforms.requests)
        error = await self.failing(adapter)
        assert (error.permanent, error.unknown) == (False, True)
        assert len(platforms.requests) == before + 1
        assert platforms.told == (["tea"] if fault == "drop" else [])

    async def test_a_server_that_is_not_there(
        self, adapter: Adapter, platforms: Platforms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        platforms.url = "http://127.0.0.1:9"
        self.point(adapter, platforms, monkeypatch)
        error = await self.failing(adapter)
        assert (error.permanent, error.unknown) == (False, False)

    def point(
        self, adapter: Adapter, platforms: Platforms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Point the client to ``platforms.url``."""
        raise NotImplementedError

    async def test_the_longest_part_is_taken(self, adapter: Adapter, platforms: Platforms) -> None:
        message = message_of("🐞é" * 20_000, to=self.to)
        parts = compose(adapter, message.job, message.run, wrap=False)
        assert adapter.limit is not None
        await send(adapter, message_of(parts[0], to=self.to))
        assert len(platforms.told[0].encode("utf-16-le")) // 2 > adapter.limit - 10

    async def test_what_the_platform_says_is_too_long_is_final(
        self, adapter: Adapter, platforms: Platforms
    ) -> None:
        message = message_of("x", to=self.to)
        long = type(message)(self.to, "x" * 70_000, message.job, message.run)
        with pytest.raises(DeliveryError) as caught:
            await adapter.send(long)  # type: ignore[misc]
        assert (caught.value.permanent, platforms.told) == (True, [])

    async def test_no_chat_is_final(self, adapter: Adapter) -> None:
        with pytest.raises(DeliveryError) as caught:
            await send(adapter, message_of("tea"))
        assert caught.value.permanent

    async def test_files(self, adapter: Adapter, platforms: Platforms, tmp_path: Path) -> None:
        message = message_of("see", to=self.to)
        paths = (tmp_path / "chart.png", tmp_path / "data.csv")
        for path in paths:
            path.write_bytes(path.name.encode())
        receipt = await adapter.send(  # type: ignore[misc]
            type(message)(self.to, "see", message.job, message.run, files=paths)
        )
        assert receipt.id
        assert platforms.told[0] == "see"
        assert [data for _, data in platforms.files] == [b"chart.png", b"data.csv"]
