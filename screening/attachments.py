"""Attachments, and archives opened under caps: nothing is trusted, nothing is written, time is bounded."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from screening import catalogs, seven_zip
from screening.catalogs import Unreadable
from screening.magic import PACKED, ending, kind_of

MAX_MEMBERS = 1000
MAX_DEPTH = 5
#: All that is inflated for one message, and one member's share of it.
MAX_INFLATED_BYTES = 32 * 1024 * 1024
MAX_MEMBER_BYTES = 8 * 1024 * 1024
#: What is looked into; disk images hold files as archives do.
OPENED = PACKED | {"iso", "tnef"}
_LZMA_MEMORY = 96 * 1024 * 1024
_FILE_HEAD, _DIRECTORY_END = b"PK\x03\x04", b"PK\x05\x06"
_START_BYTES = 64 * 1024
_MOST_STREAMS = 20
#: What archivers look for where a file's name promises an archive, and how far from its start.
_ZIP_NAMES = frozenset({"zip", "docx", "docm", "xlsx", "xlsm", "pptx", "pptm"})
_MARKS = {"rar": b"Rar!\x1a\x07", "7z": b"7z\xbc\xaf\x27\x1c"}
_FRONT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of the message; `kind` by its bytes ("pe", "zip", "ole", …; "" unknown), `size` in bytes."""

    filename: str
    filenames: tuple[str, ...]
    media_type: str
    kind: str
    size: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside an archive; `kind` is "" where it could not be opened."""

    filename: str
    kind: str
    encrypted: bool
    depth: int
    start: bytes


@dataclass(frozen=True, slots=True)
class Contents:
    """What the archives of a message hold; `unscannable` says why something was not opened, or ""."""

    members: tuple[Member, ...]
    unscannable: str


_NOTHING = Contents((), "")


@dataclass(slots=True)
class _Budget:
    members: list[Member]
    inflated: int = 0
    unscannable: str = ""

    def fails(self, why: str) -> None:
        """Note why something was not opened; the first reason counts."""
        self.unscannable = self.unscannable or why

    def room(self) -> int:
        """Return how many bytes of one more file may be inflated; that there is no room is noted."""
        room = min(MAX_MEMBER_BYTES, MAX_INFLATED_BYTES - self.inflated)
        if room <= 0:
            self.fails("an archive that grows beyond 32 MiB")
        return max(0, room)


class _File(NamedTuple):
    """A file of a zip archive: `packed` bytes behind the head at `local`."""

    name: bytes
    flags: int
    method: int
    packed: int
    local: int


def open_all(attachments: tuple[Attachment, ...]) -> Contents:
    """Return the members of all archives, nested ones too; never raises, bounded in memory and time."""
    if not attachments:
        return _NOTHING
    budget = _Budget([])
    for attachment in attachments:
        kind, begin = _opened_as(attachment.kind, attachment.filenames, attachment.data)
        if kind:
            _open(attachment.data[begin:], kind, 1, budget)
    return Contents(tuple(budget.members), budget.unscannable)


def _opened_as(kind: str, names: Sequence[str], data: bytes) -> tuple[str, int]:
    """Return as what kind of archive programs open a file, "" for none, and where that begins.

    By their names they take archives with something else in front.
    """
    if kind in OPENED:
        return kind, 0
    for name in names:
        named = ending(name)
        if named in _ZIP_NAMES and data.rfind(_DIRECTORY_END, max(0, len(data) - 66_000)) >= 0:
            return "zip", 0
        mark = _MARKS.get(named)
        if mark is not None and (begin := data.find(mark, 0, _FRONT_BYTES)) >= 0:
            return named, begin
    return "", 0


def _open(data: bytes, kind: str, depth: int, budget: _Budget) -> None:
    if depth > MAX_DEPTH:
        budget.fails("archives nested too deeply")
    elif kind == "zip":
        _open_zip(data, depth, budget)
    elif kind in ("gzip", "bzip2", "xz"):
        inner = _whole(data, kind, budget)
        if inner:
            _keep("", inner, depth, budget, encrypted=False)
    elif kind == "tar":
        _open_tar(data, depth, budget)
    elif kind in ("rar", "cab", "iso", "tnef", "7z"):
        _open_catalog(data, kind, depth, budget)


def _keep(name: str, start: bytes, depth: int, budget: _Budget, *, encrypted: bool) -> None:
    kind = kind_of(start)
    budget.members.append(Member(name, kind, encrypted, depth, start[:65536]))
    packed, begin = ("", 0) if encrypted else _opened_as(kind, (name,), start)
    if packed:
        _open(start[begin:], packed, depth + 1, budget)


def _open_zip(data: bytes, depth: int, budget: _Budget) -> None:
    end = data.rfind(_DIRECTORY_END, max(0, len(data) - 66_000))
    listed: list[tuple[int, int]] = []
    if end < 0 or end + 22 > len(data):
        budget.fails("a broken zip archive")
    else:
        listed = _open_listed(data, end, depth, budget)
    _open_unlisted(data, sorted(listed), depth, budget)


def _open_listed(data: bytes, end: int, depth: int, budget: _Budget) -> list[tuple[int, int]]:
    """Open the files of the directory that ends at `end`; return from where to where each reaches."""
    size, offset = struct.unpack_from("<II", data, end + 12)
    position = end - size if end - size >= 0 else offset
    shift = position - offset  # bytes in front of the archive (self-extracting, polyglot)
    listed: list[tuple[int, int]] = []
    while data.startswith(b"PK\x01\x02", position) and position + 46 <= len(data):
        (flags, method, _, _, packed, _, name_size, extra_size, comment_size, _, _, _, local) = (
            struct.unpack_from("<HHIIIIHHHHHII", data, position + 8)
        )
        name = data[position + 46 : position + 46 + name_size]
        position += 46 + name_size + extra_size + comment_size
        local += max(0, shift)
        listed.append((local, local + 30 + packed))
        if not _open_file(data, _File(name, flags, method, packed, local), depth, budget):
            break
    return listed


def _open_unlisted(data: bytes, listed: list[tuple[int, int]], depth: int, budget: _Budget) -> None:
    """Open what no directory names, between what one does: some programs go by the files' own heads."""
    place = 0
    for begin, end in (*listed, (len(data), len(data))):
        while (at := data.find(_FILE_HEAD, place, begin)) >= 0 and at + 30 <= len(data):
            flags, method, _, _, packed, _, name_size, _ = struct.unpack_from("<HHIIIIHH", data, at + 6)
            name = data[at + 30 : at + 30 + name_size]
            file = _File(name, flags, method, packed or MAX_MEMBER_BYTES, at)
            if not _open_file(data, file, depth, budget):
                return
            place = at + 30 + packed
        place = max(place, end)


