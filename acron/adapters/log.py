"""Tell the log."""

from __future__ import annotations

import logging

from acron.abc import Adapter, Message, Receipt
from acron.model import RunState
from acron.text import one_line

logger = logging.getLogger("acron.deliver")

#: Characters of text in one line; the run row has the rest.
LIMIT = 2000


class LogAdapter(Adapter):
    """One line a message on the logger ``acron.deliver``: a warning when the run failed.

    Gives no evidence, so that its deliveries stay ``unverified``: whether a handler wrote the
    line, and where, only the host's logging knows.
    """

    repeatable = True
    verbatim = True

    @property
    def name(self) -> str:
        return "log"

    async def send(self, message: Message) -> Receipt:
        job, run = message.job, message.run
        level = logging.INFO if run.state is RunState.SUCCEEDED else logging.WARNING
        title = one_line(job.name or job.id, 200)
        text = one_line(message.text.strip(), LIMIT)
        ids = {"job_id": one_line(job.id, 200), "run_id": run.id}
        logger.log(level, "%s, run %s %s: %s", title, run.id, run.state.value, text, extra=ids)
        return Receipt()
