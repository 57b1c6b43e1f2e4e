"""Apprise, with its own JSON service. It blocks, so it runs in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apprise
import pytest

from acron.adapters import adapt, load_adapters
from acron.errors import DeliveryError
from acron.testing.contracts.adapters import message_of, send
from tests.adapters.duties import PlatformContract

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from acron.abc import Adapter
    from tests.adapters.platforms import Platforms


class TestApprise(PlatformContract):
    evidence = False

    @pytest.fixture(autouse=True)
    def _to(self, platforms: Platforms) -> None:
        self.to = f"{platforms.url.replace('http', 'json')}/hook"

    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Adapter:
        return load_adapters(tmp_path, environ={})["apprise"]

    async def test_a_cancelled_send_leaves_it_fit_for_the_next(
        self, adapter: Adapter, told: Callable[[], Sequence[str]]
    ) -> None:
        """A thread cannot be cancelled: the first may well go out."""
        await send(adapter, message_of("second", to=self.to))
        assert sum("second" in text for text in told()) == 1

    @pytest.mark.parametrize("fault", ["500", "403", "429", "drop"])
    async def test_what_is_not_taken_is_tried_again(
        self, adapter: Adapter, platforms: Platforms, fault: str
    ) -> None:
        platforms.faults = [fault] * 3  # type: ignore[list-item]
        with pytest.raises(DeliveryError) as caught:
            await send(adapter, message_of("tea", to=self.to))
        assert not caught.value.permanent

    @pytest.mark.parametrize("url", ["nosuch://x", ""])
    async def test_a_url_that_is_none_is_final(self, adapter: Adapter, url: str) -> None:
        with pytest.raises(DeliveryError) as caught:
            await send(adapter, message_of("tea", to=url))
        assert caught.value.permanent


async def test_an_object_of_apprise_s_own(platforms: Platforms) -> None:
    client = apprise.Apprise()
    client.add(f"{platforms.url.replace('http', 'json')}/hook")
    await send(adapt("phone", client), message_of("tea"))
    assert platforms.told == ["tea"]
