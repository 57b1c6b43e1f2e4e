"""The suites that acron's own parts pass, each in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from acron_third_party import BoardAdapter, CountingStore, Decades, WaitAction

from acron import Custom
from acron.testing.contracts.actions import ActionContract
from acron.testing.contracts.adapters import AdapterContract
from acron.testing.contracts.schedules import ScheduleContract
from acron.testing.contracts.stores import StoreContract

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from acron import Schedule, Store


class TestCountingStore(StoreContract):
    shared = False  # two of them do not see each other's jobs
    durable = False  # and nothing is left when it is gone

    async def make_store(self, room: Path) -> Store:  # noqa: ARG002 (it keeps no files)
        return CountingStore()


class TestBoardAdapter(AdapterContract):
    evidence = True

    @pytest.fixture
    def adapter(self) -> BoardAdapter:
        return BoardAdapter()

    @pytest.fixture
    def told(self, adapter: BoardAdapter) -> Callable[[], list[str]]:
        return lambda: adapter.notes


class TestWaitAction(ActionContract):
    @pytest.fixture
    def action(self) -> WaitAction:
        return WaitAction()

    @pytest.fixture
    def good(self) -> tuple[Custom, str]:
        return Custom("wait", {"seconds": 0}), "waited 0 s"

    @pytest.fixture
    def bad(self) -> Custom:
        return Custom("wait", {"seconds": -1})

    @pytest.fixture
    def endless(self) -> Custom:
        return Custom("wait", {"seconds": 1e6})

    @pytest.fixture
    def begun(self, action: WaitAction) -> Callable[[], bool]:
        return lambda: action.waiting > 0

    @pytest.fixture
    def talkative(self) -> None:
        return None

    @pytest.fixture
    def senseless(self) -> list[tuple[Any, str]]:
        return [(Custom("wait", {"seconds": "soon"}), "$.data.seconds")]


class TestDecades(ScheduleContract):
    def make(self) -> list[Schedule]:
        return [Decades(1), Decades(36)]

    def reparse(self, text: str) -> Schedule:  # acron.parse does not know the kind
        return Decades(int(text.removeprefix("decades ")))
