"""Which provider is used: always one, with one warning when it is not the one that was named."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import pytest

from acron.model import Settings
from acron.providers import InProcessCronScheduler, resolve_cron_scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from acron.abc import CronScheduler

    Write = Callable[..., None]
    Log = pytest.LogCaptureFixture

MINE = """
from acron.abc import CronScheduler

class Mine(CronScheduler):
    @property
    def name(self):
        return "mine"

    async def start(self, stop_event, *, firing, interval=60.0):
        await stop_event.wait()
"""
REGISTER = """
def register(ctx):
    provider = Mine()
    provider.settings = ctx.settings
    ctx.register_cron_scheduler(provider)
"""


@pytest.fixture(autouse=True)
def _no_modules_left() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("_acron_plugin_", "acron_test_")):
            del sys.modules[name]


@pytest.fixture
def plugin(tmp_path: Path) -> Write:
    def write(source: str, file: str = "mine.py") -> None:
        path = tmp_path / "plugins" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)

    return write


@pytest.fixture
def entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Install a distribution with one entry point, as pip would."""

    def install(value: str, source: str, name: str = "mine") -> None:
        site = tmp_path / "site"
        info = site / "acron_test_dist-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: acron-test-dist\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text(f"[acron.providers]\n{name} = {value}\n")
        (site / "acron_test_dist.py").write_text(source)
        monkeypatch.syspath_prepend(str(site))

    return install


def resolve(tmp_path: Path, name: str = "mine") -> CronScheduler:
    path = list(sys.path)
    provider = resolve_cron_scheduler(Settings(provider=name, home=str(tmp_path)))
    assert sys.path == path
    return provider


def falls_back(tmp_path: Path, caplog: Log, because: str, name: str = "mine") -> str:
    with caplog.at_level(logging.INFO):
        assert type(resolve(tmp_path, name)) is InProcessCronScheduler
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("acron.providers", logging.WARNING)
    text = record.getMessage()
    assert because in text
    assert text.endswith("the built-in is used instead")
    assert text.isprintable()
    return text


@pytest.mark.parametrize("name", ["", "  ", "builtin", "in-process", "inprocess", "InProcess"])
def test_the_built_in_by_all_its_names(tmp_path: Path, caplog: Log, name: str) -> None:
    assert type(resolve(tmp_path, name)) is InProcessCronScheduler
    assert caplog.records == []


@pytest.mark.parametrize("name", ["nobody", "my-provider"])
def test_one_that_is_missing(tmp_path: Path, caplog: Log, name: str) -> None:
    assert repr(name) in falls_back(tmp_path, caplog, "was not found", name)


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/b", "a.b", "..", "a\0b", "x" * 10_000, "-x", "é", "a\nb"]
)
def test_no_path_is_made_from_a_name(tmp_path: Path, caplog: Log, name: str, plugin: Write) -> None:
    plugin("raise AssertionError('imported')", "../x.py")
    text = falls_back(tmp_path, caplog, "is not a provider's name", name)
    assert len(text) < 300


