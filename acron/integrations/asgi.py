"""FastAPI, Starlette and other ASGI servers: an acron that lives as long as the application.

::

    app = Acron("postgresql://localhost/shop")
    web = FastAPI(lifespan=app.lifespan)                  # alone
    web = FastAPI(lifespan=lifespan(app, around=mine))    # with a lifespan that you have

Each worker of ``uvicorn --workers 4`` is a node; on one store an occurrence fires once. Workers
cannot share a memory store, and a second one that tries is refused.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from acron.app import Acron

    Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def lifespan(app: Acron, *, around: Lifespan | None = None) -> Lifespan:
    """A lifespan that opens ``app`` inside ``around``: what jobs use is there before they fire,
    and after the last has ended. The state that ``around`` yields is the application's."""
    if around is None:
        return app.lifespan

    @asynccontextmanager
    async def both(web: Any) -> AsyncIterator[Any]:
        async with around(web) as state, app.lifespan(web):
            yield state

    return both
