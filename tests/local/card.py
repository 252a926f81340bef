"""The recovery card as somebody has it in their hands, and a volume as a night leaves it, which it brings back from."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from chalicelib.core.model import TreeKind
from ebbtide_agent.entry import Header
from ebbtide_agent.manifest import write as write_manifest
from ebbtide_console.past.card import Facts, Region, Server, write_card
from tests.builders import a_moment, a_run_id
from tests.local.receiver_machine import wait_until_free
from tests.loops import a_loop_device

ACCOUNT, RUN = "123456789012", a_run_id()
CARD = write_card(
    Facts(
        ACCOUNT,
        a_moment(),
        (Region("eu-west-1", "archive", (Server("us0", "us0a", a_moment(), "snap-1", 8, "amd64", TreeKind.REAL),)),),
    )
)
DEVICE = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol${VOLUME#vol-}"
PACKAGES = "apt-get update && apt-get install -y rsync systemd-container nftables\n"
BACK_UP = ("rsync", "-aHAXS", "--numeric-ids", "--modify-window=-1")


def commands(card: str, section: int) -> str:
    """What is indented by four in a section, as it stands there."""
    _, _, rest = card.partition(f"\n{section}. ")
    text, _, _ = rest.partition(f"\n{section + 1}. ")
    return "\n".join(line[4:] for line in text.splitlines() if line.startswith("    ")) + "\n"


def a_volume(image: Path, source: Path, how: Sequence[str], kind: str, munged: bool) -> None:
    """What a night leaves on it: the host's tree, and the manifest beside it."""
    with image.open("wb") as file:
        file.truncate(1 << 30)
    subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-I", "256", "-O", "ea_inode", image], check=True)
    place = image.with_name("volume")
    place.mkdir()
    with a_loop_device(image) as device:
        subprocess.run(["mount", device, place], check=True)
        try:
            home = place / "hosts/us0a"
            home.mkdir(parents=True)
            subprocess.run([*BACK_UP, *how, f"{source}/", f"{home}/tree/"], check=True)
            write_manifest(
                home / "tree", kind, None, home / "manifest.jsonl.gz", Header("us0a", str(RUN), kind, munged)
            )
        finally:
            subprocess.run(["umount", place], check=True)
            wait_until_free(device)
