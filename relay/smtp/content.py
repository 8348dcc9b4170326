"""The text of one message while it comes in: in memory, past 256 KiB in an unlinked file."""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: From here a message no longer lives in memory.
SPILL_OCTETS = 256 * 1024


class Content:
    """Collects pieces; `read` gives the whole. The file has no name, so a crash leaves nothing behind."""

    __slots__ = ("_file", "_folder", "_pieces", "eight_bit", "size", "undotted", "whole_at")

    def __init__(self, folder: Path | None = None) -> None:
        #: where the file is made: the disk whose free space is watched; None: the system's temporary folder
        self._folder = folder
        self._pieces: list[bytes] = []
        self._file: IO[bytes] | None = None
        #: octets so far
        self.size = 0
        #: whether any octet is above 127
        self.eight_bit = False
        #: no line begins with a dot: what goes on as it came needs no dot-stuffing
        self.undotted = False
        #: monotonic moment of the dot; 0 before it
        self.whole_at = 0.0

    def write(self, piece: bytes) -> None:
        """Append; OSError when the disk is full."""
        self.size += len(piece)
        if not self.eight_bit and not piece.isascii():
            self.eight_bit = True
        if self._file is None and self.size <= SPILL_OCTETS:
            self._pieces.append(piece)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(  # noqa: SIM115 - close() or the last reference ends it
                buffering=0, dir=self._folder
            )
            self._spill(self._file, b"".join(self._pieces))
            self._pieces.clear()
        self._spill(self._file, piece)

    @staticmethod
    def _spill(file: IO[bytes], data: bytes) -> None:
        """Write all of it: a disk that is nearly full takes a part, and says so only the next time."""
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]

    @property
    def spilled(self) -> bool:
        """Return whether the text is in a file."""
        return self._file is not None

    def read(self) -> bytes:
        """Return the whole text, as often as asked."""
        if self._file is not None:
            self._file.seek(0)
            return self._file.read()
        if len(self._pieces) > 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0] if self._pieces else b""

    def head(self) -> bytes:
        """Return the first 256 KiB or a little more: at least the header."""
        if self._file is not None:
            self._file.seek(0)
            return self._file.read(SPILL_OCTETS + 4)
        return self.read()

    def close(self) -> None:
        """Give memory and file back; harmless twice."""
        self._pieces.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
