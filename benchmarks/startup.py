"""Row F16: what ``import acron`` costs, and ``python -m acron list``.

python -m benchmarks.startup
"""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from benchmarks.common import ROOT, Figures, Finding, Goals, Rounds, Size, main, plain

if TYPE_CHECKING:
    from collections.abc import Callable


def python(*arguments: str) -> Callable[[], Figures]:
    def run() -> Figures:
        with tempfile.TemporaryDirectory() as home:
            environ = os.environ | {"ACRON_HOME": home}
            begin = time.perf_counter()
            subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environ, check=True,
                           capture_output=True)  # fmt: skip
            return {"ms": 1e3 * (time.perf_counter() - begin)}

    return run


def run(size: Size) -> list[Finding]:
    # As an installer does for the peers: with PYTHONDONTWRITEBYTECODE set, each process would
    # compile acron, and acron alone.
    compileall.compile_dir(ROOT / "acron", quiet=2)
    # Processes that live for a moment: many rounds cost little.
    rounds = size.rounds if size.quick else size.rounds * 5
    found = Rounds(
        {
            "asyncio, msgspec": python("-c", "import asyncio, msgspec"),
            "import acron": python("-c", "import acron, asyncio, msgspec"),
            "from acron import Acron": python("-c", "from acron import Acron"),
            "typer, rich": python("-c", "import typer, rich"),
            "acron list": python("-m", "acron", "list"),
        },
        Size(rounds, size.quick, size.inline),
    )
    told = found.table("ms", "ms")
    goals = Goals("F16", "start-up, each a whole process", "startup")
    floor = found.each("asyncio, msgspec", "ms")
    for what in ("import acron", "from acron import Acron"):
        more = [a - b for a, b in zip(found.each(what, "ms"), floor, strict=True)]
        goals.add(f"{what}: ≤ 30 ms more than asyncio and msgspec", plain(more), at_most=30,
                  unit=" ms", figures=told)  # fmt: skip
    got = found.ratio("ms", "acron list", "typer, rich")
    goals.add("acron list ≤ 1.5x importing typer and rich", got, at_most=1.5, figures=told)
    return goals.findings


if __name__ == "__main__":
    main(run, __doc__)
