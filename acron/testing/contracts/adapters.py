"""The duties of an ``Adapter``, as tests. Subclass ``AdapterContract`` and give its fixtures.

class TestMine(AdapterContract):
    evidence = True

    @pytest.fixture
    def adapter(self): return MyAdapter(...)
    @pytest.fixture
    def told(self, adapter): return lambda: [...]  # all that people can see by now
"""

from __future__ import annotations

import asyncio
import inspect
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from acron.abc import Adapter, Message, Receipt
from acron.messages import fit
from acron.model import Job, Run, RunState
from acron.specs import Command
from acron.text import many_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

START = datetime(2026, 1, 1, 9, tzinfo=UTC)

ODD_IDS = (
    "../x",
    "..",
    ".",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:\\x",
    "nul\0byte",
    "line\nbreak\r",
    "\x1b[31mred\x1b[0m",
    "\u202eright to left",
    "жук 🐞",
    "\ud800",
    "%2E%2E",
    "~",
    " ",
    "-rf",
    "x" * 10_240,
    "🐞" * 2_560,
)
CANARY = "hunter2-canary"  # must be seen in no sink
HOSTILE = (
    "forged\r\n2026-01-01 INFO all is well\n"
    "\x1b]0;title\x07 \x1b[2J \x00 \x7f \x85 \x9b31m \u202etxt.exe\u202c "
    "\u2066x\u2069 \u2028 \ud800\n"
    f"postgresql://bot:{CANARY}@db/x?password={CANARY}\nAuthorization: Bearer {CANARY}\n"
)
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def message_of(
    text: str,
    *,
    to: str = "",
    job_id: str = "job",
    name: str = "",
    run_id: str = "r7",
    state: RunState = RunState.SUCCEEDED,
) -> Message:
    """A message as the runtime hands it to ``send``: of a run that has ended."""
    job = Job(id=job_id, name=name, schedule="every 1h", action=Command("true"))
    run = Run(
        id=run_id,
        job_id=job_id,
        due_at=START,
        scheduled_at=START,
        started_at=START,
        finished_at=START,
        state=state,
        output=text,
    )
    return Message(to, text, job, run)


async def send(adapter: Adapter, message: Message) -> Receipt:
    """Send as the runtime does: in parts that it takes, in a thread when ``blocking``."""
    parts = fit(adapter, message.text, f"acron output {message.run.id}")
    receipts = [
        await _send(adapter, replace(message, text=text, part=part))
        for part, text in enumerate(parts)
    ]
    ids = [one.id for one in receipts if one.id is not None]
    return Receipt(", ".join(ids) if len(ids) == len(receipts) else None)


async def _send(adapter: Adapter, message: Message) -> Receipt:
    if adapter.blocking:
        sent = await asyncio.to_thread(adapter.send, message)
    else:
        sent = adapter.send(message)
    receipt = await sent if inspect.isawaitable(sent) else sent
    assert isinstance(receipt, Receipt)
    return receipt


