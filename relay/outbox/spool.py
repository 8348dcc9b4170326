"""The bodies of waiting mail, sealed: small ones go into the row's transaction, large ones into files.

A file is durable before its row is committed: temporary file, fsync, rename, fsync of the folder. A
crash in between leaves a file without a row, which the next start removes.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from relay.clock import monotonic
from relay.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from relay.keyring import Keyring

PURPOSE = "outbox body"
#: Up to here a body is a row: many are committed by one fsync.
ROW_BYTES = 64 << 10
#: So much must stay free besides what comes in, or the 20th part of a small disk.
RESERVE_BYTES = 64 << 20
#: After a failed fsync nothing is promised for so long (the kernel may have dropped the pages).
DISTRUST_SECONDS = 30.0
#: A file without a row may belong to a message that another node is just accepting.
ORPHAN_SECONDS = 3600.0
_ROOM_SECONDS = 0.5


class Full(StoreError):
    """There is no room; the client is told 452 4.3.1."""


class BodyLost(StoreError):
    """The body of a message cannot be read any more."""


def opened(keyring: Keyring, purpose: str, number: str, sealed: bytes) -> bytes:
    """Return what was sealed for a message; BodyLost if it was altered, StoreError if its key is not here."""
    try:
        return keyring.open(purpose, sealed, number.encode())
    except KeyError:
        raise StoreError(f"{number} is sealed with a master key that is not here") from None
    except (InvalidTag, IndexError, ValueError) as error:
        raise BodyLost(f"{number}: it cannot be decrypted") from error


class Spool:
    """The folder of large bodies, shared by all nodes of a cluster; SQL stays in relay/store."""

    def __init__(
        self, folder: Path, keyring: Keyring, monotonic_now: Callable[[], float] = monotonic
    ) -> None:
        self.folder = folder
        self._keyring = keyring
        self._monotonic = monotonic_now
        self._distrusted_until = 0.0
        self._room: tuple[float, int] = (-1.0, 0)
        #: folders that must have room too: that of the database, where it is a file
        self.beside: tuple[Path, ...] = ()

    def prepare(self) -> None:
        """Make the folder, readable by its owner only; StoreError if it cannot be used."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_folder(self.folder.parent)
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror}") from error

    @property
    def healthy(self) -> bool:
        """Return whether the last fsync that failed is long enough ago."""
        return self._monotonic() >= self._distrusted_until

    def room_for(self, size: int) -> bool:
        """Return whether a message of `size` bytes may be taken: what is free, looked at twice a second."""
        now = self._monotonic()
        if now - self._room[0] > _ROOM_SECONDS:
            try:
                self._room = (now, min(_free(folder) for folder in (self.folder, *self.beside)))
            except OSError:
                return False
        return self._room[1] > size * 3 // 2

    def seal(self, number: str, pieces: Sequence[bytes]) -> bytes:
        """Return the body encrypted for the message of this id, and for no other."""
        return self._keyring.seal(PURPOSE, b"".join(pieces), number.encode())

    def open(self, number: str, sealed: bytes) -> bytes:
        """Return the body; BodyLost if it was altered or cut short, StoreError if its key is not here yet."""
        return opened(self._keyring, PURPOSE, number, sealed)

    async def keep(self, number: str, pieces: Sequence[bytes]) -> None:
        """Write a large body so that it survives a crash; Full or StoreError, and then nothing is left of it.

        A body that was kept before is replaced whole, or stays.
        """
        if not self.healthy:
            raise StoreError("the spool does not keep what it is given")
        await asyncio.to_thread(self._write, number, pieces)

    def _write(self, number: str, pieces: Sequence[bytes]) -> None:
        path = self._path(number)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        replaces = True
        try:
            replaces = path.exists()
            path.parent.mkdir(mode=0o700, exist_ok=True)
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(self.seal(number, pieces))
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
            _sync_folder(path.parent)
            _sync_folder(self.folder)
        except OSError as error:
            _unlink(temporary)
            if not replaces:
                _unlink(path)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Full("no room in the spool") from error
            self._distrusted_until = self._monotonic() + DISTRUST_SECONDS
            raise StoreError(f"spool: {error.strerror}") from error

    async def read(self, number: str) -> bytes:
        """Return a large body; BodyLost if its file is gone or was altered."""
        return await asyncio.to_thread(self.load, number)

    def load(self, number: str) -> bytes:
        """Return a large body, in this thread."""
        try:
            sealed = self._path(number).read_bytes()
        except FileNotFoundError as error:
            raise BodyLost(f"{number}: the file of the body is gone") from error
        except OSError as error:
            raise StoreError(f"spool: {error.strerror}") from error
        return self.open(number, sealed)

    async def drop(self, number: str) -> None:
        """Remove the file of a message whose row is gone; harmless without one."""
        await asyncio.to_thread(self.remove, number)

    def remove(self, number: str) -> None:
        """Remove the file of a message, in this thread."""
        _unlink(self._path(number))

    def _path(self, number: str) -> Path:
        # ids sort by time, so their end spreads files evenly
        return self.folder / number[-2:] / number

    def orphans(self, now_seconds: float) -> Iterable[str]:
        """Yield the ids of files old enough to have a row, and remove abandoned temporary ones."""
        for path in self.folder.glob("??/*"):
            try:
                age = now_seconds - path.stat().st_mtime
            except OSError:
                continue
            if age < ORPHAN_SECONDS:
                continue
            if path.name.startswith("."):
                _unlink(path)
            else:
                yield path.name


def _free(folder: Path) -> int:
    """Return the bytes that may be used, none where no more files can be made; OSError."""
    place = os.statvfs(folder)
    reserve = min(RESERVE_BYTES, place.f_blocks * place.f_frsize // 20)
    return place.f_bavail * place.f_frsize - reserve if place.f_favail or not place.f_files else 0


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
