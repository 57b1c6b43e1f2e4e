"""``kill -9`` for one app, in the middle of a test that goes on."""
# ruff: noqa: SLF001 - the app's other half

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from acron.app import Acron
from acron.errors import AcronError
from acron.runtime.tasks import current_node
from acron.testing.loop import VirtualTimeError, virtual_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from acron.abc import Store
    from acron.events import Event


class Crashed(AcronError, RuntimeError):
    """The app was crashed by the test: only another one can look at what it left."""


def crash(app: Acron) -> None:
    """Kill ``app`` as ``kill -9`` kills its process: nothing is awaited, nothing is flushed.

    No job, delivery, hook or provider of it, and no task that one of them made, goes on, not even
    to a ``finally``. Its store is left as the system leaves it: locks are free, a transaction
    under way has become durable, those that waited never happen. So another `Acron` on the same
    file, or the same `Store` object, finds what a dead process leaves. A function that is in a
    thread cannot be killed: nobody hears of its end. A subprocess lives on until the test ends.

    The app is dead afterwards: leaving ``async with app:`` does nothing, and every verb raises
    Crashed. Not for jobs of the app itself: a test calls it. Raises WrongLoop when the app is not
    open, VirtualTimeError without virtual time or when its store cannot be dropped (a server's),
    TimeoutError when the store is stuck.
    """
    store: Store = app.store
    loop = virtual_loop()
    drop = getattr(store, "drop", None)
    if drop is None:
        raise VirtualTimeError(f"the store {store.address} cannot be left as the system leaves it")
    runtime, node = app._runtime, app._node.id
    if current_node.get() == node:
        raise VirtualTimeError("a job cannot crash its own app, and go on: let the test do it")
    loop.bury(lambda context: context.get(current_node) == node)
    drop()
    app._events.close()
    if runtime is not None:  # when the test is over and its tasks are let go, they end in order
        runtime.take_no_more()
        runtime.recorder.refuse()
    app._runtime = app._store = app._loop = None
    app.__class__ = type(type(app).__name__, (_Dead, type(app)), {})


class _Dead(Acron):
    """What every crashed app is."""

    def _refuse(self) -> NoReturn:
        raise Crashed(f"this app ({self.app!r}) was crashed: open another one on its store")

    @property
    def store(self) -> Store:
        self._refuse()

    def events(self) -> AsyncIterator[Event]:
        self._refuse()

    async def _open(self, **_: Any) -> None:
        self._refuse()

    async def _close(self) -> None:
        """There is nothing to drain and nothing to let go of."""