class TestPlugin:
    @pytest.mark.parametrize("file", ["mine.py", "mine/__init__.py"])
    def test_a_subclass(self, tmp_path: Path, caplog: Log, plugin: Write, file: str) -> None:
        plugin(MINE, file)
        assert resolve(tmp_path).name == "mine"
        assert caplog.records == []

    @pytest.mark.parametrize("file", ["mine.py", "mine/__init__.py"])
    def test_a_register_function_sees_the_settings(
        self, tmp_path: Path, plugin: Write, file: str
    ) -> None:
        plugin(MINE + REGISTER, file)
        provider = resolve(tmp_path)
        assert provider.name == "mine"
        assert provider.settings.home == str(tmp_path)  # type: ignore[attr-defined]

    def test_a_package_comes_before_a_module(self, tmp_path: Path, plugin: Write) -> None:
        plugin(MINE, "mine/__init__.py")
        plugin("raise AssertionError('the wrong one')", "mine.py")
        assert resolve(tmp_path).name == "mine"

    def test_a_package_may_import_its_own_modules(self, tmp_path: Path, plugin: Write) -> None:
        plugin("from .parts import Mine", "mine/__init__.py")
        plugin(MINE, "mine/parts.py")
        assert resolve(tmp_path).name == "mine"

    def test_it_is_imported_under_a_private_name(self, tmp_path: Path, plugin: Write) -> None:
        plugin(MINE + "import sys; sys.path.insert(0, '/nowhere')", "json.py")
        json = sys.modules["json"]
        assert resolve(tmp_path, "json").name == "mine"
        assert sys.modules["json"] is json

    def test_another_home_has_its_own(self, tmp_path: Path, plugin: Write) -> None:
        plugin("from .parts import Mine", "mine/__init__.py")
        plugin(MINE, "mine/parts.py")
        assert resolve(tmp_path).name == "mine"
        plugin("from .parts import Mine", "../other/plugins/mine/__init__.py")
        plugin(MINE.replace('"mine"', '"other"'), "../other/plugins/mine/parts.py")
        assert resolve(tmp_path / "other").name == "other"

    def test_an_imported_base_class_is_not_meant(self, tmp_path: Path, plugin: Write) -> None:
        plugin("from acron.providers import InProcessCronScheduler\n" + MINE)
        assert resolve(tmp_path).name == "mine"

    @pytest.mark.parametrize(
        "source, because",
        [
            ("", "defines no CronScheduler"),
            (MINE + "class Other(Mine): pass", "defines more than one CronScheduler"),
            ("from acron.abc import CronScheduler\nclass Half(CronScheduler): pass", "defines no"),
            ("def register(ctx): pass", "registered no CronScheduler"),
            ("def register(ctx): ctx.register_cron_scheduler(3)", "3 is not a CronScheduler"),
            ("def register(): pass", "TypeError"),
            ("1 / 0", "ZeroDivisionError: division by zero"),
            ("raise SystemExit('I leave')", "SystemExit: I leave"),
            ("import asyncio; raise asyncio.CancelledError", "CancelledError"),
            ("raise ValueError('two\\nlines \\x1b[31m')", r"two\nlines \x1b[31m"),
            ("this is no Python", "SyntaxError"),
            ("import a_module_that_is_not_there", "ModuleNotFoundError"),
            (MINE + "    def __init__(self): raise OSError('no')", "OSError: no"),
            (MINE + "    def is_available(self): return False", "is not available here"),
            (MINE + "    def is_available(self): raise SystemExit('x')", "SystemExit: x"),
            (MINE.replace('return "mine"', "raise OSError('nameless')"), "OSError: nameless"),
        ],
    )
    def test_one_that_is_broken(
        self, tmp_path: Path, caplog: Log, plugin: Write, source: str, because: str
    ) -> None:
        plugin(source)
        falls_back(tmp_path, caplog, because)

    def test_a_failed_import_leaves_no_module(
        self, tmp_path: Path, caplog: Log, plugin: Write
    ) -> None:
        plugin("from . import parts\n1 / 0", "mine/__init__.py")
        plugin("", "mine/parts.py")
        falls_back(tmp_path, caplog, "ZeroDivisionError")
        assert [name for name in sys.modules if name.startswith("_acron_plugin_mine")] == []

    def test_control_c_is_a_persons(self, tmp_path: Path, plugin: Write) -> None:
        plugin("raise KeyboardInterrupt")
        with pytest.raises(KeyboardInterrupt):
            resolve(tmp_path)


class TestEntryPoint:
    @pytest.mark.parametrize(
        "value, source",
        [
            ("acron_test_dist:Mine", MINE),
            ("acron_test_dist:instance", MINE + "instance = Mine()"),
            ("acron_test_dist:register", MINE + REGISTER),
            ("acron_test_dist", MINE),
        ],
    )
    def test_a_class_an_instance_a_function_a_module(
        self, tmp_path: Path, caplog: Log, entry_point: Write, value: str, source: str
    ) -> None:
        entry_point(value, source)
        assert resolve(tmp_path).name == "mine"
        assert caplog.records == []

    def test_it_comes_before_a_plugin(
        self, tmp_path: Path, entry_point: Write, plugin: Write
    ) -> None:
        entry_point("acron_test_dist:Mine", MINE)
        plugin("raise AssertionError('the wrong one')")
        assert resolve(tmp_path).name == "mine"

    @pytest.mark.parametrize(
        "value, source, because",
        [
            ("acron_test_dist:Gone", MINE, "AttributeError"),
            ("acron_test_gone:Mine", "", "ModuleNotFoundError"),
            ("acron_test_dist:Mine", "class Mine: pass", "is not a CronScheduler"),
            ("acron_test_dist:Mine", "Mine = 3", "is not a CronScheduler but 3"),
            ("acron_test_dist:Mine", "raise SystemExit", "SystemExit"),
        ],
    )
    def test_one_that_is_broken(
        self, tmp_path: Path, caplog: Log, entry_point: Write, value: str, source: str, because: str
    ) -> None:
        entry_point(value, source)
        falls_back(tmp_path, caplog, because)


def test_the_default_home_is_the_user_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugin: Write
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    from platformdirs import user_data_path

    path = user_data_path("acron") / "plugins" / "mine.py"
    path.parent.mkdir(parents=True)
    path.write_text(MINE)
    assert resolve_cron_scheduler(Settings(provider="mine")).name == "mine"


def test_chronos_without_its_settings_names_them(tmp_path: Path, caplog: Log) -> None:
    told = falls_back(tmp_path, caplog, "failed to load", "chronos")
    assert "ACRON_CHRONOS_PORTAL_URL" in told
    assert "ACRON_CHRONOS_TOKEN" in told


def test_ours_are_found_by_name_and_refuse_bad_settings(
    tmp_path: Path, caplog: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolve(tmp_path, "nats").name == "nats"
    monkeypatch.setattr("acron.providers.nats.find_spec", lambda _: None)
    assert 'pip install "acron-runtime[nats]"' in falls_back(tmp_path, caplog, "needs", "nats")
