"""One suite per contract of ``acron.abc``; whoever implements one passes it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Imported on first use: a suite needs what its kind of thing needs, and nobody needs them all.
_MODULE_OF = {
    "ActionContract": "actions",
    "AdapterContract": "adapters",
    "ArmingContract": "arming",
    "ProviderContract": "providers",
    "ScheduleContract": "schedules",
    "StoreContract": "stores",
}

__all__ = [
    "ActionContract",
    "AdapterContract",
    "ArmingContract",
    "ProviderContract",
    "ScheduleContract",
    "StoreContract",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value
