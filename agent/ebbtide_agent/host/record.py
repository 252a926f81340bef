"""A night recorded where no receiver looks on: the host's own word, and a generation for the tree as it was left."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime

from ebbtide_agent.report import GENERATION_BITS, ArchivedManifest, Received, Report


def run_of(kind: str, now: datetime) -> str:
    """What a night is called where nobody else names it: a kind that is no receiver's name, the date, the time."""
    return f"{kind}/{now:%Y-%m-%d/%H%M%S}"


def recorded(report: Report, tree: str, links: str, now: datetime, manifest: ArchivedManifest | None = None) -> Report:
    """The report of a push that was complete; `tree` says how owners and devices are kept.

    `links` is the digest of the tree's hard links, empty where nobody can look.
    """
    return replace(
        report,
        receiver=Received(
            received=now,
            exit_code=report.exit_code,
            seconds=(report.finished - report.started).total_seconds(),
            entries=report.entries,
            bytes=report.bytes_total,
            generation=secrets.randbits(GENERATION_BITS),
            tree=tree,
            manifest=manifest,
            links=links,
        ),
    )
