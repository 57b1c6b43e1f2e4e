"""The pytest plugin: the fixture ``acron_time``, and the timeline of a test that failed with it.
Registered by entry point."""

from __future__ import annotations

import inspect
import sys
import traceback
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from acron.testing.harness import VirtualTime


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "acron_time(start=…, hold=5.0, grace=1.0, jumps=1_000_000): how the fixture acron_time "
        "begins (an aware datetime or ISO text), and its bounds; see acron.testing.virtual_time",
    )


@pytest.fixture
def acron_time(request: pytest.FixtureRequest) -> Iterator[VirtualTime]:
    """The loop's time and the wall clock are virtual; see `acron.testing.VirtualTime`.

    Synchronous, so that it works under pytest-asyncio (auto and strict) and anyio's plugin. Begins
    at 2026-01-01T00:00:00Z unless the marker ``acron_time`` or a parameter says otherwise.
    """
    from acron.testing.harness import virtual_time  # noqa: PLC0415 (pytest starts without it)

    _refuse_trio(request)
    marker = request.node.get_closest_marker("acron_time")
    options: dict[str, Any] = dict(marker.kwargs) if marker else {}
    if marker and marker.args:
        options["start"] = marker.args[0]
    if hasattr(request, "param"):
        options["start"] = request.param
    test = inspect.unwrap(request.function) if request.function else None
    with virtual_time(**options, body=getattr(test, "__code__", None)) as time:
        yield time


def _refuse_trio(request: pytest.FixtureRequest) -> None:
    """Or its sleeps would take real time, and months never pass."""
    if "anyio_backend" not in request.fixturenames:
        return
    backend = request.getfixturevalue("anyio_backend")
    name = backend if isinstance(backend, str) else backend[0]
    if name != "asyncio":
        from acron.testing.loop import VirtualTimeError  # noqa: PLC0415

        raise VirtualTimeError(
            f"this test runs on {name}: virtual time, like acron, needs asyncio (let the fixture "
            "anyio_backend give 'asyncio')"
        )


# The old kind of wrapper: a pytest of any age loads us, also where nothing of acron is tested.
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, None]:
    """Draw what happened to each app that the failing test has at hand."""
    report: pytest.TestReport = (yield).get_result()
    # Where neither was imported nobody can have an app in virtual time.
    if report.failed and call.excinfo is not None and set(sys.modules) >= _USED:
        from acron.testing.story import drawings  # noqa: PLC0415 (pytest starts without it)

        values = list(getattr(item, "funcargs", {}).values())
        for frame, _ in traceback.walk_tb(call.excinfo.tb):
            values += frame.f_locals.values()
        report.sections += [("acron timeline", drawing) for drawing in drawings(values)]


_USED = {"acron.app", "acron.testing.harness"}
