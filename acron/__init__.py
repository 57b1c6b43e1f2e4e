"""acron: an asyncio-native job scheduler. The architecture in ten lines:

``schedules`` are pure values: text to instants, no clock and no I/O.
``model`` holds the records, ``timetable`` the pure rules of what is owed and when.
``abc`` is the waist: CronScheduler, Firing, Store, Action and Adapter on one page.
``providers`` decide when, and only when: they call ``Firing.tick`` and run no job.
``runtime`` decides what happens then; its file names are the steps of a fire.
``stores`` keep jobs, claims and runs, a transaction a method; the store is the queue.
``actions`` are what a run does; ``adapters`` tell people about it.
``threads`` runs people's blocking code; ``clock`` is the only place that reads time.
``app`` puts it all together: Acron. ``config`` reads settings for it.
``cli`` and ``testing`` stand on top; every module imports only from those below it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acron.abc import (
        Action,
        Adapter,
        Armed,
        Context,
        CronScheduler,
        Fired,
        Firing,
        Message,
        Output,
        Receipt,
        Store,
    )
    from acron.app import Acron
    from acron.clock import Clock, SystemClock
    from acron.config import load_settings
    from acron.errors import (
        AcronError,
        ActionFailed,
        AmbiguousJob,
        ConfigError,
        DeliveryError,
        InvalidJob,
        JobConflict,
        JobNotFound,
        NodeNotFound,
        ProviderDown,
        ScheduleError,
        StoreCorrupt,
        StoreError,
        StoreLocked,
        StoreUnavailable,
        WrongLoop,
    )
    from acron.model import Delivery, Incident, Job, Outcome, Retry, Run, RunState, Settings, Skip
    from acron.providers import InProcessCronScheduler, resolve_cron_scheduler
    from acron.schedules import Schedule
    from acron.specs import Call, Command, Custom, Http, Prompt
    from acron.status import Status

__version__ = "0.1.0"

#: Where each public name lives. Imported on first use: ``import acron`` stays cheap.
_HOMES = {
    "abc": ("Action Adapter Armed Context CronScheduler Fired Firing Message Output Receipt Store"),
    "app": "Acron",
    "clock": "Clock SystemClock",
    "config": "load_settings",
    "errors": (
        "AcronError ActionFailed AmbiguousJob ConfigError DeliveryError InvalidJob JobConflict "
        "JobNotFound NodeNotFound ProviderDown ScheduleError StoreCorrupt StoreError StoreLocked "
        "StoreUnavailable WrongLoop"
    ),
    "model": "Delivery Incident Job Outcome Retry Run RunState Settings Skip",
    "providers": "InProcessCronScheduler resolve_cron_scheduler",
    "schedules": "Schedule",
    "specs": "Call Command Custom Http Prompt",
    "status": "Status",
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Acron",
    "AcronError",
    "Action",
    "ActionFailed",
    "Adapter",
    "AmbiguousJob",
    "Armed",
    "Call",
    "Clock",
    "Command",
    "ConfigError",
    "Context",
    "CronScheduler",
    "Custom",
    "Delivery",
    "DeliveryError",
    "Fired",
    "Firing",
    "Http",
    "InProcessCronScheduler",
    "Incident",
    "InvalidJob",
    "Job",
    "JobConflict",
    "JobNotFound",
    "Message",
    "NodeNotFound",
    "Outcome",
    "Output",
    "Prompt",
    "ProviderDown",
    "Receipt",
    "Retry",
    "Run",
    "RunState",
    "Schedule",
    "ScheduleError",
    "Settings",
    "Skip",
    "Status",
    "Store",
    "StoreCorrupt",
    "StoreError",
    "StoreLocked",
    "StoreUnavailable",
    "SystemClock",
    "WrongLoop",
    "load_settings",
    "parse",
    "resolve_cron_scheduler",
]


def parse(text: str, tz: str | None = None, *, job_id: str | None = None) -> Schedule:
    """The schedule that ``text`` means, counted from now; in UTC unless ``tz`` is given.

    Raises ScheduleError.
    """
    from acron.clock import SystemClock  # noqa: PLC0415 (import acron stays cheap)
    from acron.schedules import parse as parse_at  # noqa: PLC0415

    return parse_at(text, tz=tz or "UTC", now=SystemClock().now(), job_id=job_id)


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        message = f"module 'acron' has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(import_module(f"acron.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
