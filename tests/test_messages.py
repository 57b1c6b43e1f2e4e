from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from acron.abc import Adapter, Message, Receipt
from acron.messages import MOST_PARTS, check_wrapper, compose, split, without_mentions, wrapped
from acron.model import RunState
from acron.testing.contracts.adapters import CANARY, HOSTILE, RAW, START, message_of

if TYPE_CHECKING:
    from collections.abc import Sequence


class Chat(Adapter):
    name = "chat"

    async def send(self, message: Message) -> Receipt:
        raise AssertionError


def told(text: str, wrap: bool | str = True, *, adapter: Adapter | None = None) -> Sequence[str]:
    message = message_of(text)
    return compose(adapter or Chat(), message.job, message.run, wrap=wrap)


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def test_a_chat_hears_which_job_speaks_and_how_to_stop_it() -> None:
    (text,) = told("tea is ready")
    assert text == "job\n\ntea is ready\n\n(job, run r7; to stop it: acron pause job)"
    assert told("tea", wrap=False) == ("tea",)
    assert told("tea", "[{id}] {text} {{}}") == ("[job] tea {}",)


def test_what_is_over_needs_no_stopping_and_late_is_said() -> None:
    message = message_of("x")
    job = replace(message.job, completed=True, name="Tea")
    run = replace(message.run, lateness=timedelta(minutes=5).total_seconds())
    (text,) = compose(Chat(), job, run, wrap=True)
    assert text == "Tea (5 min late)\n\nx\n\n(job, run r7)"
    fields = "{state} {attempt} {scheduled} {text}"
    assert wrapped(job, run, "x", fields) == f"succeeded 1 {START:%Y-%m-%d %H:%M:%S} UTC x"


def test_a_failure_says_so() -> None:
    message = message_of("so far", state=RunState.TIMED_OUT)
    run = replace(message.run, error="did not end")
    assert compose(Chat(), message.job, run, wrap=False) == ("timed out: did not end\n\nso far",)


def test_a_verbatim_adapter_gets_what_was_said() -> None:
    class Plain(Chat):
        verbatim = True

    assert told("hello @everyone", adapter=Plain()) == ("hello @everyone",)


def test_no_secret_and_no_control_character() -> None:
    message = message_of(HOSTILE, name=HOSTILE)
    for text in compose(Chat(), message.job, message.run, wrap=True):
        assert CANARY not in text
        assert not RAW.search(text)


def test_a_template_cannot_be_smuggled_in_by_the_text() -> None:
    assert told("{run.__class__} {id}", "{text}") == ("{run.__class__} {id}",)


@pytest.mark.parametrize(
    "text", ["@everyone", "@HERE", "@channel", "<!channel>", "<!here|x>", "<@&12>", "@room"]
)
def test_nobody_is_called(text: str) -> None:
    quiet = without_mentions(f"a {text} b")
    assert text not in quiet
    assert quiet.replace("\u200b", "") == f"a {text} b"


@pytest.mark.parametrize("text", ["me@example.org", "@hereby", "@alice", "a < b", "<b>"])
def test_other_words_stay(text: str) -> None:
    assert without_mentions(text) == text


def test_names_of_files_are_told_where_they_cannot_be_sent() -> None:
    message = message_of("see")
    run = replace(message.run, files=("chart.png", "b.csv"))
    assert compose(Chat(), message.job, run, wrap=False) == ("see\n\nFiles: chart.png, b.csv",)

    class Takes(Chat):
        takes_files = True

    assert compose(Takes(), message.job, run, wrap=False) == ("see",)


WORDS = st.lists(
    st.sampled_from(["tea", "x" * 40, "\n", "\n\n", " ", "```\n", "```py\n", "🐞" * 9, "é"])
)


@given(WORDS.map("".join), st.integers(100, 200))
def test_parts_fit_and_lose_nothing(text: str, limit: int) -> None:
    parts = split(text, limit, "acron output r7", most=10_000)
    assert all(units(part) <= limit for part in parts)
    joined = "".join(parts)
    for word in ("tea", "x", "🐞", "é"):
        assert joined.count(word) == text.count(word)
    if len(parts) > 1:
        assert all(part.strip() for part in parts)


def test_parts_end_with_a_line_or_a_word() -> None:
    lines = "\n".join(f"line {n} " + "x" * 30 for n in range(20))
    assert all(part.startswith("line") for part in split(lines, 200, ""))
    words = " ".join(["kettle"] * 100)
    assert {word for part in split(words, 200, "") for word in part.split()} == {"kettle"}


def test_a_fenced_block_is_whole_in_each_part() -> None:
    code = "```python\n" + "\n".join(f"x = {n}" for n in range(100)) + "\n```\nafter"
    parts = split(code, 200, "", most=100)
    assert len(parts) > 3
    for part in parts:
        assert part.count("```") % 2 == 0
        assert part.startswith(("```python\n", "after"))


def test_too_many_parts_are_cut_and_it_is_said() -> None:
    parts = split("word " * 10_000, 400, "acron output r7")
    assert len(parts) == MOST_PARTS
    assert all(units(part) <= 400 for part in parts)
    assert parts[-1].endswith("more characters: acron output r7]")
    assert not any("more characters" in part for part in parts[:-1])


def test_templates() -> None:
    check_wrapper("{name}{late}: {text}")
    with pytest.raises(ValueError, match=r"needs \{text\}"):
        check_wrapper("{name}")
