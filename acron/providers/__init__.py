"""Who pulls the trigger. A provider decides *when* and nothing else.

``inprocess`` is the built-in, always there; ``resolve`` picks the one that the settings name
and falls back to it.
"""

from acron.providers.inprocess import InProcessCronScheduler
from acron.providers.resolve import resolve_cron_scheduler

__all__ = ["InProcessCronScheduler", "resolve_cron_scheduler"]
