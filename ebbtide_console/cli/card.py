"""`ebbtide card`: one page that brings every server back when nothing of ours is left to do it."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap

from chalicelib.errors import PermanentError
from chalicelib.wiring import the_time
from ebbtide_agent.files import write_whole
from ebbtide_console import session
from ebbtide_console.cli.command import Commands, Environment, add_command
from ebbtide_console.past.card import write_card
from ebbtide_console.past.inventory import take_inventory

_MARGIN_MM, _POINTS, _LEADING_MM, _COLUMNS = 10, 8.2, 2.92, 108

DESCRIPTION = """\
Write one page that brings every server back with the AWS CLI and ssh alone: no Ebbtide, no function, no table.

  $ ebbtide card                          on the screen
  $ ebbtide card --to card.pdf            to be printed (or card.txt)

It names the newest snapshot of each server in this region and in the one with the copies, and says every command from
there to a server that runs. Print it, and put it where it can be found when this account, this laptop and this
repository cannot. There is nothing secret in it, but names: of servers, snapshots and the archive. Write it again when
servers come or go; that there are newer snapshots is no matter, its second step finds them.
"""


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `card`."""
    card = add_command(commands, "card", "write the page that brings every server back without us", DESCRIPTION)
    card.add_argument("--to", type=Path, metavar="FILE", help="into this file: PDF if it ends so, else text")
    card.set_defaults(act=_card)


def _card(options: argparse.Namespace, _: Environment) -> int:
    text = write_card(take_inventory(session.the_account(), session.the_account, the_time()))
    if options.to is None:
        print(text, end="")
    else:
        _write(options.to, as_pdf(text) if options.to.suffix.lower() == ".pdf" else text.encode())
    return 0


def _write(target: Path, card: bytes) -> None:
    """All of it or nothing: an older card stays until the new one is whole. Raises PermanentError."""
    try:
        write_whole(target, card, mode=0o666)
    except OSError as error:
        raise PermanentError(f"the card cannot be written to {target}: {error.strerror}") from error


def as_pdf(text: str) -> bytes:
    """On A4, the lines as they are, so that what is copied from it can be pasted."""
    from fpdf import FPDF

    pdf = FPDF(format="A4")
    pdf.set_auto_page_break(True, _MARGIN_MM)
    pdf.set_margin(_MARGIN_MM)
    pdf.add_page()
    pdf.set_font("Courier", size=_POINTS)
    for line in _on_paper(text):
        pdf.cell(
            text=(line or " ").encode("latin-1", "replace").decode("latin-1"),
            h=_LEADING_MM,
            new_x="LMARGIN",
            new_y="NEXT",
        )
    return bytes(pdf.output())


def _on_paper(text: str) -> Iterator[str]:
    """The commands are narrow enough, what AWS says of a fault may not be."""
    for line in text.splitlines():
        yield from [line] if line.startswith("    ") else wrap(line, _COLUMNS) or [""]
