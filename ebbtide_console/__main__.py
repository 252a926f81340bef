"""The console's first lines: Ctrl-C is a quiet way out from the start, also while modules are still being loaded."""

import sys


def start() -> int:
    """Run the command line; 130, as shells say it, when interrupted."""
    try:
        from ebbtide_console.cli.main import main

        return main()
    except KeyboardInterrupt:
        print("\nebbtide: interrupted; what was completed stays", file=sys.stderr)
        return 130


sys.exit(start())
