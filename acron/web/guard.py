"""Connections that must say what they want: uvicorn bounds how many there are, not how slow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    from typing import Any

#: Seconds from a connection's opening, or a request's first byte, to the end of its headers.
HEADERS = 10.0


class GuardedProtocol(H11Protocol):
    """Closes a connection whose request line and headers take too long; nothing has been told it
    by then. Bodies are the app's to bound, and idle connections uvicorn's."""

    _guard: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._let_go()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if not self._waits():
            self._let_go()
        elif self._guard is None:
            self._guard = self.loop.call_later(HEADERS, self._give_up)

    def _waits(self) -> bool:
        """Whether no request is under way. (Once it is upgraded, it is no connection of ours.)"""
        cycle = self.cycle
        ours = self.transport.get_protocol() is self
        return ours and (cycle is None or cycle.response_complete)

    def _let_go(self) -> None:
        if self._guard is not None:
            self._guard.cancel()
            self._guard = None

    def _give_up(self) -> None:
        self._guard = None
        if self._waits():
            self.transport.close()
