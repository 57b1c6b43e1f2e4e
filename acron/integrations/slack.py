"""Slack's bolt: ``/remindme`` and ``/schedules`` for an AsyncApp.

::

    slack = AsyncApp(token=token)
    app = Acron("sqlite:///bot.db", adapters={"slack": slack.client})
    attach(slack, app)
    async with app:
        await AsyncSocketModeHandler(slack, app_token).start_async()

Bolt has no hooks for start and end, so the program opens the app around its handler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acron.integrations.reminders import Reminders

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncAck, AsyncApp, AsyncRespond

    from acron.app import Acron


def attach(
    slack: AsyncApp,
    app: Acron,
    reminders: Reminders | None = None,
    *,
    remind: str = "/remindme",  # /remind is Slack's own
    schedules: str = "/schedules",
) -> None:
    """Answer the slash commands ``remind`` and ``schedules``, which the Slack app must declare.
    ``reminders`` are those of ``/remindme``."""
    ours = reminders or Reminders(app, "slack")

    async def on_remind(ack: AsyncAck, respond: AsyncRespond, command: dict[str, Any]) -> None:
        await ack()
        line, chat = command.get("text", ""), command["channel_id"]
        await respond(await ours.remind_line(_user(command), chat, line))

    async def on_schedules(ack: AsyncAck, respond: AsyncRespond, command: dict[str, Any]) -> None:
        await ack()
        await respond(await ours.schedules_line(_user(command), command.get("text", "")))

    slack.command(remind)(on_remind)
    slack.command(schedules)(on_schedules)


def _user(command: dict[str, Any]) -> str:
    return f"{command['team_id']}.{command['user_id']}"
