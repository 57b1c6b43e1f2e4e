"""What strangers are told is what is so: README, .ci/run, the docs and the packaging agree."""

from __future__ import annotations

import ast
import importlib
import os
import re
import stat
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    "heading,ends",
    [("Run", ".venv/bin/python -m acron demo"), ("Test", ".venv/bin/python -m pytest -n auto")],
)
def test_readme_gives_exactly_one_command(heading: str, ends: str) -> None:
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE)
    (command,) = blocks(section, "sh")
    assert len(command.splitlines()) == 1
    assert command.strip().endswith(ends)
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")


def test_ci_runs_the_test_command_of_the_readme() -> None:
    ci = ROOT / ".ci" / "run"
    text = ci.read_text()
    assert ci.stat().st_mode & stat.S_IXUSR
    assert "## Test" in text
    assert "README.md" in text
    assert "pytest" not in text  # that word has one home: the README
    for check in ("ruff check", "ruff format --check", "mypy", "lint-imports", "sphinx"):
        assert check in text


def test_commit_hooks_and_ci_run_the_same_checks() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert "repo: local" in hooks
    assert "http" not in hooks  # no hook comes from the network
    for check in ("ruff check", "ruff format", "mypy", "lint-imports"):
        assert check in hooks


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s#]+)[^)]*\)|(?:src|srcset)=\"([^\"#]+)\"", page.read_text())
    local = [target for pair in targets for target in pair if target and ":" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_on_a_page_parses_and_its_imports_exist(page: Path) -> None:
    for block in blocks(page.read_text(), "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("acron"):
                module = importlib.import_module(str(node.module))
                for one in node.names:  # a name of the module, or a module in it
                    if not hasattr(module, one.name):
                        importlib.import_module(f"{module.__name__}.{one.name}")


def test_the_docs_have_no_other_rooms_than_four() -> None:
    rooms = {path.name for path in (ROOT / "docs").iterdir() if path.is_dir()}
    assert rooms - {"_build", "_static"} == {"tutorial", "how-to", "reference", "explanation"}


def test_every_dependency_has_its_reason_in_the_docs() -> None:
    page = (ROOT / "docs" / "explanation" / "dependencies.md").read_text()
    needed = [re.split(r"[^\w-]", one, maxsplit=1)[0] for one in PROJECT["project"]["dependencies"]]
    assert needed
    assert [one for one in needed if f"`{one}`" not in page] == []


def test_the_changelog_knows_this_version() -> None:
    assert f"## [{PROJECT['project']['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_entry_point_loads() -> None:
    installed = distribution("acron-runtime")
    assert installed.version == PROJECT["project"]["version"]
    found = {(one.group, one.name): one for one in installed.entry_points}
    for group, points in PROJECT["project"].get("entry-points", {}).items():
        for name in points:
            assert found[group, name].load() is not None
    assert callable(found["console_scripts", "acron"].load())


def test_the_package_says_it_is_typed_and_carries_its_licence() -> None:
    assert (ROOT / "acron" / "py.typed").is_file()
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")


@pytest.mark.skipif("CI" not in os.environ, reason="a checkout may be private to its owner")
def test_nothing_is_left_to_do_in_the_text() -> None:
    pages = [page for page in PAGES if re.search(r"\b(TODO|FIXME|TBD|XXX)\b", page.read_text())]
    assert pages == []
