"""Settings from a file, the environment and arguments; every refusal names its place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from acron.config import home_dir, load_settings, store_url
from acron.errors import ConfigError
from acron.model import Settings


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def write(home: Path, text: str | bytes) -> Path:
    home.mkdir(exist_ok=True)
    file = home / "acron.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def load(home: Path, environ: dict[str, str] | None = None, **overrides: Any) -> Settings:
    return load_settings(home, environ or {}, **overrides)


def refused(home: Path, environ: dict[str, str] | None = None, **overrides: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(home, environ, **overrides)
    assert str(caught.value).startswith(f"{caught.value.where}: ")
    assert "\n" not in str(caught.value)
    return caught.value


class TestLayers:
    def test_nothing_set_is_the_defaults(self, home: Path) -> None:
        assert load(home) == Settings(home=str(home))

    def test_all_settings_from_the_file(self, home: Path) -> None:
        write(
            home,
            'store = "sqlite:///x.db"\ntz = "Europe/Paris"\nprovider = "nats"\ninterval = 5\n'
            "max_running = 7\ndrain_timeout = 1.5\nmax_threads = 3\nretention_days = 2\n"
            "retention_runs = 9\n",
        )
        assert load(home) == Settings(
            store="sqlite:///x.db",
            home=str(home),
            tz="Europe/Paris",
            provider="nats",
            interval=5.0,
            max_running=7,
            drain_timeout=1.5,
            max_threads=3,
            retention_days=2.0,
            retention_runs=9,
        )

    def test_every_setting_has_a_variable(self, home: Path) -> None:
        texts = {
            "store": "memory://",
            "home": str(home),
            "tz": "Asia/Tokyo",
            "provider": "x",
            "interval": "2.5",
            "max_running": "7",
            "catch_up_rate": "0",
            "drain_timeout": "0",
            "max_threads": "3",
            "retention_days": "0.5",
            "retention_runs": "9",
            "blocked_after": "0.25",
            "blocked_limit": "90",
        }
        lists = {"alerts"}  # tested below
        tables = {"calendars"}  # these have names of their own: only the file can hold them
        assert set(texts) | tables | lists == set(Settings.__struct_fields__)
        settings = load_settings(
            environ={f"ACRON_{name.upper()}": text for name, text in texts.items()}
        )
        for name, text in texts.items():
            value = getattr(settings, name)
            assert value == (text if isinstance(value, str) else float(text)), name

    def test_a_list_may_be_a_text_with_commas(self, home: Path) -> None:
        variables = {"ACRON_ALERTS": "telegram:-1, log,"}
        assert load(home, variables).alerts == ("telegram:-1", "log")
        write(home, 'alerts = ["log", "local"]\nblocked_limit = "10m"')
        settings = load(home)
        assert (settings.alerts, settings.blocked_limit) == (("log", "local"), 600)
        for text, told in (
            ('alerts = ["log", ""]', r"alerts\[1\]"),
            ("alerts = [1]", r"alerts\[0\]"),
            ("blocked_after = -1", "at least 0"),
        ):
            write(home, text)
            with pytest.raises(ConfigError, match=told):
                load(home)

    def test_calendars_are_read_and_checked(self, home: Path) -> None:
        write(home, '[calendars]\ncompany = ["2026-12-24..2027-01-02", "saturday"]')
        assert load(home).calendars == {"company": ("2026-12-24..2027-01-02", "saturday")}
        write(home, '[calendars]\ncompany = ["someday"]')
        with pytest.raises(ConfigError, match=r"calendars\.company: 'someday' is not a day"):
            load(home)

    def test_argument_over_variable_over_file_over_default(self, home: Path) -> None:
        write(home, "interval = 1\nmax_running = 1\nmax_threads = 1")
        environ = {"ACRON_INTERVAL": "2", "ACRON_MAX_RUNNING": "2"}
        settings = load(home, environ, interval=3)
        assert (settings.interval, settings.max_running, settings.max_threads) == (3, 2, 1)
        assert settings.retention_runs == 1000

    def test_what_is_empty_or_none_is_not_set(self, home: Path) -> None:
        write(home, "interval = 7")
        environ = {"ACRON_INTERVAL": "", "ACRON_TZ": "  ", "ACRON_HOME": ""}
        assert load(home, environ, interval=None, tz=None) == Settings(home=str(home), interval=7)

    def test_variables_of_others_are_left_alone(self, home: Path) -> None:
        assert load(home, {"ACRON_JOB_ID": "x", "ACRON_NATS_URL": "y"}) == Settings(home=str(home))

    def test_the_process_environment_is_the_default(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ACRON_HOME", str(home))
        monkeypatch.setenv("ACRON_INTERVAL", "11")
        assert load_settings().interval == 11


class TestValues:
    @pytest.mark.parametrize(
        "text, seconds", [("5m", 300), ("1h30m", 5400), ("90", 90), ("1e2", 100), ("PT45M", 2700)]
    )
    def test_seconds_as_a_length_of_time(self, home: Path, text: str, seconds: float) -> None:
        assert load(home, {"ACRON_INTERVAL": text}).interval == seconds
        assert load(home, drain_timeout=text).drain_timeout == seconds

    def test_a_length_of_time_in_the_file(self, home: Path) -> None:
        write(home, 'interval = "5m"\ndrain_timeout = "10s"')
        assert (load(home).interval, load(home).drain_timeout) == (300, 10)

    def test_the_zone_gets_its_proper_name(self, home: Path) -> None:
        assert load(home, {"ACRON_TZ": "europe/paris"}).tz == "Europe/Paris"

    @pytest.mark.parametrize(
        "line, message",
        [
            ('interval = "soon"', "$.interval: Expected float, got str"),
            ("interval = [1]", "$.interval: Expected float, got array"),
            ("interval = 00:05:00", "$.interval: Expected float, got time"),
            ("interval = true", "$.interval: Expected float, got bool"),
            ("interval = 0", "$.interval: must be more than 0, not 0"),
            ("interval = -0.5", "$.interval: must be more than 0, not -0.5"),
            ("interval = inf", "$.interval: must be a finite number, not inf"),
            ("interval = nan", "$.interval: must be a finite number, not nan"),
            ("drain_timeout = -1", "$.drain_timeout: must be at least 0, not -1"),
            ("max_running = 0", "$.max_running: must be at least 1, not 0"),
            ("max_running = 1.5", "$.max_running: Expected int, got float"),
            ('max_running = "5"', "$.max_running: Expected int, got str"),
            ("max_threads = 0", "$.max_threads: must be at least 1, not 0"),
            ("retention_days = 0", "$.retention_days: must be more than 0, not 0"),
            ('retention_days = "30d"', "$.retention_days: Expected float, got str"),
            ("retention_runs = 0", "$.retention_runs: must be at least 1, not 0"),
            ("store = 3", "$.store: Expected str, got int"),
            ('store = "a\\u0000b"', "$.store: must not contain a NUL character"),
            ('tz = "Europe/Pariss"', "$.tz: unknown zone 'Europe/Pariss' (did you mean 'Europe/"),
            ('tz = "../x"', "$.tz: unknown zone '../x'"),
            ('tz = "Europe"', "$.tz: unknown zone 'Europe'"),
            ("intervall = 3", "$.intervall: unknown setting (did you mean 'interval'?)"),
            ("zzz = 3", "$.zzz: unknown setting (there are store, home, tz"),
            ("[jobs]", "$.jobs: unknown setting"),
        ],
    )
    def test_a_bad_value_in_the_file(self, home: Path, line: str, message: str) -> None:
        file = write(home, f"max_threads = 5\n{line}" if "max_threads" not in line else line)
        error = refused(home)
        assert str(error).startswith(f"{file}: {message}")

    @pytest.mark.parametrize(
        "variable, text, message",
        [
            (
                "ACRON_INTERVAL",
                "soon",
                "Expected float, got str (seconds, or a length of time such",
            ),
            ("ACRON_INTERVAL", "0", "must be more than 0"),
            ("ACRON_INTERVAL", "nan", "must be a finite number"),
            ("ACRON_MAX_RUNNING", "many", "Expected int, got str"),
            ("ACRON_MAX_RUNNING", "0", "must be at least 1"),
            ("ACRON_TZ", "Mars", "unknown zone 'Mars'"),
            ("ACRON_STORE", "a\0b", "must not contain a NUL character"),
            ("ACRON_HOME", "~nobody-of-that-name/x", "'~nobody-of-that-name/x'"),
        ],
    )
    def test_a_bad_variable(self, home: Path, variable: str, text: str, message: str) -> None:
        error = refused(home, {variable: text})
        assert error.where == variable
        assert message in str(error)

    def test_a_bad_argument(self, home: Path) -> None:
        assert refused(home, interval=0).where == "interval"
        assert refused(home, intervall=1).where == "intervall"
        assert refused(home, interval=object()).where == "interval"

    def test_a_bad_value_is_refused_though_another_wins(self, home: Path) -> None:
        write(home, "interval = 0")
        assert "$.interval" in refused(home, interval=5).where


class TestFile:
    @pytest.mark.parametrize(
        "content, message",
        [
            ("interval = ", "Invalid value (at end of document)"),
            ("\n\nx = = 1", "line 3"),
            ("interval = 1\ninterval = 2", "Cannot overwrite a value"),
            (b"\xff\xfe\x00", "can't decode"),
            (b"\0\0\0", "line 1"),
            ("interval = " + "[" * 100_000, "nested too deeply"),
            (r'"a\nb" = 3', r"'a\nb': unknown setting"),
        ],
    )
    def test_one_that_is_no_toml(self, home: Path, content: str | bytes, message: str) -> None:
        file = write(home, content)
        error = refused(home)
        assert error.where.startswith(str(file))
        assert message in str(error)

    def test_an_empty_one_and_a_byte_order_mark_are_fine(self, home: Path) -> None:
        write(home, "")
        assert load(home).interval == 60
        write(home, b"\xef\xbb\xbfinterval = 3")
        assert load(home).interval == 3

    def test_one_that_cannot_be_read(self, home: Path) -> None:
        (home / "acron.toml").mkdir(parents=True)
        assert "Is a directory" in str(refused(home))

    def test_a_home_that_is_a_file(self, home: Path) -> None:
        home.write_text("")
        error = refused(home)
        assert "Not a directory" in str(error)
        assert error.where == str(home / "acron.toml")

    def test_nothing_is_created(self, home: Path) -> None:
        load(home)
        assert not home.exists()


class TestPlaces:
    def test_home_and_store_by_default(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        monkeypatch.setenv("HOME", str(tmp_path))
        from platformdirs import user_data_dir

        settings = load_settings(environ={})
        assert home_dir(settings) == Path(user_data_dir("acron"))
        assert tmp_path in home_dir(settings).parents
        assert store_url(settings) == str(home_dir(settings) / "jobs.json")

    def test_a_store_of_ones_own(self, home: Path) -> None:
        assert store_url(load(home, store="sqlite:///x.db")) == "sqlite:///x.db"
        assert store_url(load(home)) == str(home / "jobs.json")

    def test_argument_then_variable_then_default(self, tmp_path: Path) -> None:
        environ = {"ACRON_HOME": str(tmp_path / "a")}
        assert home_dir(load_settings(environ=environ)) == tmp_path / "a"
        assert home_dir(load_settings(str(tmp_path / "b"), environ)) == tmp_path / "b"

    def test_a_relative_home_stays_where_it_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        settings = load_settings("here", {})
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert home_dir(settings) == tmp_path / "here"

    def test_a_tilde_is_the_users(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert home_dir(load_settings("~/x", {})) == tmp_path / "x"
        assert home_dir(Settings(home="~/y")) == tmp_path / "y"

    def test_the_file_may_say_where_the_data_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        monkeypatch.setenv("HOME", str(tmp_path))
        default = home_dir(Settings())
        default.mkdir(parents=True)
        write(default, 'home = "data"')
        assert home_dir(load_settings(environ={})) == default / "data"

    def test_a_path_object_is_a_path(self, home: Path) -> None:
        assert load(home, store=home / "x.json").store == os.fspath(home / "x.json")
