from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from acron.text import Excerpt, cut, invisible, is_silent, many_lines, one_line, redact

ANY_TEXT = st.text(st.characters(exclude_categories=()))

TELEGRAM = "123456789:AAE-fghijklmnopqrstuvwxyz0123456789"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
GITHUB = "ghp_" + "a1B2" * 9
DISCORD = "MTE4NzY1NDMyMTA5ODc2NTQz.GabcdE.abcdefghijklmnopqrstuvwxyz0123"
PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n"
    "MIIEow==\n-----END RSA PRIVATE KEY-----"
)


@pytest.mark.parametrize(
    "text,shown",
    [
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("nul\0 del\x7f csi\x9b nel\x85", r"nul\x00 del\x7f csi\x9b nel\x85"),
        ("\u202egnp.exe\u202c \u2066x\u2069", r"\u202egnp.exe\u202c \u2066x\u2069"),
        ("a\u2028b\u2029c\ufeff", r"a\u2028b\u2029c\ufeff"),
        ("\ud800", r"\ud800"),
        ("👩\u200d👧 क्\u200cष ä \\n", "👩\u200d👧 क्\u200cष ä \\n"),
        ("", ""),
    ],
)
def test_a_line_has_no_control_characters(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_lines_keep_their_breaks_and_tabs() -> None:
    assert many_lines("a\r\nb\n\tc\x1b[2J\rd\u202e") == "a\nb\n\tc\\x1b[2J\\rd\\u202e"


def test_a_line_may_be_cut() -> None:
    assert one_line("abcdef", 6) == "abcdef"
    assert one_line("abcdefg", 6) == "abcde…"
    assert one_line("\n\n\n\n", 6) == r"\n\n\…"


@given(ANY_TEXT)
def test_what_is_fit_to_be_shown_stays_as_it_is(text: str) -> None:
    for fit in (one_line, many_lines):
        shown = fit(text)
        shown.encode()
        assert fit(shown) == shown
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff]", shown)
    assert "\n" not in one_line(text)


