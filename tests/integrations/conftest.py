from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from acron import Acron
from acron.testing import RecordingAdapter
from tests.integrations.chats import Platform, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    async with serving() as made:
        yield made


@pytest.fixture
def chat() -> RecordingAdapter:
    """Where reminders arrive."""
    return RecordingAdapter()


@pytest.fixture
def app(chat: RecordingAdapter) -> Acron:
    names = ("telegram", "discord", "slack")
    return Acron("memory://", adapters=dict.fromkeys(names, chat), tz="Europe/Paris")
