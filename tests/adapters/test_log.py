from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from acron.adapters.log import LIMIT, LogAdapter
from acron.model import RunState
from acron.testing.contracts.adapters import AdapterContract, message_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from acron.abc import Adapter


class TestLogAdapter(AdapterContract):
    evidence = False
    whole = False

    @pytest.fixture
    def adapter(self) -> Adapter:
        return LogAdapter()

    @pytest.fixture
    def told(self, adapter: Adapter, caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
        caplog.set_level(logging.INFO, logger="acron.deliver")
        return lambda: [record.getMessage() for record in caplog.records]


async def test_is_one_line_with_the_job_the_run_and_its_state(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="acron.deliver")
    await LogAdapter().send(message_of("one\ntwo\n", name="Tea"))
    (record,) = caplog.records
    assert record.getMessage() == r"Tea, run r7 succeeded: one\ntwo"
    assert record.name == "acron.deliver"
    assert record.levelno == logging.INFO
    assert (vars(record)["job_id"], vars(record)["run_id"]) == ("job", "r7")


async def test_a_failure_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    await LogAdapter().send(message_of("boom", state=RunState.TIMED_OUT))
    assert caplog.records[0].levelno == logging.WARNING
    assert caplog.records[0].getMessage() == "job, run r7 timed_out: boom"


async def test_a_long_text_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    await LogAdapter().send(message_of("x" * 100_000, state=RunState.FAILED))
    message = caplog.records[0].getMessage()
    assert message.endswith("x…")
    assert len(message) == len("job, run r7 failed: ") + LIMIT
