"""What every command is made of: its words, and what is done with them."""

import argparse
from collections.abc import Mapping

Environment = Mapping[str, str]
Commands = argparse._SubParsersAction


def add_command(
    commands: "Commands[argparse.ArgumentParser]", name: str, summary: str, description: str
) -> argparse.ArgumentParser:
    """A command's parser, to be given its own words. The description is printed as it is written."""
    return commands.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
