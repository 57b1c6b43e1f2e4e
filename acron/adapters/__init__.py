"""How people are told: one module a platform. Strangers add theirs by entry points."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acron.abc import Adapter
from acron.adapters.local import LocalAdapter
from acron.adapters.log import LogAdapter
from acron.plugins import plugins

if TYPE_CHECKING:
    from pathlib import Path

GROUP = "acron.adapters"


def load_adapters(root: Path) -> dict[str, Adapter]:
    """The adapters that need no client, by name: acron's own, then strangers'.

    ``root`` is the directory in which ``local`` writes.
    """
    own: dict[str, Adapter] = {"local": LocalAdapter(root), "log": LogAdapter()}
    return own | plugins(GROUP, Adapter, taken=own)  # type: ignore[type-abstract]
