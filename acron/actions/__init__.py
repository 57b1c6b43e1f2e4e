"""WHAT a run does: one module a kind of work. Strangers add theirs by entry points."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from acron.abc import Action
from acron.contain import meant_for_us, text_of
from acron.plugins import plugins
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

log = logging.getLogger("acron.actions")

GROUP = "acron.actions"


def load_actions(own: Iterable[Action]) -> dict[str, Action]:
    """All actions by name: acron's ``own``, which the app makes, then strangers'."""
    named = {action.name: action for action in own}
    return named | plugins(GROUP, Action, taken=named)  # type: ignore[type-abstract]


async def close_actions(actions: Mapping[str, Action]) -> None:
    """Let each let go of what it keeps, within 2 s. One that fails stops no other."""

    async def close(name: str, action: Action) -> None:
        try:
            await action.close()
        except BaseException as error:
            if meant_for_us(error):
                raise
            log.warning("action %s did not close: %s", name, one_line(text_of(error)))

    closing = {asyncio.create_task(close(*one), name=f"close {one[0]}") for one in actions.items()}
    _, late = await asyncio.wait(closing, timeout=2.0)
    for task in late:
        log.warning("%s: it did not end within 2 s", task.get_name())
        task.cancel()
