"""What passes between a run and those who are told: its output, a message, the receipt."""

from __future__ import annotations

from os import fsdecode
from pathlib import Path  # noqa: TC003 (msgspec reads the annotations)
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from acron.model import Job, Run  # noqa: TC001 (msgspec reads the annotations)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed import StrOrBytesPath


class Output(str):
    """What a job's function may return: its text, and ``files`` that go with it.

    The files are copied when the run ends, so that they may be gone when they are sent. Where
    ``text`` is the head and the tail of what was said, ``whole`` is a file that has all of it,
    and that acron removes.
    """

    __slots__ = ("files", "whole")

    files: tuple[str, ...]
    whole: str | None

    def __new__(
        cls,
        text: str = "",
        *,
        files: Iterable[StrOrBytesPath] = (),
        whole: StrOrBytesPath | None = None,
    ) -> Self:
        made = super().__new__(cls, text)
        made.files = tuple(fsdecode(one) for one in files)
        made.whole = None if whole is None else fsdecode(whole)
        return made


class Message(Struct, frozen=True, gc=False):
    """What is to be told, and to whom. ``to`` is the target after its platform's name: a chat,
    perhaps with a thread; empty when only the platform was named.

    ``text`` holds no secret that acron can know and no control character, and is no longer than
    the adapter's ``limit``. ``files`` are there to be read while the message is being sent.
    ``part`` counts the messages of one long text from 0.
    """

    to: str
    text: str
    job: Job
    run: Run
    files: tuple[Path, ...] = ()
    part: int = 0


class Receipt(Struct, frozen=True):
    """Evidence of a delivery: the platform's message id; None where it gives none."""

    id: str | None = None
