"""Tell a Slack channel, through slack-sdk's asynchronous client."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from acron.adapters.base import ClientAdapter, content, lost, missing, refused, setting
from acron.errors import DeliveryError
from acron.targets import chat_and_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from acron.abc import Adapter, Message

#: Errors of the API, all of them answers with status 200, after which it is worth coming again.
_AGAIN = frozenset(
    {"fatal_error", "internal_error", "ratelimited", "request_timeout", "service_unavailable"}
)


class SlackAdapter(ClientAdapter):
    """``slack:<channel>[:<thread>]``: a channel's id, the ``ts`` of the message that began it."""

    limit = 4000
    rate = 1.0

    def __init__(self, client: Any, *, name: str) -> None:
        # The client's own way of trying again sends what may have arrived a second time.
        once = copy.copy(client)
        once.retry_handlers = []
        super().__init__(once, name=name)

    async def post(self, message: Message) -> AsyncIterator[str]:
        chat, thread = chat_and_thread(message.to)
        if not chat:
            why = "no channel: write slack:<channel>, or set home_channels.slack"
            raise DeliveryError(why, permanent=True)
        if message.text.strip():
            sent = await self.client.chat_postMessage(
                channel=chat, text=message.text, thread_ts=thread or None
            )
            yield str(sent["ts"])
        for path in message.files:
            sent = await self.client.files_upload_v2(
                channel=chat,
                thread_ts=thread or None,
                filename=path.name,
                content=await content(path),
            )
            yield str(sent["files"][0]["id"])

    def fault(self, error: Exception) -> DeliveryError:
        if type(error).__name__ != "SlackApiError":
            return lost(error)
        answer: Any = getattr(error, "response", None)
        data = getattr(answer, "data", None)
        if isinstance(data, dict) and isinstance(data.get("error"), str):
            wait = answer.headers.get("Retry-After")
            return refused(503 if data["error"] in _AGAIN else 400, data["error"], wait)
        status: int = getattr(answer, "status_code", None) or getattr(answer, "status", None) or 200
        return lost(error) if status < 400 else refused(status, str(error).partition("\n")[0])


def from_environment(environ: Mapping[str, str]) -> Adapter | None:
    """``ACRON_SLACK_TOKEN`` of a bot."""
    token = setting(environ, "ACRON_SLACK_TOKEN")
    if not token:
        return None
    try:
        from slack_sdk.web.async_client import AsyncWebClient  # noqa: PLC0415 (only then)
    except ImportError:
        raise missing("slack", "ACRON_SLACK_TOKEN") from None
    return SlackAdapter(AsyncWebClient(token), name="slack")
