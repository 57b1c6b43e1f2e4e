"""A Telegram bot: `/briefing weekdays at 9am`, and an agent writes to the chat every morning."""

from __future__ import annotations

import os
from typing import Any

from telegram.ext import Application, CommandHandler

from acron import Acron, Prompt, ScheduleError
from acron.integrations.telegram import attach

API = f"{os.environ.get('TELEGRAM_API', 'https://api.telegram.org')}/bot"
PROMPT = Prompt("the weather, and what is in the calendar, in five lines")

bot = Application.builder().token(os.environ["TELEGRAM_TOKEN"]).base_url(API).build()
store = os.environ.get("BOT_STORE", "sqlite:///briefing.db")
app = Acron(store, app="briefing", adapters={"telegram": bot.bot}, tz="Europe/Paris")
attach(bot, app)


@app.agent
async def ask(prompt: str) -> str:
    """Where your model is asked; this one only repeats what it was told."""
    return f"Good morning! You wanted: {prompt}"


async def briefing(update: Any, context: Any) -> None:
    here, when = f"telegram:{update.effective_chat.id}", " ".join(context.args)
    try:
        job = await app.add(when, PROMPT, id=here, deliver=here, on_conflict="replace")
        answer = f"The next one: {job.next_fire_at:%a %d %b %H:%M} UTC"
    except ScheduleError as error:
        answer = str(error)
    await update.effective_message.reply_text(answer)


bot.add_handler(CommandHandler("briefing", briefing))
if __name__ == "__main__":
    bot.run_polling()