def _open_file(data: bytes, file: _File, depth: int, budget: _Budget) -> bool:
    """Open one file of a zip archive; return whether there is room for more."""
    if len(budget.members) >= MAX_MEMBERS:
        budget.fails("an archive with too many files")
        return False
    text = file.name.decode("utf-8" if file.flags & 0x800 else "cp437", "replace")
    if file.flags & 1:
        budget.members.append(Member(text, "", encrypted=True, depth=depth, start=b""))
    else:
        start = _member(data, file, budget) if file.packed else b""
        _keep(text, start, depth, budget, encrypted=False)
    return True


def _member(data: bytes, file: _File, budget: _Budget) -> bytes:
    local = file.local
    if not data.startswith(_FILE_HEAD, local) or local + 30 > len(data):
        budget.fails("a broken zip archive")
        return b""
    name_size, extra_size = struct.unpack_from("<HH", data, local + 26)
    begin = local + 30 + name_size + extra_size
    if file.method == 0:
        room = min(file.packed, budget.room())
        budget.inflated += room
        return data[begin : begin + room]
    if file.method == 8:
        return _inflate(data[begin : begin + min(file.packed, MAX_MEMBER_BYTES)], -15, budget)[0]
    budget.fails("an archive packed by an unknown method")
    return b""


def _whole(data: bytes, kind: str, budget: _Budget) -> bytes:
    """Return what a packed file holds: such files may be written one behind the other."""
    out = b""
    for _ in range(_MOST_STREAMS):
        more, data = _inflate(data, 47, budget) if kind == "gzip" else _unpack(data, kind, budget)
        out += more
        if kind_of(data) != kind:
            return out
    budget.fails("an archive of too many pieces")
    return out


