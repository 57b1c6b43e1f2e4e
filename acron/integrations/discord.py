"""discord.py: an acron that lives as long as the bot, with ``/remind`` and ``/schedules``.

::

    bot = commands.Bot("!", intents=discord.Intents.default())
    app = Acron("sqlite:///bot.db", adapters={"discord": bot})
    attach(bot, app)
    bot.run(token)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acron.integrations import missing
from acron.integrations.reminders import Reminders, title

try:
    import discord
    from discord import app_commands
    from discord.ext import commands
except ImportError as error:
    raise missing("discord", "discord.py") from error

if TYPE_CHECKING:
    from acron.app import Acron

_Interaction = discord.Interaction[Any]


class Schedules(commands.Cog):
    """Opens ``app`` when it is added to a bot, and closes it when the bot closes: what runs is
    drained while the bot can still send. ``reminders`` are those of ``/remind``."""

    def __init__(self, app: Acron, reminders: Reminders | None = None) -> None:
        self._app = app
        self._reminders = reminders or Reminders(app, "discord")

    async def cog_load(self) -> None:
        await self._app.__aenter__()

    async def cog_unload(self) -> None:
        await self._app.__aexit__()

    @app_commands.command(description="Remind this channel of something")
    @app_commands.describe(
        when="in 10m, tomorrow at 9am, weekdays at 9:30", text="what to remind of"
    )
    async def remind(self, interaction: _Interaction, when: str, text: str) -> None:
        await interaction.response.defer(ephemeral=True)  # a busy database may take over 3 s
        user, channel = str(interaction.user.id), str(interaction.channel_id)
        await self._answer(interaction, await self._reminders.remind(user, channel, when, text))

    @app_commands.command(description="Your reminders")
    @app_commands.describe(cancel="a reminder to end")
    async def schedules(self, interaction: _Interaction, cancel: str | None = None) -> None:
        await interaction.response.defer(ephemeral=True)
        user = str(interaction.user.id)
        if cancel is None:
            await self._answer(interaction, await self._reminders.schedules(user))
        else:
            await self._answer(interaction, await self._reminders.cancel(user, cancel))

    @schedules.autocomplete("cancel")
    async def _own(self, interaction: _Interaction, typed: str) -> list[app_commands.Choice[str]]:
        jobs = await self._reminders.of(str(interaction.user.id))
        named = [(title(job), job.id) for job in jobs]
        fitting = [pair for pair in named if typed.lower() in " ".join(pair).lower()]
        return [app_commands.Choice(name=name, value=value) for name, value in fitting[:25]]

    async def _answer(self, interaction: _Interaction, text: str) -> None:
        nobody = discord.AllowedMentions.none()
        await interaction.followup.send(text, ephemeral=True, allowed_mentions=nobody)


def attach(
    bot: commands.Bot, app: Acron, reminders: Reminders | None = None, *, sync: bool = True
) -> None:
    """Add ``Schedules`` to ``bot`` in its ``setup_hook``, after what that does already.

    ``sync`` tells Discord of the bot's commands at each start; leave it out where the program
    does so itself.
    """
    before = bot.setup_hook

    async def setup_hook() -> None:
        await before()
        await bot.add_cog(Schedules(app, reminders))
        if sync:
            await bot.tree.sync()

    bot.setup_hook = setup_hook  # type: ignore[method-assign]