@pytest.mark.parametrize(
    "text,shown",
    [
        ("postgresql://bot:p@ss:w@db.example/x", "postgresql://***@db.example/x"),
        ("https://ghtoken@github.com/a/b.git", "https://***@github.com/a/b.git"),
        ("GET /x?token=abc&page=2 HTTP", "GET /x?token=***&page=2 HTTP"),
        ("?access_token=abc&key=def&sig=ghi", "?access_token=***&key=***&sig=***"),
        ("password=hunter2", "password=***"),
        ("Server=x;Password=hunter2;User=y", "Server=x;Password=***;User=y"),
        ("DB_PASSWORD='correct horse' ./run", "DB_PASSWORD=*** ./run"),
        ('TOKEN = "a \\" b" # x', "TOKEN = *** # x"),
        ("AWS_SECRET_ACCESS_KEY=abc", "AWS_SECRET_ACCESS_KEY=***"),
        ("SECRET_KEY_BASE=abc", "SECRET_KEY_BASE=***"),
        ('{"api_key": "abc", "n": 1}', '{"api_key": ***, "n": 1}'),
        ("{'botToken': 'abc'}", "{'botToken': ***}"),
        (r"{\"token\": \"abc\"}", r"{\"token\": ***\"}"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("authorization: Basic dXNlcjpwYXNz", "authorization: Basic ***"),
        ("{'Authorization': 'Bot abc'}", "{'Authorization': 'Bot ***'}"),
        ("sent bearer abcdefgh1", "sent bearer ***"),
        ("X-Api-Key: abc", "X-Api-Key: ***"),
        ("password: hunter2", "password: ***"),
        (f"bot {TELEGRAM} is on", "bot 123456789*** is on"),
        (f"https://api.telegram.org/bot{TELEGRAM}/x", "https://api.telegram.org/bot123456789***/x"),
        ("xoxb-123456789012-abcdef", "***"),
        ("https://hooks.slack.com/services/T0/B0/abc", "https://***"),
        ("https://discord.com/api/webhooks/123/ab-c", "https://discord.com***"),
        (GITHUB, "***"),
        ("github_pat_" + "a1" * 12, "***"),
        ("key id AKIAIOSFODNN7EXAMPLE.", "key id ***."),
        (f"jwt {JWT}!", "jwt ***!"),
        (f"login {DISCORD}", f"login {DISCORD[:24]}***"),
        ("sk-proj-abcdefghijklmnop", "***"),
        (f"key:\n{PEM}\nend", "key:\n***\nend"),
    ],
)
def test_a_secret_is_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "monkey=banana",
        "max_tokens=5",
        "KeyError: 'chat'",
        "Invalid token: unexpected '}'",
        "http://localhost:8000/a@b see mailto:a@b.example",
        "the key is under the mat, the password is secret",
        "10:30:00.123 12345678:short",
        "package.module.ClassName.method",
        "commit 0123456789abcdef0123456789abcdef01234567",
        "AKIAshort eyJ.x.y task-management-of-everything",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@given(st.dictionaries(st.sampled_from(["password", "api_key", "token"]), st.text()))
def test_no_secret_leaves_json(record: dict[str, str]) -> None:
    canaries = {name: f"canary{value}canary" for name, value in record.items()}
    assert "canary" not in one_line(json.dumps(canaries))
    assert "canary" not in one_line(repr(canaries))


@pytest.mark.parametrize(
    "text",
    [
        "token" * 20_000,
        'token="' * 15_000,
        "://" * 30_000,
        "eyJ-" * 25_000,
        "a-" * 50_000,
        "secret_" * 15_000,
        "authorization" * 8_000,
        "token" + " " * 90_000,
        'key="' + "\\" * 90_000,
    ],
    ids=lambda text: text[:8],
)
def test_no_text_is_slow_to_read(text: str) -> None:
    """Were a pattern quadratic, each of these would hit the time limit of a test."""
    assert isinstance(one_line(text * 5), str)


# --- cutting -------------------------------------------------------------------------------------


def test_what_fits_is_not_cut() -> None:
    assert cut("ä" * 500, 1000) == "ä" * 500
    assert cut("", 1000) == ""


def test_a_cut_keeps_the_head_and_the_tail_and_says_what_is_gone() -> None:
    assert cut("a" * 1000 + "z" * 1000, 300) == (
        f"{'a' * 100}\n[… 1,800 of 2,000 bytes left out …]\n{'z' * 100}"
    )


@given(st.lists(ANY_TEXT), st.integers(200, 1000), st.integers(1, 400))
@example(["x" * 200, "y"], 200, 1)
@example(["🐞"], 200, 400)
def test_pieces_are_cut_like_the_whole(pieces: list[str], limit: int, times: int) -> None:
    pieces *= times
    excerpt = Excerpt(limit)
    for piece in pieces:
        excerpt.add(piece)
    whole = "".join(pieces).encode(errors="backslashreplace").decode()
    shown = str(excerpt)
    assert shown == cut("".join(pieces), limit)
    assert len(shown.encode()) <= limit
    if len(whole.encode()) <= limit:
        assert shown == whole
    else:
        head, gone, tail = re.split(r"\n\[… ([\d,]+) of [\d,]+ bytes left out …\]\n", shown)
        assert whole.startswith(head)
        assert whole.endswith(tail)
        assert len((head + tail).encode()) + int(gone.replace(",", "")) == len(whole.encode())


# --- silence, and what is not seen ---------------------------------------------------------------


@pytest.mark.parametrize(
    "output", [None, "", " \n", "[SILENT]", "SILENT\nwhy", "why\n\nNO_REPLY\n"]
)
def test_silent(output: str | None) -> None:
    assert is_silent(output)


@pytest.mark.parametrize("output", ["silent", "[silent]", "so SILENT", "a\nSILENT\nb"])
def test_not_silent(output: str) -> None:
    assert not is_silent(output)


@pytest.mark.parametrize(
    "text,told",
    [
        ("a\u200bb", "U+200B ZERO WIDTH SPACE, in line 1, column 2"),
        ("a\r\nb\x00", "U+0000 a control character, in line 2, column 2"),
        ("\ufeffa", "U+FEFF ZERO WIDTH NO-BREAK SPACE, in line 1, column 1"),
        ("a\U000e0041", "U+E0041 TAG LATIN CAPITAL LETTER A, in line 1, column 2"),
        ("a\u202eb", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("a\u200db", "U+200D ZERO WIDTH JOINER"),
        ("é\ufe0f\ufe0f", "U+FE0F"),
        ("é\ufe0f\u200d\ufe0e", "U+FE0E"),
        ("\u200d", "U+200D"),
        ("a\ufe05", "U+FE05"),
        ("a\ud800", "U+D800"),
        ("\u3164", "U+3164 HANGUL FILLER"),
    ],
)
def test_invisible(text: str, told: str) -> None:
    assert told in (invisible(text) or "")


@pytest.mark.parametrize(
    "text",
    [
        "plain\ttext\r\nand more",
        "naïve — “quoted” …",
        "👩‍👩‍👧 ❤️‍🔥 1️⃣ #️⃣ 🇫🇷",
        "می‌خواهم",
        "שלום\u200f!",
        "",
    ],
)
def test_visible(text: str) -> None:
    assert invisible(text) is None
