from __future__ import annotations

import pytest

from acron.abc import Message
from acron.errors import DeliveryError
from acron.testing import RecordingAdapter


def message(text: str) -> Message:
    return Message(to="1", text=text, job=None, run=None)  # type: ignore[arg-type]


async def test_it_keeps_what_it_is_given() -> None:
    adapter = RecordingAdapter("telegram")
    receipts = [await adapter.send(message(text)) for text in ("one", "two")]
    assert adapter.name == "telegram"
    assert adapter.texts == ["one", "two"]
    assert [receipt.id for receipt in receipts] == ["1", "2"]


async def test_it_fails_as_told_and_then_works() -> None:
    adapter = RecordingAdapter()
    adapter.fail(times=2)
    adapter.fail(OSError("down"))
    for error in (DeliveryError, DeliveryError, OSError):
        with pytest.raises(error):
            await adapter.send(message("no"))
    await adapter.send(message("yes"))
    assert adapter.texts == ["yes"]
    assert [refused.text for refused in adapter.refused] == ["no"] * 3
