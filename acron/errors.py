"""Everything acron raises.

All of it has one root::

    AcronError
    ├── ScheduleError        a schedule text (also a ValueError): ``text``, ``position``, ``hint``
    ├── InvalidJob           a job's field (also a ValueError): ``job_id``, ``where``
    ├── JobNotFound          no job or run answers to ``ref``
    ├── NodeNotFound         no live process is node ``node``
    ├── AmbiguousJob         several jobs answer to the name ``ref``: ``ids``
    ├── JobConflict          the job exists, has changed, or is running: ``job_id``
    ├── ActionFailed         a run's work failed: ``output`` is what it had said
    ├── ConfigError          settings: ``where``
    ├── DeliveryError        a target did not take the message: ``retry_after`` seconds
    ├── ProviderDown         what pulls the trigger cannot be reached now
    ├── WrongLoop            an app used from an event loop that is not its own
    └── StoreError           the store, at ``address``
        ├── StoreCorrupt     what is stored cannot be read; nothing was overwritten
        ├── StoreLocked      another process holds it: ``holder``
        └── StoreUnavailable it cannot be reached, read or written now
"""

from __future__ import annotations


class AcronError(Exception):
    """The root: ``except AcronError`` catches all that acron itself raises."""


class ScheduleError(AcronError, ValueError):
    """A schedule text that acron refuses.

    ``text`` is what was given, ``position`` the offset of the offending part in it (None when
    the whole is meant), ``hint`` what would have been accepted.
    """

    def __init__(
        self, message: str, *, text: str, position: int | None = None, hint: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.text = text
        self.position = position
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InvalidJob(AcronError, ValueError):
    """A job that cannot be taken: ``where`` names the field, as a path like ``$.timeout``."""

    def __init__(self, message: str, *, job_id: str | None = None, where: str = "") -> None:
        super().__init__(message)
        self.job_id = job_id
        self.where = where


class JobNotFound(AcronError, LookupError):
    """No job answers to ``ref``; or nothing of another ``kind``: ``run``, ``backfill``…"""

    def __init__(self, ref: str, *, kind: str = "job") -> None:
        super().__init__(f"no {kind} {ref!r}")
        self.ref = ref
        self.kind = kind


class NodeNotFound(AcronError, LookupError):
    """No live process is node ``node``; ``why`` that matters."""

    def __init__(self, node: str, why: str = "") -> None:
        super().__init__(f"no live node {node!r}{why and f': {why}'}")
        self.node = node


class AmbiguousJob(AcronError, LookupError):
    """Several jobs bear the name ``ref``; ``ids`` tells them apart."""

    def __init__(self, ref: str, ids: tuple[str, ...]) -> None:
        super().__init__(f"{ref!r} names {len(ids)} jobs; use an id: {', '.join(ids)}")
        self.ref = ref
        self.ids = ids


class JobConflict(AcronError):
    """The job exists already, has changed since it was read, or is running."""

    def __init__(self, message: str, *, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class ActionFailed(AcronError):
    """A run's work failed, in one line; ``output`` is what it had said by then."""

    def __init__(self, message: str, *, output: str | None = None) -> None:
        super().__init__(message)
        self.output = output


class ConfigError(AcronError, ValueError):
    """A setting that cannot be used; ``where`` is the file and key, or the variable."""

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where


class DeliveryError(AcronError):
    """A target did not take the message.

    ``retry_after`` is how many seconds the platform asks us to wait; ``permanent`` says that
    trying again cannot help; ``unknown`` that it may have gone out all the same, so that nobody
    must send it again unasked.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        permanent: bool = False,
        unknown: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.permanent = permanent
        self.unknown = unknown


class ProviderDown(AcronError):
    """What a provider works with cannot be reached, or cannot be used as it is: the message says
    why. The built-in stands in until ``CronScheduler.ready``."""


class WrongLoop(AcronError, RuntimeError):
    """An ``Acron`` was used while it is not open, or from an event loop other than the one it
    was opened on."""


class StoreError(AcronError):
    """The store at ``address`` failed."""

    def __init__(self, message: str, *, address: str = "") -> None:
        super().__init__(f"{address}: {message}" if address else message)
        self.address = address


class StoreCorrupt(StoreError):
    """What is stored cannot be read. It was left as it is, and copied aside where possible."""


class StoreLocked(StoreError):
    """Another process held the store's lock for longer than we wait."""

    def __init__(self, message: str, *, address: str = "", holder: str = "") -> None:
        super().__init__(message, address=address)
        self.holder = holder


class StoreUnavailable(StoreError):
    """The store cannot be reached, read or written now; nothing was changed."""
