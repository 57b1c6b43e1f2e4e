"""What people may ask for in a chat, and what comes of it."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from acron import Acron
from acron.integrations.reminders import HOW, NO_SUCH, Reminders
from acron.testing import RecordingAdapter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from acron.testing import VirtualTime


@pytest.fixture
def chat() -> RecordingAdapter:
    return RecordingAdapter("chat")


@pytest.fixture
async def reminders(acron_time: VirtualTime, chat: RecordingAdapter) -> AsyncIterator[Reminders]:
    app = Acron("memory://", clock=acron_time.clock, adapters={"chat": chat}, tz="Europe/Paris")
    async with app:
        yield Reminders(app, "chat", quota=3)


def ids(text: str) -> list[str]:
    return re.findall(r"`([0-9a-f]{12})`", text)


async def test_it_arrives_where_it_was_asked_for_and_once(
    reminders: Reminders, chat: RecordingAdapter, acron_time: VirtualTime
) -> None:
    told = await reminders.remind_line("42", "-100:7", "in 10m tea: and cake")
    assert "Europe/Paris" in told
    await acron_time.advance(minutes=9)
    assert chat.messages == []
    await acron_time.advance(minutes=9)
    (message,) = chat.messages
    assert message.to == "-100:7"
    assert "tea: and cake" in message.text
    assert await reminders.schedules("42") == f"You have no reminders. {HOW}"


async def test_two_of_one_chat_at_the_same_instant_both_arrive(
    reminders: Reminders, chat: RecordingAdapter, acron_time: VirtualTime
) -> None:
    for text in ("tea", "cake"):
        await reminders.remind("42", "1", "in 10m", text)
    await acron_time.advance(minutes=11)
    assert len(chat.texts) == 2
    jobs = [job async for job in reminders.app.jobs(tag="chat:chat:1")]
    assert [await reminders.app.skips(job.id) for job in jobs] == [[], []]


@pytest.mark.parametrize(
    "line, when, text",
    [
        ("in 10m tea", "in 10m", "tea"),
        ("every day at 9am: stand up", "every day at 9am", "stand up"),
        ("monday, wed and fri at 18:00 run 5 km", "monday, wed and fri at 18:00", "run 5 km"),
        ("0 9 * * 1 week begins", "0 9 * * 1", "week begins"),
        ("at 17:30 call\nAda  Lovelace", "at 17:30", "call\nAda  Lovelace"),
    ],
)
async def test_one_line_holds_schedule_and_text(
    reminders: Reminders, line: str, when: str, text: str
) -> None:
    await reminders.remind_line("42", "1", line)
    (job,) = await reminders.of("42")
    assert (job.schedule, job.action.kwargs) == (when, {"text": text})  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "when, text, why",
    [
        ("soonish", "tea", HOW),
        ("in 10m", " ", "a text of at most"),
        ("in 10m", "x" * 1001, "a text of at most"),
        ("every 1s", "tea", "too often"),
        ("*/10 * * * * *", "tea", "too often"),
        ("30m", "tea", "every 30m"),
    ],
)
async def test_a_mistake_is_explained_and_adds_nothing(
    reminders: Reminders, when: str, text: str, why: str
) -> None:
    assert why in await reminders.remind("42", "1", when, text)
    assert await reminders.of("42") == []


@pytest.mark.parametrize("line", ["", "tea", "in 10m"])
async def test_a_line_without_both_says_how(reminders: Reminders, line: str) -> None:
    assert await reminders.remind_line("42", "1", line) == HOW


async def test_people_see_and_end_their_own_only(reminders: Reminders) -> None:
    (mine,) = ids(await reminders.remind("42", "1", "every day at 9am", "mine"))
    await reminders.remind("43", "1", "every day at 9am", "theirs")
    told = await reminders.schedules_line("42", "")
    assert "mine" in told
    assert "theirs" not in told
    assert await reminders.schedules_line("43", f"cancel {mine}") == NO_SUCH
    assert await reminders.cancel("42", "") == NO_SUCH
    assert await reminders.schedules_line("42", f"cancel {mine[:6]}") == "Ended: mine"
    assert await reminders.of("42") == []
    assert len(await reminders.of("43")) == 1
    assert "cancel ID" in await reminders.schedules_line("42", "drop all")


async def test_a_list_fits_into_a_message(reminders: Reminders) -> None:
    many = Reminders(reminders.app, "chat", quota=100)
    for n in range(20):
        await many.remind("42", "1", f"{n} 9 * * *", f"{n} " + "x" * 500)
    told = await many.schedules("42")
    assert len(told) < 2000
    assert told.splitlines()[-1] == "… and 8 later ones"


async def test_platforms_do_not_share_people(reminders: Reminders) -> None:
    other = Reminders(reminders.app, "telegram")
    await reminders.remind("42", "1", "every day at 9am", "tea")
    assert await other.of("42") == []


async def test_the_quota_holds_for_many_at_once_and_frees_itself(
    reminders: Reminders, acron_time: VirtualTime
) -> None:
    asked = [reminders.remind("42", "1", "in 10m", f"tea {n}") for n in range(5)]
    told = await asyncio.gather(*asked)
    assert sum("You have 3 reminders" in one for one in told) == 2
    assert len(await reminders.of("42")) == 3
    await acron_time.advance(days=2)
    assert ids(await reminders.remind("42", "1", "in 10m", "cake"))
    assert len([job async for job in reminders.app.jobs()]) == 1, "what is over is removed"


async def test_they_survive_a_restart(
    acron_time: VirtualTime, chat: RecordingAdapter, tmp_path: Path
) -> None:
    def bot() -> Reminders:
        url = f"sqlite:///{tmp_path}/bot.db"
        app = Acron(url, clock=acron_time.clock, adapters={"chat": chat})
        return Reminders(app, "chat")

    before, after = bot(), bot()
    async with before.app:
        await before.remind("42", "1", "in 2m", "tea")
    await acron_time.advance(minutes=1)
    async with after.app:
        assert len(await after.of("42")) == 1
        await acron_time.advance(minutes=2)
    assert len(chat.messages) == 1
