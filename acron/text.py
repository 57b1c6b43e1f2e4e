"""Text made fit to be shown: no secrets, no control characters, no more than there is room for.

Every sink (a log line, a file, a chat, a terminal) shows text that jobs and strangers wrote. A
line break may forge a log line, an escape sequence may rewrite a terminal, a bidirectional
override may turn a sentence round, and an exception may carry a password.
"""

from __future__ import annotations

import re
import unicodedata
from hashlib import blake2b
from urllib.parse import quote

#: Characters of a safe name; most file systems take names of 255 bytes.
LONGEST = 100
HIDDEN = "***"

# C0, DEL, C1 (ANSI sequences begin with one of them); line and paragraph separators; the
# embeddings, overrides and isolates of the bidirectional algorithm (Unicode UAX #9); the byte
# order mark; lone surrogates, which no UTF-8 sink can take. The joiners of emoji and of Persian,
# and the plain direction marks, stay: they are harmless and meant.
_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_IN_A_LINE = re.compile(f"[{_CONTROL}]")
_IN_LINES = re.compile(rf"(?![\n\t])[{_CONTROL}]")

# Tokens known by their shape, each with a text it must contain: a search for that costs next to
# nothing, so that what holds no secret is read at the speed of ``in``. A pattern starts with its
# literal where it can, and looks behind from there.
_SHAPES = tuple(
    (hint, re.compile(pattern, re.ASCII))
    for hint, pattern in (
        (
            "PRIVATE KEY-----",
            r"-{5}BEGIN[A-Z ]{0,40}PRIVATE KEY-{5}(?:[^-]|-(?!-{4}))*(?:-{5}END[A-Z ]{0,40}-{5})?",
        ),
        (":", r":(?<=\d{6}:)[\w-]{30,}"),  # Telegram: the part after the bot's public id
        (".", r"\.(?<=[\w-]{23}\.)[\w-]{6,7}\.[\w-]{27,}"),  # Discord: after its public id
        ("eyJ", r"eyJ(?<![\w-]eyJ)[\w-]{4,}\.[\w-]{4,}\.[\w-]*"),  # a JSON web token
        ("xox", r"xox(?<![\w-]xox)[a-z]-[\w-]{8,}"),  # Slack
        ("xapp-", r"xapp-(?<![\w-]xapp-)[\w-]{8,}"),
        ("hooks.slack.com/", r"hooks\.slack\.com/services/[\w/-]+"),
        ("/api/webhooks/", r"/api/webhooks/\d+/[\w-]+"),  # Discord
        ("gh", r"gh(?<![\w-]gh)[a-z]_\w{16,}"),  # GitHub
        ("github_pat_", r"github_pat_\w{16,}"),
        ("glpat-", r"glpat-[\w-]{16,}"),  # GitLab
        ("AKIA", r"AKIA(?<![A-Za-z0-9]AKIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),  # AWS
        ("ASIA", r"ASIA(?<![A-Za-z0-9]ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
        ("AIza", r"AIza(?<![\w-]AIza)[\w-]{30,}"),  # Google
        ("sk-", r"sk-(?<![\w-]sk-)[\w-]{16,}"),  # OpenAI, Anthropic
        ("k_", r"(?<![\w-])[rs]k_(?:live|test)_\w{10,}"),  # Stripe
    )
)
# Values known by what they are called, line by line: a quote that nobody closes hides one line.
_HINTS = [
    "://",
    "token",
    "cookie",
    "sig",
    "secret",
    "pass",
    "pwd",
    "credential",
    "key",
    "auth",
    "bearer",
]
_VALUE = (
    r"""(?:\*{3}(?![^\s&,;:.)}\]"'<>])"""  # hidden already: what follows it stays
    r"""|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\*["']?[^\s&;"'<>\\]+)"""
)
_NAMED = re.compile(
    rf"""
      (?P<kept>
          ://(?=[^\s/?#"'<>]*@)                                   # user:password@host
        | \bauthorization\\*["']?\s{{0,3}}[:=]\s{{0,3}}\\*["']?(?:[a-z]+\s{{1,3}})?
        | \bbearer\s{{1,3}}(?=[\w.~+/=-]{{8}})
        | (?: token | cookie | (?<![a-z])sig(?:nature)?
            | (?:secret|passw(?:or)?d|passphrase|passwd|pwd|credentials?)(?:[-_]\w{{1,20}})?
            | (?:api|access|private|account|client|auth|app)[-_]?key
          ) \d{{0,2}} (?: \s{{0,3}}={{1,2}}\s{{0,3}} | \\*["']\s{{0,3}}[:=]\s{{0,3}} )
        | (?:(?<![a-z])(?:password|passwd|secret)|[a-z][-_](?:token|key|secret)):[ ]{{0,3}}
        | (?<![a-z])(?:key|auth)=
      )
      (?: (?<=://)[^\s/?#"'<>]*(?=@) | {_VALUE} )
    """,
    re.VERBOSE | re.IGNORECASE,
)


def redact(text: str) -> str:
    """``text`` with ``***`` in the place of what looks like a secret.

    Hidden are the user part of URLs, the values of parameters and assignments named like a
    secret (``token=…``, ``"api_key": …``), authorization headers, private keys, and tokens known
    by their shape. It errs on the side of hiding; what has no name and no shape it cannot know.
    """
    for hint, shape in _SHAPES:
        if hint in text:
            text = shape.sub(HIDDEN, text)
    return text if not _hinted(text) else "\n".join(map(_redact_line, text.split("\n")))


def _redact_line(line: str) -> str:
    return _NAMED.sub(rf"\g<kept>{HIDDEN}", line) if _hinted(line) else line


def _hinted(text: str) -> bool:
    lower = text.lower()
    return any(hint in lower for hint in _HINTS)


def whole_lines(text: str) -> int:
    """How much of ``text``, of which more is to come, may be told so that no secret is cut in two:
    its whole lines, but none of a key that has not ended."""
    end = text.rfind("\n") + 1
    opened = text.rfind("-----BEGIN", 0, end)
    return end if opened < 0 or "-----END" in text[opened:end] else opened


def one_line(text: str, limit: int | None = None) -> str:
    """``text`` for a sink of lines: redacted, every control character escaped.

    ``limit`` is in characters; what is longer ends in ``…``.
    """
    shown = _IN_A_LINE.sub(_escape, redact(text))
    return shown if limit is None or len(shown) <= limit else f"{shown[: limit - 1]}…"


def many_lines(text: str) -> str:
    """``text`` for a sink of paragraphs: as ``one_line``, but line feeds and tabs stay."""
    return _IN_LINES.sub(_escape, redact(text).replace("\r\n", "\n"))


def _escape(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]


_LEFT_OUT = " left out …]"


def where_left_out(excerpt: str, note: str) -> str:
    """``excerpt``, a text that was cut, with ``note`` at the place."""
    return excerpt.replace(_LEFT_OUT, f" left out; {note} …]", 1)


class Excerpt:
    """The head and the tail of a text that comes in pieces: ``limit`` bytes of UTF-8 at most.

    A line between them tells how much was left out. ``limit`` should be 200 or more.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._half = max(limit - 100, 2) // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._size = 0

    def add(self, text: str) -> None:
        data = text.encode(errors="backslashreplace")  # a lone surrogate has no UTF-8
        self._size += len(data)
        room = self._limit - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > self._limit:
            del self._tail[: -self._half]

    @property
    def cut(self) -> bool:
        """Whether something is left out."""
        return self._size > self._limit

    def __str__(self) -> str:
        if not self.cut:
            return self._head.decode()
        # A character that the cut has split is left out whole, and so is a line, unless it is very
        # long: half a secret would not be known as one.
        head = self._head[: self._half].decode(errors="ignore")
        tail = (self._head + self._tail)[-self._half :].decode(errors="ignore")
        head = head[: head.rfind("\n", len(head) // 2) + 1].removesuffix("\n") or head
        tail = tail[tail.find("\n", 0, len(tail) // 2) + 1 :]
        left_out = self._size - len(head.encode()) - len(tail.encode())
        return f"{head}\n[… {left_out:,} of {self._size:,} bytes{_LEFT_OUT}\n{tail}"


def cut(text: str, limit: int) -> str:
    """``text`` in no more than ``limit`` bytes of UTF-8: its head and its tail."""
    excerpt = Excerpt(limit)
    excerpt.add(text)
    return str(excerpt)


def safe_name(text: str) -> str:
    """``text`` as one component of a path: percent-encoded; a long one ends in its hash."""
    name = quote(text, safe="", errors="surrogatepass").replace("~", "%7E") or "%"
    if name.startswith("."):  # neither "..", nor hidden
        name = f"%2E{name[1:]}"
    if len(name) <= LONGEST:
        return name
    digest = blake2b(text.encode(errors="surrogatepass"), digest_size=12).hexdigest()
    return f"{name[: LONGEST - 25]}~{digest}"


#: A line that says that a job has nothing to say.
_SILENCE = frozenset({"[SILENT]", "SILENT", "NO_REPLY"})


def is_silent(output: str | None) -> bool:
    """Whether an output says nothing to anybody: blanks, or a marker of silence (``[SILENT]``,
    ``SILENT``, ``NO_REPLY``) alone, or as its first or last line."""
    lines = (output or "").strip().splitlines()
    return not lines or lines[0].strip() in _SILENCE or lines[-1].strip() in _SILENCE


# What people do not see and an agent reads: controls, formats (zero width, bidirectional, tags),
# fillers that are letters by name, and variation selectors.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e0fff]"
)
#: Joiners, direction marks and the selectors of emoji: part of how some scripts are written.
_JOINS = frozenset("\u200c\u200d\u200e\u200f\ufe0e\ufe0f")
_KEYCAP = "\u20e3"


def invisible(text: str) -> str | None:
    """The first character that people cannot see, in words: which, and where. None if there is
    none but line ends, tabs, and the joiners that emoji and some scripts are written with."""
    for found in _UNSEEN.finditer(text):
        char, at = found[0], found.start()
        if char in _JOINS and _joins(text, at):
            continue
        line = text.count("\n", 0, at) + 1
        column = at - text.rfind("\n", 0, at)
        name = unicodedata.name(char, "a control character")
        return f"an invisible character, U+{ord(char):04X} {name}, in line {line}, column {column}"
    return None


def _joins(text: str, at: int) -> bool:
    """Whether it belongs to the visible character before it, to which no more than two do."""
    before = text[max(at - 2, 0) : at]
    if not before:
        return False
    if before[-1] in _JOINS:
        return before[-1] != text[at] and not before[0].isascii() and before[0] not in _JOINS
    return not before[-1].isascii() or text[at + 1 : at + 2] == _KEYCAP
