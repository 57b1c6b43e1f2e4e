"""The fixture under the async plugins there are, each in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A pytest within ours lets go of the modules that it was first to import: the next one would have
# another ``Acron``.
import acron.app
import acron.testing.story  # noqa: F401

SUITE = """
    import asyncio
    from datetime import UTC, datetime, timedelta
    import anyio
    import pytest
    from acron.testing import START, WaitsForever

    {mark}

    @pytest.fixture
    async def resource():
        await asyncio.sleep(0)
        yield "resource"
        await asyncio.sleep(0)

    async def test_month(acron_time, resource):
        asyncio.get_running_loop().call_later(86400, lambda: None)
        await asyncio.to_thread(lambda: None)
        assert acron_time.now() == START
        await acron_time.advance(days=30)
        await anyio.sleep(1)
        assert acron_time.now() == START + timedelta(days=30, seconds=1)

    async def test_each_begins_anew(acron_time):
        assert acron_time.now() == START

    @pytest.mark.acron_time("2027-01-01T00:00:00Z", grace=0.01)
    async def test_stuck(acron_time):
        assert acron_time.now().year == 2027
        await asyncio.Event().wait()

    async def test_real_time_afterwards():
        assert not hasattr(asyncio.get_running_loop(), "acron_hold")
        assert abs((datetime.now(UTC) - START).total_seconds()) > 1
"""


@pytest.fixture
def clean(pytester: pytest.Pytester) -> pytest.Pytester:
    """No settings but the test's own."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    return pytester


def _check(result: pytest.RunResult) -> None:
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            ">*await asyncio.Event().wait()",
            "E *WaitsForever: nothing can happen any more*",
        ]
    )


def test_asyncio_auto(clean: pytest.Pytester) -> None:
    clean.makepyfile(SUITE.replace("{mark}", ""))
    _check(clean.runpytest_inprocess("--asyncio-mode=auto", "-W", "error"))


@pytest.mark.parametrize("scope", ["function", "module"])
def test_asyncio_strict(clean: pytest.Pytester, scope: str) -> None:
    suite = SUITE.replace("{mark}", f"pytestmark = pytest.mark.asyncio(loop_scope='{scope}')")
    fixture = "    import pytest_asyncio\n\n    @pytest_asyncio.fixture"
    suite = suite.replace("    @pytest.fixture", f"{fixture}(loop_scope='{scope}')")
    clean.makepyfile(suite)
    _check(clean.runpytest_inprocess("--asyncio-mode=strict", "-W", "error"))


def test_anyio(clean: pytest.Pytester) -> None:
    backend = "@pytest.fixture\n    def anyio_backend():\n        return 'asyncio'"
    clean.makepyfile(SUITE.replace("{mark}", f"pytestmark = pytest.mark.anyio\n\n    {backend}"))
    _check(clean.runpytest_inprocess("--asyncio-mode=strict", "-W", "error"))


FAILING = """
    import asyncio
    import pytest
    from acron import Acron
    from acron.testing import crash

    {mark}

    def make(acron_time, app, store):
        app = Acron(store, app=app, clock=acron_time.clock)

        @app.job("every 1m", timeout=10)
        async def work():
            await asyncio.sleep(30)

        return app

    @pytest.fixture
    async def opened(acron_time):
        async with make(acron_time, "fixture", "memory://") as app:
            yield app

    async def test_open_in_a_fixture(acron_time, opened):
        await acron_time.advance(seconds=65)
        assert await opened.runs() == []

    async def test_closed(acron_time, tmp_path):
        mine = make(acron_time, "closed", f"sqlite:///{tmp_path}/jobs.db")
        async with mine:
            await acron_time.advance(seconds=65)
            raise ValueError("no")

    async def test_dead(acron_time, tmp_path):
        mine = make(acron_time, "dead", str(tmp_path / "jobs.json"))
        async with mine:
            await acron_time.advance(seconds=65)
            crash(mine)
            await mine.runs()

    async def test_in_real_time(tmp_path):
        async with Acron("memory://", app="real") as app:
            assert await app.runs()
"""


def test_a_failed_test_draws_what_happened(clean: pytest.Pytester) -> None:
    clean.makepyfile(FAILING.replace("{mark}", ""))
    result = clean.runpytest_inprocess("--asyncio-mode=auto", "-W", "error")
    result.assert_outcomes(failed=4)
    pages = result.stdout.str().split(" acron timeline -")[1:]
    first = [page.splitlines()[1:5] for page in pages]
    assert [lines[0].partition(",")[0] for lines in first] == [
        "fixture: 1 run",
        "closed: 1 run",
        "dead: 1 run",
    ]
    begins = ["  Thu 2026-01-01", "  00:01:00               ╭ work  starts"]
    goes_on = "  00:01:05          +5s  │ now"
    assert first[0][1:] == first[2][1:] == [*begins, goes_on]
    ended = "  00:01:10         +10s  ╰ work  timed out: did not end within 10 s"
    assert first[1][1:] == [*begins, ended]


def test_a_drawing_that_fails_hides_no_failure(
    clean: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean.makepyfile("""
        from acron import Acron

        async def test_broken(acron_time, tmp_path):
            path = tmp_path / "jobs.json"
            async with Acron(str(path), clock=acron_time.clock) as app:
                pass
            path.with_suffix(".journal").write_text("junk")
            assert "the test's own" == "failure"
    """)
    result = clean.runpytest_inprocess("--asyncio-mode=auto", "-W", "error")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E *the test's own*", "acron: the timeline cannot be drawn: StoreCorrupt: *"]
    )


