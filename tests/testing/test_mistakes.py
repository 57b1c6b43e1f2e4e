"""What a newcomer does wrong with virtual time, and what he is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron
from acron.testing import VirtualTimeError, rehearse, virtual_time

if TYPE_CHECKING:
    from acron.testing import VirtualTime


@pytest.mark.parametrize("verb", ["advance", "jump_clock", "block_loop"])
async def test_a_length_of_time_is_no_text(verb: str, acron_time: VirtualTime) -> None:
    begun = acron_time.now()
    call = getattr(acron_time, verb)

    async def called() -> None:
        done = call("2h")
        await done

    with pytest.raises(TypeError, match="seconds or a timedelta are needed, not '2h'"):
        await called()
    assert acron_time.now() == begun


async def test_a_past_instant_is_called_past(acron_time: VirtualTime) -> None:
    with pytest.raises(ValueError, match=r"2020-01-01 00:00:00\+00:00 is past: it is 2026-01-01"):
        await acron_time.advance_to(datetime(2020, 1, 1, tzinfo=UTC))


async def test_an_instant_without_a_zone_is_told_how_to_have_one(acron_time: VirtualTime) -> None:
    naive = datetime(2027, 1, 1)  # noqa: DTZ001 (the mistake)
    with pytest.raises(ValueError, match="tzinfo=UTC"):
        await acron_time.advance_to(naive)
    with pytest.raises(ValueError, match="tzinfo=UTC"):
        acron_time.set(naive)
    with pytest.raises(ValueError, match="an offset, as in"), virtual_time("2027-01-01"):
        pass


@pytest.mark.parametrize("what", ["a value", "a coroutine"])
async def test_run_until_needs_a_function(what: str, acron_time: VirtualTime) -> None:
    async with Acron("memory://") as app:
        predicate: Any = True if what == "a value" else app.runs()
        with pytest.raises(TypeError, match="run_until needs a function"):
            await acron_time.run_until(predicate)


def test_a_test_without_a_loop_is_told_so(acron_time: VirtualTime) -> None:
    with pytest.raises(VirtualTimeError, match="async def"), acron_time.freeze():
        pass


async def test_a_rehearsal_has_a_loop_of_its_own() -> None:
    with pytest.raises(VirtualTimeError, match="plain `def`"):
        rehearse(Acron("memory://"), days=1)


async def test_an_app_that_was_open_before_is_told_of() -> None:
    async with Acron("memory://"):
        with virtual_time() as time, pytest.raises(VirtualTimeError, match="ask for acron_time"):
            await time.advance(1)
    with virtual_time() as time:
        await time.advance(1)


def test_a_fixture_that_opens_an_app_without_virtual_time_is_told_of(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile("""
        import pytest
        from acron import Acron

        @pytest.fixture
        async def app():
            async with Acron("memory://") as app:
                yield app

        async def test_wrong(app, acron_time):
            await acron_time.advance(hours=3)

        async def test_right(acron_time, app):
            await acron_time.advance(hours=3)
    """)
    options = ("-o", "asyncio_mode=auto", "-p", "no:cacheprovider")
    result = pytester.runpytest_inprocess(
        *options, "-o", "asyncio_default_fixture_loop_scope=function"
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E*VirtualTimeError: an app was opened on this loop before*"])
