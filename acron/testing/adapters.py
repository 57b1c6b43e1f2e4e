"""Adapters for tests."""

from __future__ import annotations

from acron.abc import Adapter, Message, Receipt
from acron.errors import DeliveryError


class RecordingAdapter(Adapter):
    """Sends nothing, keeps everything.

    ``messages`` are those that were taken, in order; ``refused`` those that `fail` made it raise.
    It is told what the job said; with ``verbatim=False``, what a chat would be told.
    """

    def __init__(self, name: str = "recording", *, verbatim: bool = True) -> None:
        self._name = name
        self.verbatim = verbatim
        self.messages: list[Message] = []
        self.refused: list[Message] = []
        self._failures: list[BaseException] = []

    def __repr__(self) -> str:
        refused = f", {len(self.refused)} refused" if self.refused else ""
        return f"<RecordingAdapter {self.name}: {len(self.messages)} taken{refused}>"

    @property
    def name(self) -> str:
        return self._name

    @property
    def texts(self) -> list[str]:
        """What was said, in order."""
        return [message.text for message in self.messages]

    def fail(self, error: BaseException | None = None, *, times: int = 1) -> None:
        """Make the next ``times`` sends raise ``error`` (a DeliveryError by default)."""
        self._failures += [error or DeliveryError("told to fail")] * times

    async def send(self, message: Message) -> Receipt:
        if self._failures:
            self.refused.append(message)
            raise self._failures.pop(0)
        self.messages.append(message)
        return Receipt(id=str(len(self.messages)))
