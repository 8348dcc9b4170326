"""What a node stands on and may run out of: the days of its certificate, the room on its disks."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from relay.config import Config

#: The folders whose disks are watched; the store's is the configuration's own.
FOLDERS = ("store", "outbox")


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that this program may still write to a disk, of all its bytes."""

    free_bytes: int
    size_bytes: int

    @property
    def share(self) -> float:
        """Return the free part, 0..1."""
        return self.free_bytes / self.size_bytes if self.size_bytes else 0.0


@dataclass(frozen=True, slots=True)
class Premises:
    """One look at the machine."""

    #: None: it cannot be read now
    certificate_ends_at: datetime | None
    #: by name of FOLDERS; one that cannot be asked is left out
    rooms: dict[str, Room]


def look(config: Config) -> Premises:
    """Return how things stand; asks the disk, so not in the event loop."""
    folders = {"store": config.folder, "outbox": config.path(config.outbox.folder)}
    rooms = {name: room for name in FOLDERS if (room := _room(folders[name])) is not None}
    return Premises(_ends_at(config.path(config.tls.certificate)), rooms)


def self_signed(certificate: Path) -> bool:
    """Return whether mail clients have nobody to trust the certificate for; False where it cannot be read."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return False
    return found.issuer == found.subject


def _ends_at(certificate: Path) -> datetime | None:
    """Return when the certificate of the doors ends, the first of its chain."""
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def _room(folder: Path) -> Room | None:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return Room(usage.free, usage.total)
