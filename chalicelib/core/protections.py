"""What keeps a snapshot whatever the rules say: locks, images, recoveries, other accounts, a copy yet to be made."""

from collections.abc import Iterable, Mapping

from chalicelib.core.model import Recovery, SnapshotLock

# EC2's word for a lock that has run out: https://docs.aws.amazon.com/ebs/latest/userguide/ebs-snapshot-lock.html
EXPIRED = "expired"

SHARED = "shared with another account"
UNCOPIED = "still to be copied to another region"
UNPULLED = "still to be pulled by another account"

Protections = Mapping[str, tuple[str, ...]]


def protections(
    locks: Iterable[SnapshotLock],
    images: Mapping[str, str],
    recoveries: Iterable[Recovery],
    uncopied: Iterable[str] = (),
    unpulled: Iterable[str] = (),
) -> Protections:
    """Why each protected snapshot stays, by snapshot id.

    `images` says which image is made of which snapshot; `uncopied` are the ids of those still to be copied, `unpulled`
    of those that another account still has to copy for itself.
    """
    return _gathered(
        *((lock.snapshot_id, _locked(lock)) for lock in locks if lock.state != EXPIRED),
        *((snapshot_id, f"image {image_id} is made of it") for snapshot_id, image_id in images.items()),
        *(
            (recovery.point.snapshot_id, f"{recovery.kind} {recovery.id} is under way")
            for recovery in recoveries
            if not recovery.state.is_final
        ),
        *((snapshot_id, UNCOPIED) for snapshot_id in uncopied),
        *((snapshot_id, UNPULLED) for snapshot_id in unpulled),
    )


def with_shared(protected: Protections, shared: Iterable[str]) -> Protections:
    """The same, and the snapshots that another account may use."""
    known = ((snapshot_id, reason) for snapshot_id, reasons in protected.items() for reason in reasons)
    return _gathered(*known, *((snapshot_id, SHARED) for snapshot_id in shared))


def _gathered(*found: tuple[str, str]) -> Protections:
    why: dict[str, tuple[str, ...]] = {}
    for snapshot_id, reason in found:
        why[snapshot_id] = (*why.get(snapshot_id, ()), reason)
    return why


def _locked(lock: SnapshotLock) -> str:
    return f"locked ({lock.state})" + (f" until {lock.until:%Y-%m-%d}" if lock.until else "")
