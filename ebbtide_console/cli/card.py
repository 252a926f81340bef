"""`ebbtide card`: a page or two that bring every server back when nothing of ours is left to do it."""

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

_MARGIN_MM, _COLUMNS = 10, 108
# What is smaller is not read by the light of a torch; of the largest, so many columns fit.
_SMALLEST_PT, _LARGEST_PT, _LEADING_MM_A_PT = 6.5, 8.2, 0.356

DESCRIPTION = """\
Write what brings every server back with the AWS CLI and ssh alone: no Ebbtide, no function, no table. It is one page
for some ten servers in two regions, and for more a page or two.

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
    elif options.to.suffix.lower() == ".pdf":
        pdf, pages = as_pdf(text)
        _write(options.to, pdf)
        if pages > 1:
            print(f"{options.to}: {pages} pages")
    else:
        _write(options.to, text.encode())
    return 0


def _write(target: Path, card: bytes) -> None:
    """All of it or nothing: an older card stays until the new one is whole. Raises PermanentError."""
    try:
        write_whole(target, card, mode=0o666)
    except OSError as error:
        raise PermanentError(f"the card cannot be written to {target}: {error.strerror}") from error


def as_pdf(text: str) -> tuple[bytes, int]:
    """On A4, the lines as they are, so that what is copied from it can be pasted; and how many pages that is."""
    from fpdf import FPDF

    lines = list(_on_paper(text))
    pdf = FPDF(format="A4")
    pdf.set_auto_page_break(True, _MARGIN_MM)
    pdf.set_margin(_MARGIN_MM)
    pdf.add_page()
    size = _size(len(lines), pdf.eph)
    pdf.set_font("Courier", size=size)
    for line in lines:
        pdf.cell(
            text=(line or " ").encode("latin-1", "replace").decode("latin-1"),
            h=size * _LEADING_MM_A_PT,
            new_x="LMARGIN",
            new_y="NEXT",
        )
    return bytes(pdf.output()), pdf.pages_count


def _size(lines: int, height_mm: float) -> float:
    """In points: as small as one page takes, with a line to spare, if that can still be read."""
    of_one_page = height_mm / (lines + 1) / _LEADING_MM_A_PT
    return min(of_one_page, _LARGEST_PT) if of_one_page >= _SMALLEST_PT else _LARGEST_PT


def _on_paper(text: str) -> Iterator[str]:
    """The commands are narrow enough, what AWS says of a fault may not be."""
    for line in text.splitlines():
        yield from [line] if line.startswith("    ") else wrap(line, _COLUMNS) or [""]
