"""How the docs are built: ``python -m sphinx -W docs docs/_build/html``."""

from __future__ import annotations

import tomllib
from datetime import datetime
from pathlib import Path

import acron.abc
import acron.backfill
import acron.events
from acron.model import Incident, Job, Run, Skip

# msgspec evaluates a record's annotations when its signature is asked for; these modules import
# the names for type checkers only.
for _module in (acron.abc, acron.backfill, acron.events):
    vars(_module).update(datetime=datetime, Incident=Incident, Job=Job, Run=Run, Skip=Skip)

_PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]

project = "acron"
author = "acron contributors"
copyright = author
version = release = _PROJECT["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"

html_theme = "furo"
html_title = f"acron {release}"
