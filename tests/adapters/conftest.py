from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.adapters.platforms import Platforms

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def server() -> Iterator[Platforms]:
    with Platforms().serving() as found:
        yield found


@pytest.fixture
def platforms(server: Platforms) -> Platforms:
    server.reset()
    return server
