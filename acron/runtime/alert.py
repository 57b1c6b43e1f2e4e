"""Tell people of incidents, once each: a log line, an event, and the targets of ``alerts``.

An incident is ``detected`` until somebody was told and ``alerted`` from then on, durably. Who
dies between the two tells again after the restart: at least once, and mostly once.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from acron import incidents
from acron.contain import meant_for_us
from acron.events import Alerted
from acron.model import Decision, Run, RunState
from acron.runtime.deliver import SEND_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime
    from typing import Any

    from acron.model import Incident, Job
    from acron.runtime import Runtime

log = logging.getLogger("acron.incidents")

#: Incidents told of at a time.
BATCH = 20
#: What is detected for longer, and not by us, was left so by a process that died.
LEFT = timedelta(seconds=2 * SEND_TIMEOUT)
#: Jobs with incidents that are looked at.
LOOKED_AT = 10_000
_HAS = {"failure": "has failed", "absence": "has not fired", "misfire": "was missed"}


class Alerter:
    """Tells of what is ``noticed``. ``do`` makes a task that the runtime awaits."""

    def __init__(
        self,
        rt: Runtime,
        do: Callable[[Coroutine[Any, Any, object], str], object],
        targets: tuple[str, ...],
    ) -> None:
        self._rt = rt
        self._do = do
        self._targets = targets
        self._waiting: dict[str, tuple[Job, Incident]] = {}
        self._known: set[str] = set()  # noticed here, and not ``alerted`` yet
        self._said: set[str] = set()  # of these, what was logged
        self._untold: dict[str, tuple[Job, Incident]] = {}  # no target took it, or no store
        self._busy = False

    def noticed(self, job: Job | None) -> None:
        """Tell of the job's incidents that are new."""
        if job is None:
            return
        for one in job.incidents:
            if one.state == "detected" and one.id not in self._known:
                self._known.add(one.id)
                self._waiting[one.id] = (job, one)
        self._begin()

    def try_again(self) -> None:
        """Tell of what could not be told."""
        self._waiting |= self._untold
        self._untold.clear()
        self._begin()

    async def look(self, now: datetime) -> bool:
        """Find what a process that died has left untold. Whether there is some that another
        process may be about to tell: then look again."""
        fresh = False
        for job in await self._rt.store.incidents(LOOKED_AT):
            left = [one for one in job.incidents if one.state == "detected"]
            if any(one.last_at < now - LEFT for one in left):
                self.noticed(job)
            else:
                fresh |= bool(left)
        return fresh

    def _begin(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            self._do(self._work(), "alerts")

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch = dict(list(self._waiting.items())[:BATCH])
                for incident_id in batch:
                    del self._waiting[incident_id]
                try:
                    await self._tell(batch)
                except BaseException as error:
                    self._untold |= batch
                    if meant_for_us(error):
                        raise
                    self._rt.pulse.trouble(f"cannot tell of {len(batch)} incidents", error)
        finally:
            self._busy = False

    async def _tell(self, batch: dict[str, tuple[Job, Incident]]) -> None:
        told = await asyncio.gather(*(self._one(job, one) for job, one in batch.values()))
        done: dict[str, list[str]] = {}
        for (incident_id, (job, one)), was_told in zip(batch.items(), told, strict=True):
            if was_told:
                done.setdefault(job.id, []).append(incident_id)
            else:
                self._untold[incident_id] = (job, one)

        def change(job_id: str, job: Job | None, *_: object) -> Decision:
            for incident_id in done[job_id] if job is not None else ():
                job = job and incidents.alerted(job, incident_id)
            return Decision(job)

        if done:
            await self._rt.store.write(list(done), change, self._rt.clock.now())
        for incident_id in batch.keys() - self._untold.keys():
            self._known.discard(incident_id)
            self._said.discard(incident_id)

    async def _one(self, job: Job, incident: Incident) -> bool:
        """Whether somebody was told: a target took it, or there is none but the log."""
        if incident.id not in self._said:
            self._said.add(incident.id)
            log.error("job %s %s (incident %s): %s", job.id, *_parts(incident))
            if self._rt.events.wanted:
                self._rt.events.emit(Alerted(self._rt.clock.now(), job, incident))
        if not self._targets:
            return True
        run = Run(
            id=f"incident-{incident.id.rpartition('/')[2]}",
            job_id=job.id,
            due_at=incident.first_at,
            state=RunState.FAILED,
            error=incident.error,
        )
        text = text_of_alert(job, incident)
        sent = await asyncio.gather(
            *(self._rt.deliverer.send(job, run, target, text) for target in self._targets)
        )
        return any(one.state in {"delivered", "unverified"} for one in sent)


def _parts(incident: Incident) -> tuple[str, str, str]:
    return _HAS[incident.kind], incident.id, incident.error


def text_of_alert(job: Job, incident: Incident) -> str:
    """What a target is told."""
    times = f" {incident.count} times" if incident.count > 1 else ""
    return (
        f"{job.name or job.id} {_HAS[incident.kind]}{times}: {incident.error}\n\n"
        f"Incident {incident.id}. Look with: acron incidents; acron runs {job.id}"
    )