def test_a_value_that_raises_when_it_is_looked_at_hides_no_failure(
    clean: pytest.Pytester,
) -> None:
    clean.makepyfile("""
        from acron import Acron

        class Proxy:
            @property
            def __class__(self):
                raise RuntimeError("there is nothing behind this proxy")

        async def test_broken(acron_time):
            proxy = Proxy()
            app = Acron("memory://", clock=acron_time.clock)
            async with app:
                assert "the test's own" == "failure"
    """)
    result = clean.runpytest_inprocess("--asyncio-mode=auto", "-W", "error", "--tb=native")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the test's own*", "acron: 0 runs*"])


def test_an_app_that_could_not_be_made_hides_no_failure(clean: pytest.Pytester) -> None:
    clean.makepyfile("""
        from acron import Acron

        async def test_broken(acron_time):
            Acron("memory://", tz="Berlin")

        async def test_after_it(acron_time):
            assert Acron("memory://")
    """)
    result = clean.runpytest_inprocess("--asyncio-mode=auto", "-W", "error")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["E *ConfigError: tz: unknown zone 'Berlin'*"])


CRASH = """
    import asyncio
    import pytest
    from acron import Acron
    from acron.testing import crash

    {mark}

    async def test_crash(acron_time, caplog):
        app = Acron("memory://", clock=acron_time.clock)
        told = []

        @app.job("every 1m", overlap="allow", retry=3)
        async def work():
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(90))
                    group.create_task(asyncio.to_thread(told.append, "began"))
                process = await asyncio.create_subprocess_exec("sleep", "0")
                await process.wait()
                await asyncio.sleep(3600)
            finally:
                told.append("finally")

        async with app:
            await acron_time.advance(minutes=5)
            assert told == ["began"] * 5
            crash(app)
            await acron_time.advance(days=1)
        assert told == ["began"] * 5
        assert caplog.text == ""
"""


@pytest.mark.parametrize("plugin", ["asyncio", "anyio"])
def test_a_crash_is_quiet_to_the_end(clean: pytest.Pytester, plugin: str) -> None:
    clean.makepyfile(CRASH.replace("{mark}", f"pytestmark = pytest.mark.{plugin}"))
    result = clean.runpytest_inprocess(
        "--asyncio-mode=strict", "-W", "error", "-k", "not trio", "-rA", "--log-level=WARNING"
    )
    assert result.parseoutcomes()["passed"] == 1
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*Task was destroyed*")
    result.stderr.no_fnmatch_line("?*")


def test_uvloop_is_refused(clean: pytest.Pytester) -> None:
    pytest.importorskip("uvloop")
    clean.makepyfile("""
        import pytest

        pytestmark = pytest.mark.anyio

        @pytest.fixture
        def anyio_backend():
            return "asyncio", {"use_uvloop": True}

        async def test_never_begins(acron_time):
            print("it has begun")
    """)
    result = clean.runpytest_inprocess("--asyncio-mode=strict", "-s")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *VirtualTimeError: uvloop.Loop*run this test without uvloop*"])
    result.stdout.no_fnmatch_line("it has begun")


def test_a_stuck_thread_fails_the_test_where_warnings_are_errors(clean: pytest.Pytester) -> None:
    clean.makepyfile("""
        import asyncio, time
        import pytest

        @pytest.mark.acron_time(hold=0.02)
        async def test_slow(acron_time):
            await asyncio.to_thread(time.sleep, 0.1)
            await asyncio.sleep(1)
    """)
    result = clean.runpytest_inprocess("--asyncio-mode=auto", "-W", "error")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E *HoldDropped: executor: sleep held virtual time for 0.02 s*"])


def test_the_marker_is_known(clean: pytest.Pytester) -> None:
    clean.runpytest_inprocess("--markers").stdout.fnmatch_lines(["*pytest.mark.acron_time(start*"])


@pytest.mark.parametrize("module", ["acron.testing", "acron.testing.harness"])
def test_nothing_but_the_plugin_needs_pytest(module: str) -> None:
    program = f"import sys, {module}; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_plugin_costs_a_pytest_that_does_not_use_it_nothing() -> None:
    program = (
        "import sys, pytest, acron.testing.plugin; "
        "print(*sorted({'asyncio', 'anyio', 'msgspec'} & set(sys.modules)))"
    )
    plain = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert plain.split() == []


def test_trio_is_refused(clean: pytest.Pytester) -> None:
    clean.makepyfile("""
        import anyio
        import pytest

        @pytest.fixture(params=["asyncio", "trio"])
        def anyio_backend(request):
            return request.param

        @pytest.mark.anyio
        async def test_an_hour(acron_time):
            await anyio.sleep(3600)
    """)
    result = clean.runpytest_inprocess("--asyncio-mode=strict")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E *VirtualTimeError: this test runs on trio: *"])


def test_apps_inside_of_what_the_test_has_are_drawn(clean: pytest.Pytester) -> None:
    clean.makepyfile("""
        from types import SimpleNamespace
        import pytest
        from acron import Acron

        @pytest.fixture
        async def pair(acron_time):
            async with Acron("memory://", app="in a tuple") as app:
                yield app, "chat"

        class TestBot:
            async def test_broken(self, acron_time, pair):
                self.app = Acron("memory://", app="in self")
                bots = {"one": Acron("memory://", app="in a dict", clock=acron_time.clock)}
                async with self.app:
                    assert "the test's own" == "failure"
    """)
    result = clean.runpytest_inprocess("--asyncio-mode=auto", "-W", "error")
    result.assert_outcomes(failed=1)
    for name in ("in a tuple", "in self", "in a dict"):
        result.stdout.fnmatch_lines([f"{name}: 0 runs*"])
