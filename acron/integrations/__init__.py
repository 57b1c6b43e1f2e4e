"""acron inside other people's programs: one module a framework, imported only by its users."""

from __future__ import annotations


def missing(extra: str, package: str) -> ImportError:
    """What to raise where a framework is not installed."""
    return ImportError(f'{package} is not installed: pip install "acron-runtime[{extra}]"')
