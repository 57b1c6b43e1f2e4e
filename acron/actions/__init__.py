"""WHAT a run does: one module a kind of work. Strangers add theirs by entry points."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acron.abc import Action
from acron.plugins import close_all, plugins

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GROUP = "acron.actions"


def load_actions(own: Iterable[Action]) -> dict[str, Action]:
    """All actions by name: acron's ``own``, which the app makes, then strangers'."""
    named = {action.name: action for action in own}
    return named | plugins(GROUP, Action, taken=named)  # type: ignore[type-abstract]


async def close_actions(actions: Mapping[str, Action]) -> None:
    """Let each let go of what it keeps, within 2 s. One that fails stops no other."""
    await close_all("action", actions, 2.0)
