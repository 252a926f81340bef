"""Write a recovery card as it looks into docs/restore.md: `python -m tools.card_reference`."""

from datetime import UTC, datetime
from pathlib import Path

from chalicelib.core.model import TreeKind
from ebbtide_console.past.card import Facts, Region, Server, write_card
from tools.generated import with_generated

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/restore.md"

_ACCOUNT, _AT = "123456789012", datetime(2026, 11, 23, 2, 45, tzinfo=UTC)


def reference() -> str:
    """The card of the two servers that all of this is about."""
    regions = tuple(
        Region(
            name,
            f"ebbtide-dev-archive-{_ACCOUNT}-{name}",
            tuple(
                Server(host, f"{host}a", _AT, f"snap-0123456789abcdef{number}", 80, "amd64", TreeKind.FAKE_SUPER)
                for host in ("eu0", "us0")
            ),
        )
        for number, name in enumerate(("us-east-1", "eu-central-1"))
    )
    return f"```\n{write_card(Facts(_ACCOUNT, _AT, regions, receivers=('main',)))}```"


def updated(document: str) -> str:
    """The document with the card as it would be now."""
    return with_generated(document, "card_reference", reference())


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text()))
