"""Names that are promised are there."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import acron

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "acron").rglob("*.py")
    if path.name != "__main__.py"
)


@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_exports_exists(name: str) -> None:
    module = importlib.import_module(name)
    exported = list(getattr(module, "__all__", ()))
    assert len(exported) == len(set(exported))
    assert [one for one in exported if not hasattr(module, one)] == []


def test_the_front_door_is_the_documented_surface() -> None:
    errors = {
        "AcronError",
        "AmbiguousJob",
        "ConfigError",
        "DeliveryError",
        "JobConflict",
        "JobNotFound",
        "NodeNotFound",
        "ProviderDown",
        "ScheduleError",
        "StoreCorrupt",
        "StoreError",
        "StoreLocked",
        "StoreUnavailable",
        "WrongLoop",
    }
    surface = {
        "Acron",
        "Command",
        "Context",
        "CronScheduler",
        "InProcessCronScheduler",
        "Job",
        "Retry",
        "Run",
        "parse",
        "resolve_cron_scheduler",
    }
    assert errors | surface <= set(acron.__all__)


@pytest.mark.parametrize("unwanted", ["pytest", "typer", "rich", "acron.cli", "acron.testing"])
def test_importing_acron_does_not_import(unwanted: str) -> None:
    """A bot that embeds us pays neither for the command line nor for the test harness."""
    code = f"import sys, acron; acron.Acron; sys.exit({unwanted!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_contracts_are_found_where_they_are_promised() -> None:
    from acron import testing

    suites = {"ActionContract", "AdapterContract", "ProviderContract", "ScheduleContract"}
    assert suites | {"StoreContract"} <= set(testing.contracts.__all__)
    assert testing.contracts.StoreContract.__module__ == "acron.testing.contracts.stores"