def _inflate(data: bytes, window: int, budget: _Budget) -> tuple[bytes, bytes]:
    """Return what one deflated stream holds, within the room that is left, and what follows it."""
    room = budget.room()
    if not room:
        return b"", b""
    stream = zlib.decompressobj(window)
    out = b""
    try:
        out = stream.decompress(data, min(room, _START_BYTES))  # kept where the rest is broken
        if stream.unconsumed_tail and room > _START_BYTES:
            out += stream.decompress(stream.unconsumed_tail, room - _START_BYTES)
    except zlib.error:
        budget.fails("a broken archive")
        budget.inflated += room
        return out, b""
    budget.inflated += max(len(out), len(data) - len(stream.unused_data))  # yielding nothing costs time too
    if stream.unconsumed_tail:
        budget.fails("an archive with a file larger than 8 MiB")
    return out, stream.unused_data


def _unpack(data: bytes, kind: str, budget: _Budget) -> tuple[bytes, bytes]:
    """Return what one bzip2 or xz stream holds, within the room that is left, and what follows it."""
    room = budget.room()
    if not room:
        return b"", b""
    try:
        stream = (
            bz2.BZ2Decompressor()
            if kind == "bzip2"
            else lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)
        )
        out: bytes = stream.decompress(data, room)
    except (OSError, EOFError, lzma.LZMAError, MemoryError):
        budget.fails("a broken archive")
        budget.inflated += room
        return b"", b""
    budget.inflated += max(len(out), len(data) - len(stream.unused_data))
    if not stream.eof:
        budget.fails("an archive with a file larger than 8 MiB")
    return out, stream.unused_data


def _open_catalog(data: bytes, kind: str, depth: int, budget: _Budget) -> None:
    """Take the names of an archive of which nothing, or little, is unpacked; what precedes a fault counts."""
    try:
        found: Iterable[catalogs.Entry] = catalogs.entries(data, kind) if kind != "7z" else ()
        if kind == "7z":
            found, used = seven_zip.entries(data, budget.room())
            budget.inflated += used
        for entry in found:
            if len(budget.members) >= MAX_MEMBERS:
                budget.fails("an archive with too many files")
                return
            _keep(entry.filename, entry.start, depth, budget, encrypted=entry.encrypted)
    except Unreadable as error:
        budget.fails(str(error))
        budget.inflated += seven_zip.HEADER_BYTES if kind == "7z" else 0


def _open_tar(data: bytes, depth: int, budget: _Budget) -> None:
    position = 0
    while position + 512 <= len(data) and data[position : position + 1] != b"\0":
        if len(budget.members) >= MAX_MEMBERS:
            budget.fails("an archive with too many files")
            return
        try:
            size = int(data[position + 124 : position + 136].strip(b"\0 ") or b"0", 8)
        except ValueError:
            budget.fails("a broken archive")
            return
        name = data[position : position + 100].rstrip(b"\0").decode("utf-8", "replace")
        begin = position + 512
        room = min(max(0, size), budget.room()) if size > 0 else 0
        budget.inflated += room
        _keep(name, data[begin : begin + room], depth, budget, encrypted=False)
        position = begin + (max(0, size) + 511) // 512 * 512
