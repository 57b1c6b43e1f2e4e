"""Tell any of Apprise's services, by its URL. Its client blocks, so it runs in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acron.abc import Adapter, Message, Receipt
from acron.errors import DeliveryError
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping


class AppriseAdapter(Adapter):
    """A URL such as ``ntfy://topic``; or, around an ``Apprise`` object, that object's services.

    Apprise says whether a service has taken it, and nothing more: what it has is ``unverified``,
    and what it has not is tried again.
    """

    blocking = True
    takes_files = True

    def __init__(self, client: Any = None, *, name: str = "apprise") -> None:
        self._client = client
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def send(self, message: Message) -> Receipt:
        try:
            import apprise  # noqa: PLC0415 (an extra, and slow to import)
        except ImportError:
            why = 'Apprise is not installed: pip install "acron-runtime[apprise]"'
            raise DeliveryError(why, permanent=True) from None
        client = self._client
        if message.to:
            client = apprise.Apprise()
            if not client.add(message.to):
                raise DeliveryError("Apprise does not know this URL", permanent=True)
        if client is None:
            raise DeliveryError("no URL: write the service's, scheme://…", permanent=True)
        told = client.notify(
            body=message.text or one_line(message.job.name or message.job.id, 200),
            body_format=apprise.NotifyFormat.TEXT,
            attach=[str(one) for one in message.files] or None,
        )
        if not told:
            raise DeliveryError("the service has not taken it; Apprise's log may say why")
        return Receipt()


def from_environment(_: Mapping[str, str]) -> Adapter:
    """It needs nothing: the URL says it all."""
    return AppriseAdapter()
