"""WHAT a run does: one module a kind of work. Strangers add theirs by entry points."""

from __future__ import annotations

from acron.abc import Action
from acron.actions.command import CommandAction
from acron.plugins import plugins

GROUP = "acron.actions"


def load_actions() -> dict[str, Action]:
    """All actions but ``call``, which the app makes, by name: acron's own, then strangers'."""
    own: dict[str, Action] = {"command": CommandAction()}
    return own | plugins(GROUP, Action, taken={"call", *own})  # type: ignore[type-abstract]
