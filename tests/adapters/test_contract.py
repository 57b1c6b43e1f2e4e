"""The contract of adapters finds the faults that it is there for."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest

from acron import Adapter, Receipt
from acron.testing.contracts.adapters import AdapterContract

if TYPE_CHECKING:
    from acron import Message


class Board(Adapter):
    """Pins notes to a board, as it should."""

    name = "board"

    def __init__(self) -> None:
        self.notes: list[str] = []

    async def send(self, message: Message) -> Receipt:
        await asyncio.sleep(0)
        self.notes.append(message.text)
        return Receipt(id=str(len(self.notes)))


class Cutting(Board):
    async def send(self, message: Message) -> Receipt:
        receipt = await super().send(message)
        self.notes[-1] = self.notes[-1][:4096]
        return receipt


class Stubborn(Board):
    async def send(self, message: Message) -> Receipt:
        try:
            return await super().send(message)
        except asyncio.CancelledError:
            return Receipt(id="perhaps")


class Mixing(Board):
    """Has what was not sent go out with the next message."""

    waiting = ""

    async def send(self, message: Message) -> Receipt:
        self.waiting += message.text
        await asyncio.sleep(0)
        self.notes.append(self.waiting)
        self.waiting = ""
        return Receipt(id=str(len(self.notes)))


class Fragile(Board):
    closed = False

    async def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True


@pytest.mark.parametrize(
    "kind, test",
    [
        (Cutting, "test_takes_a_text_of_any_length"),
        (Stubborn, "test_a_cancelled_send_leaves_it_fit_for_the_next"),
        (Mixing, "test_a_cancelled_send_leaves_it_fit_for_the_next"),
        (Fragile, "test_may_be_closed_at_any_time_and_twice"),
    ],
)
async def test_the_contract_finds_a_fault(kind: type[Board], test: str) -> None:
    async def run(adapter: Board) -> None:
        method = getattr(AdapterContract(), test)
        given: dict[str, Any] = {
            "adapter": adapter,
            "told": lambda: adapter.notes,
            "text": "x" * 200_000,
        }
        await method(**{name: given[name] for name in inspect.signature(method).parameters})

    await run(Board())
    with pytest.raises(AssertionError):
        await run(kind())
