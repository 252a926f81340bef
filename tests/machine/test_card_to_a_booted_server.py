"""The recovery card to its end: a machine like EC2's, a volume, and what is pasted brings a server up that answers."""

import urllib.request
from contextlib import suppress
from pathlib import Path

from chalicelib.core.model import TreeKind
from tests.debian import a_server
from tests.local.card import CARD, PACKAGES, a_volume, commands
from tests.local.receiver_machine import VOLUME, wait_until
from tests.machine.virtual import PATIENCE_SECONDS, TO_A_VOLUME, a_machine, as_a_disk

PAGE = "var/www/html/index.nginx-debian.html"


def asked(port: int) -> bytes:
    """What a web server says, or nothing."""
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
        return bytes(page.read())
    return b""


def test_what_is_pasted_from_the_card_brings_a_server_up_that_answers(tree: Path, tmp_path: Path) -> None:
    server = a_server()
    a_volume(tmp_path / "backup", server, ["-M--fake-super"], TreeKind.FAKE_SUPER, munged=False)
    with a_machine(tree, tmp_path, as_a_disk(tmp_path / "backup")) as machine:
        machine.run(TO_A_VOLUME)
        before = asked(machine.web)
        machine.paste(f"ID=us0a VOLUME={VOLUME} TREE={TreeKind.FAKE_SUPER}\n")
        machine.paste(commands(CARD, 4).replace(PACKAGES, "") + commands(CARD, 5))

        page = wait_until(lambda: asked(machine.web) or machine.is_off(), "the server", PATIENCE_SECONDS)

    assert before == b""
    assert page == (server / PAGE).read_bytes()
