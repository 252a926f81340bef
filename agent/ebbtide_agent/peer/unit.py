"""The systemd service that a peer is."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

# A restored image must not start it: restore/masked.py names it.
SERVICE = "ebbtide-peer.service"

_TEXT = """\
# Written by `ebbtide-agent peer add`, which writes it again.
[Unit]
Description=Take other servers' backups (Ebbtide)
Documentation=man:ebbtide-agent(1)
Wants=network-online.target
After=network-online.target
RequiresMountsFor={store}

[Service]
ExecStart={command}
Restart=always
RestartSec=60
KillMode=mixed
OOMPolicy=continue
Delegate=memory cpu

[Install]
WantedBy=multi-user.target
"""


def service(command: Sequence[str], store: Path) -> str:
    return _TEXT.format(command=shlex.join(command), store=store)


def wanted(service_file: Path) -> Path:
    """The link by which systemd knows an enabled service."""
    return service_file.parent / "multi-user.target.wants" / service_file.name