class AdapterContract:
    """What every adapter owes to the outbox and to the people who are told."""

    #: Whether the platform gives a message id, without which nothing counts as delivered.
    evidence: bool = True
    #: Whether people see the whole of a text, however long; a line in a log is cut.
    whole: bool = True
    #: Where a message is sent to: the target after the platform's name.
    to: str = ""

    @pytest.fixture
    def adapter(self) -> Adapter:
        raise NotImplementedError

    @pytest.fixture
    def told(self, adapter: Adapter) -> Callable[[], Sequence[str]]:
        """Gives all texts that people can see by now, a message each, in any order."""
        raise NotImplementedError

    def test_has_a_name_that_a_target_can_start_with(self, adapter: Adapter) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", adapter.name)

    async def test_says_truly_whether_it_blocks(self, adapter: Adapter) -> None:
        sent = (
            await asyncio.to_thread(adapter.send, message_of("hello", to=self.to))
            if adapter.blocking
            else adapter.send(message_of("hello", to=self.to))
        )
        assert inspect.isawaitable(sent) is not adapter.blocking
        if inspect.isawaitable(sent):
            await sent

    async def test_tells_people_and_gives_what_evidence_there_is(
        self, adapter: Adapter, told: Callable[[], Sequence[str]]
    ) -> None:
        receipt = await send(adapter, message_of("tea is ready", to=self.to))
        texts = told()
        assert len(texts) == 1
        assert "tea is ready" in texts[0]
        assert (receipt.id is not None) is self.evidence
        if receipt.id is not None:
            assert receipt.id.strip()
            assert receipt.id.isprintable()

    @pytest.mark.parametrize("job_id", ODD_IDS, ids=lambda one: ascii(one)[:20])
    async def test_takes_whatever_an_id_may_be(
        self, adapter: Adapter, told: Callable[[], Sequence[str]], job_id: str
    ) -> None:
        receipt = await send(adapter, message_of("odd", job_id=job_id, to=self.to))
        assert (receipt.id is not None) is self.evidence
        (text,) = told()
        assert "odd" in text
        assert not RAW.search(text)

    @pytest.mark.parametrize("text", ["x" * 200_000, "ä🐞\n" * 20_000], ids=["one line", "lines"])
    async def test_takes_a_text_of_any_length(
        self, adapter: Adapter, told: Callable[[], Sequence[str]], text: str
    ) -> None:
        message = message_of(text, to=self.to)
        await send(adapter, message)
        shown = ["".join(one.split()) for one in told()]
        assert shown
        for part in fit(adapter, text, f"acron output {message.run.id}") if self.whole else ():
            assert any("".join(part.split()) in one for one in shown), "a text was cut"

    async def test_shows_no_control_character_and_no_secret(
        self, adapter: Adapter, told: Callable[[], Sequence[str]]
    ) -> None:
        name = HOSTILE.replace("\n", "\r")
        receipt = await send(adapter, message_of(f"said {HOSTILE}", name=name, to=self.to))
        (text,) = told()
        assert "said " in text
        for shown in (text, receipt.id or ""):
            assert not RAW.search(shown)
            assert CANARY not in shown
        assert many_lines(text) == text

    async def test_sends_many_at_a_time(
        self, adapter: Adapter, told: Callable[[], Sequence[str]]
    ) -> None:
        messages = [
            message_of(f"text <{n}>", job_id=f"job{n % 3}", run_id=f"r{n}", to=self.to)
            for n in range(20)
        ]
        receipts = await asyncio.gather(*(send(adapter, one) for one in messages))
        texts = told()
        assert len(texts) == 20
        for n in range(20):
            assert sum(f"text <{n}>" in text for text in texts) == 1
        if self.evidence:
            assert len({receipt.id for receipt in receipts}) == 20

    async def test_what_is_repeatable_may_be_sent_again(self, adapter: Adapter) -> None:
        message = message_of("once or twice", to=self.to)
        receipts = await asyncio.gather(*(send(adapter, message) for _ in range(5)))
        receipts.append(await send(adapter, message))
        if adapter.repeatable:
            assert len({receipt.id for receipt in receipts}) == 1
        elif self.evidence:
            assert len({receipt.id for receipt in receipts}) == 6

    async def test_a_cancelled_send_leaves_it_fit_for_the_next(
        self, adapter: Adapter, told: Callable[[], Sequence[str]]
    ) -> None:
        tasks = asyncio.all_tasks()
        for steps in range(6):
            sending = asyncio.create_task(send(adapter, message_of("first", to=self.to)))
            for _ in range(steps):
                await asyncio.sleep(0)
            asked = sending.cancel()
            await asyncio.wait({sending})
            assert sending.cancelled() or not asked, "the cancellation was swallowed"
            assert asyncio.all_tasks() == tasks
            after = message_of(f"second {steps}", run_id=f"r{8 + steps}", to=self.to)
            await send(adapter, after)
            (text,) = [text for text in told() if after.text in text]
            assert "first" not in text

    async def test_may_be_closed_at_any_time_and_twice(self, adapter: Adapter) -> None:
        await adapter.close()
        await adapter.close()
