"""``python -m acron``, and the console script ``acron``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, and exit with its code."""
    from acron.cli import main as run_command_line  # noqa: PLC0415 (imported when it is wanted)

    sys.exit(run_command_line())


if __name__ == "__main__":
    main()
