"""A Telegram bot: `/briefing weekdays at 9am`, and an agent writes to the chat every morning."""

from __future__ import annotations

import os
from typing import Any

from telegram import Update
from telegram.ext import Application, CommandHandler

from acron import Acron, Prompt, ScheduleError
from acron.integrations.telegram import attach

TELEGRAM = os.environ.get("TELEGRAM_API", "https://api.telegram.org")

telegram = Application.builder().token(os.environ["TELEGRAM_TOKEN"]).base_url(f"{TELEGRAM}/bot")
bot = telegram.build()
store = os.environ.get("BOT_STORE", "sqlite:///briefing.db")
app = Acron(store, app="briefing", adapters={"telegram": bot.bot}, tz="Europe/Paris")
attach(bot, app)


@app.agent
async def ask(prompt: str) -> str:
    """Where your model is asked; this one only repeats what it was told."""
    return f"Good morning! You wanted: {prompt}"


async def briefing(update: Update, context: Any) -> None:
    if update.message is None:
        return
    chat, when = update.message.chat.id, " ".join(context.args)
    prompt = Prompt("the weather, and what is in the calendar, in five lines")
    try:
        job = await app.add(
            when, prompt, id=f"briefing-{chat}", deliver=f"telegram:{chat}", on_conflict="replace"
        )
        await update.message.reply_text(f"The next one: {job.next_fire_at:%a %d %b %H:%M} UTC")
    except ScheduleError as error:
        await update.message.reply_text(str(error))


bot.add_handler(CommandHandler("briefing", briefing))

if __name__ == "__main__":
    bot.run_polling()
