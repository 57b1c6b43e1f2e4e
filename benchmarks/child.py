"""One measurement in a process of its own: ``python -m benchmarks.child module:function '{…}'``.

Imports nothing but the standard library: peers may live in other environments. Prints what the
function gave, as JSON; ``{"skipped": why}`` when something it needs is not installed.
"""

from __future__ import annotations

import inspect
import json
import sys
from importlib import import_module
from typing import Any


def call(target: str, options: dict[str, Any]) -> dict[str, Any]:
    """What the function ``module:function`` gives; the option ``loop`` names the event loop."""
    module, _, name = target.partition(":")
    kind = options.pop("loop", "asyncio")
    try:
        found = getattr(import_module(module), name)(**options)
        if inspect.iscoroutine(found):
            found = import_module(kind).run(found)
    except Exception as error:
        missing = error if isinstance(error, ImportError) else error.__cause__
        if isinstance(missing, ImportError):
            return {"skipped": f"{missing}"}
        raise
    return dict(found)


if __name__ == "__main__":
    print(json.dumps(call(sys.argv[1], json.loads(sys.argv[2]))))
