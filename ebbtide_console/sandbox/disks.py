"""Disks of the full substrate: sparse image files, on a file system of their own where a copy takes milliseconds."""

import os
import threading
from contextlib import suppress
from pathlib import Path

from chalicelib.errors import PermanentError
from ebbtide_console import procs
from ebbtide_console.sandbox import kernel

GIB = 1024**3
LEAST_FREE_BYTES = 256 * 1024**2
LEAST_STORE_BYTES = 4 * GIB


class Disks:
    """Volumes and snapshots in one XFS image, mounted in this process's own mount namespace."""

    def __init__(self, store: Path, mounted_at: Path, size: int | None = None) -> None:
        """`size` of a store that is yet to be made, in bytes; default: as large as it could ever become here."""
        self._store = store
        self._place = mounted_at
        self._attached: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()
        if not store.exists():
            _make_store(store, size or _room_for_a_store(store.parent))
        _mount_store(store, mounted_at)
        for half_made in mounted_at.glob(".*.img"):
            half_made.unlink()

    def create(self, disk_id: str, size_gib: int, source_id: str | None) -> None:
        """Make a blank disk, or a copy of another, no smaller than that."""
        self._check_space()
        making = self._place / f".{disk_id}.img"
        if source_id is None:
            making.touch()
        else:
            procs.check(("cp", "--reflink=always", "--", str(self._image(source_id)), str(making)))
        if making.stat().st_size < size_gib * GIB:
            os.truncate(making, size_gib * GIB)
        making.rename(self._image(disk_id))

    def grow(self, disk_id: str, size_gib: int) -> None:
        """Add blank space at its end; never less than there was."""
        self._check_space()
        if self._image(disk_id).stat().st_size < size_gib * GIB:
            os.truncate(self._image(disk_id), size_gib * GIB)

    def copy(self, disk_id: str, copy_id: str) -> None:
        """Copy a disk as it is now, also while a machine writes to it."""
        self.create(copy_id, 0, disk_id)

    def delete(self, disk_id: str) -> None:
        """Remove a disk; absent is success."""
        self.let_go(disk_id)
        self._image(disk_id).unlink(missing_ok=True)

    def has(self, disk_id: str) -> bool:
        return self._image(disk_id).exists()

    def device(self, disk_id: str) -> int:
        """The number N of the /dev/loopN that is this disk; it stays until let_go()."""
        self._check_space()
        with self._lock:
            if disk_id not in self._attached:
                self._attached[disk_id] = kernel.attach_loop(self._image(disk_id))
            return self._attached[disk_id][0]

    def let_go(self, disk_id: str) -> None:
        """Give the disk's device back to the kernel, which frees it with the last mount of it."""
        with self._lock:
            _, descriptor = self._attached.pop(disk_id, (0, None))
        if descriptor is not None:
            os.close(descriptor)

    def close(self) -> None:
        for disk_id in list(self._attached):
            self.let_go(disk_id)
        with suppress(PermanentError):  # busy while something still reads it; the end of the enclosure unmounts it
            procs.check(("umount", str(self._place)))

    def _image(self, disk_id: str) -> Path:
        return self._place / f"{disk_id}.img"

    def _check_space(self) -> None:
        """PermanentError while there is still room for what is under way: a full disk would break the store itself."""
        left = _free_bytes(self._store.parent)
        if left < LEAST_FREE_BYTES:
            raise PermanentError(
                f"the disk with {self._store} has {left // 1024**2} MiB left and the sandbox needs"
                f" {LEAST_FREE_BYTES // 1024**2}: free some, or remove the nights with `make clean-night`"
            )


def _make_store(store: Path, size: int) -> None:
    """Make the image; it takes only the room of what is put into it."""
    making = store.with_name(f".{store.name}")
    making.unlink(missing_ok=True)
    # Whole servers lie in it, with all that only their root may read.
    with open(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as image:
        image.truncate(size)
    procs.check(("mkfs.xfs", "-q", "-f", "-m", "reflink=1", str(making)))
    making.rename(store)


def _room_for_a_store(place: Path) -> int:
    size = _free_bytes(place)
    if size < LEAST_STORE_BYTES:
        raise PermanentError(
            f"the disk with {place} has {size // GIB} GiB left and the sandbox needs"
            f" {LEAST_STORE_BYTES // GIB}: free some, or put the sandbox elsewhere"
        )
    return size // GIB * GIB


def _mount_store(store: Path, place: Path) -> None:
    """Mount the store; what is deleted in it is given back to the disk it lies on."""
    place.mkdir(parents=True, exist_ok=True)
    try:
        number, descriptor = kernel.attach_loop(store)
        try:
            procs.check(("mount", "-t", "xfs", "-o", "nouuid,noatime,discard", f"/dev/loop{number}", str(place)))
        finally:
            os.close(descriptor)
    except (OSError, PermanentError) as error:
        raise PermanentError(
            f"the sandbox's store {store} cannot be mounted: {error}; `make clean-night` removes it, and all its nights"
        ) from error


def _free_bytes(place: Path) -> int:
    figures = os.statvfs(place)
    return figures.f_bavail * figures.f_frsize
