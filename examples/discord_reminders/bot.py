"""A Discord bot with /remind and /schedules. What people ask for is kept in bot.db."""

from __future__ import annotations

import os

import discord
from discord.ext import commands

from acron import Acron
from acron.integrations.discord import attach
from acron.integrations.reminders import Reminders

bot = commands.Bot("!", intents=discord.Intents.default())
app = Acron(
    os.environ.get("BOT_STORE", "sqlite:///bot.db"),
    app="reminders",
    adapters={"discord": bot},
    tz=os.environ.get("BOT_TZ", "UTC"),
)
attach(bot, app, Reminders(app, "discord", quota=50))

if __name__ == "__main__":
    bot.run(os.environ["DISCORD_TOKEN"])
