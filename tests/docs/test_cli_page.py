"""docs/reference/cli.md and settings.md, held against the program."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import typer

from acron.cli import VERBS, main
from acron.cli.base import app
from acron.cli.options import FIELDS
from acron.config import FILE, load_settings
from acron.model import RunState, Settings
from acron.records import job_json, run_json, skip_json

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2] / "docs" / "reference"
PAGE = (ROOT / "cli.md").read_text()
SETTINGS = (ROOT / "settings.md").read_text()
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def _section(title: str) -> str:
    level = "##" if f"\n## {title}\n" in PAGE else "###"
    assert PAGE.count(f"\n{level} {title}\n") == 1
    return re.split(rf"\n#{{2,{len(level)}}} ", PAGE.partition(f"\n{level} {title}\n")[2])[0]


def _rows(section: str) -> list[str]:
    """The first cells of its tables."""
    return re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)


def _named(cells: Iterable[str]) -> set[str]:
    return {flag for cell in cells for flag in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", cell)}


def _flags(verb: str) -> set[str]:
    return {
        flag
        for one in COMMANDS[verb].params
        if one.param_type_name == "option" and not one.hidden
        for flag in (*one.opts, *one.secondary_opts)
    }


def test_every_verb_has_its_section_in_the_order_of_help() -> None:
    sections = re.findall(r"^### `([a-z-]+)`$", PAGE, re.MULTILINE)
    assert set(sections) == set(VERBS) == set(COMMANDS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_the_options_of_its_table_and_no_others(verb: str) -> None:
    named = _named(_rows(_section(f"`{verb}`")))
    if verb in {"add", "edit"}:
        fields = _named(_rows(_section("Fields of a job")))
        assert len(fields) == len(FIELDS)
        named |= fields
    assert named == _flags(verb)


def test_the_global_options_are_on_the_page() -> None:
    root: Any = typer.main.get_command(app)
    flags = {flag for one in root.params for flag in one.opts} | {"--help"}
    assert _named(_rows(_section("Which store"))) == flags


def test_choices_and_defaults_are_as_the_page_says() -> None:
    rows = dict(re.findall(r"^\| `(--[a-z-]+)[^|]* \| (.+) \|$", PAGE, re.MULTILINE))
    for verb in COMMANDS.values():
        for one in verb.params:
            for choice in getattr(one.type, "choices", ()):
                text = str(getattr(choice, "value", choice))
                assert f"`{text}`" in rows[one.opts[0]], one.opts
    assert re.findall(r"`(\w+)`", rows["--state"]) == [str(state) for state in RunState]


@pytest.mark.parametrize("kind,show", [("job", job_json), ("run", run_json), ("skip", skip_json)])
def test_the_keys_of_json_are_on_the_page(kind: str, show: Any) -> None:
    from datetime import UTC, datetime

    from acron.model import Delivery, Job, Run, Skip, SkipReason
    from acron.specs import Command

    now = datetime.now(UTC)
    some: dict[str, Any] = {
        "job": Job(id="a", schedule="every 1h", action=Command("true")),
        "run": Run(id="r1", job_id="a", due_at=now, deliveries=(Delivery("local"),)),
        "skip": Skip(job_id="a", scheduled_at=now, reason=SkipReason.PAUSED),
    }
    (paragraph,) = re.findall(
        rf"^A \*\*{kind}\*\* .*?\n\n", PAGE + "\n\n", re.MULTILINE | re.DOTALL
    )
    named = set(re.findall(r"`(\w+)`", paragraph))
    assert set(show(some[kind])) <= named


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    codes = re.findall(r"^\| ([\d, ]+) \|", _section("What is printed"), re.MULTILINE)
    assert codes == ["0", "1", "2", "130, 143"]
    assert main(["next", "every 1h"]) == 0
    assert main(["next", "30m"]) == 1
    assert main(["next"]) == 2
    assert capsys.readouterr().err.count("acron: ") == 2


def test_every_setting_is_on_its_page_with_its_variable_and_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| `(.+?)` \|", SETTINGS, re.MULTILINE)
    assert tuple(name for name, _, _ in rows) == Settings.__struct_fields__
    defaults = msgspec.json.decode(msgspec.json.encode(Settings()))
    for name, variable, default in rows:
        assert msgspec.json.decode(default) == defaults[name]
        assert (variable == f"`ACRON_{name.upper()}`") is (name != "calendars")


def test_the_file_on_the_page_is_accepted(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", SETTINGS, re.DOTALL)
    (tmp_path / FILE).write_text(text)
    settings = load_settings(tmp_path, environ={})
    assert settings.drain_timeout == 60
    assert set(settings.calendars) == set(tomllib.loads(text)["calendars"])


def test_each_item_of_a_calendar_on_the_page_is_one(tmp_path: Path) -> None:
    cells = re.findall(r"^\| (`[^|]+`) \| ", SETTINGS.partition("## Calendars")[2], re.MULTILINE)
    items = [item for cell in cells for item in re.findall(r"`([^`]+)`", cell)]
    assert len(items) >= 6
    for item in items:
        (tmp_path / FILE).write_text(f'[calendars]\none = ["{item}"]\n')
        assert load_settings(tmp_path, environ={}).calendars == {"one": (item,)}
