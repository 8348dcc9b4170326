"""Attachments, and archives opened under caps: nothing is trusted, nothing is written, time is bounded."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from dataclasses import dataclass

from screening import catalogs, seven_zip
from screening.catalogs import Unreadable
from screening.magic import PACKED, kind_of

MAX_MEMBERS = 1000
MAX_DEPTH = 5
#: All that is inflated for one message, and one member's share of it.
MAX_INFLATED_BYTES = 32 * 1024 * 1024
MAX_MEMBER_BYTES = 8 * 1024 * 1024
#: What is looked into; disk images hold files as archives do.
OPENED = PACKED | {"iso"}
_LZMA_MEMORY = 96 * 1024 * 1024
_DIRECTORY_END = b"PK\x05\x06"


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


def open_all(attachments: tuple[Attachment, ...]) -> Contents:
    """Return the members of all archives, nested ones too; never raises, bounded in memory and time."""
    if not attachments:
        return _NOTHING
    budget = _Budget([])
    for attachment in attachments:
        if attachment.kind in OPENED:
            _open(attachment.data, attachment.kind, 1, budget)
    return Contents(tuple(budget.members), budget.unscannable)


def _open(data: bytes, kind: str, depth: int, budget: _Budget) -> None:
    if depth > MAX_DEPTH:
        budget.unscannable = budget.unscannable or "archives nested too deeply"
    elif kind == "zip":
        _open_zip(data, depth, budget)
    elif kind == "gzip":
        inner = _inflate(data, 47, budget)
        if inner:
            _keep("", inner, depth, budget, encrypted=False)
    elif kind in ("bzip2", "xz"):
        inner = _unpack(data, kind, budget)
        if inner:
            _keep("", inner, depth, budget, encrypted=False)
    elif kind == "tar":
        _open_tar(data, depth, budget)
    elif kind in ("rar", "cab", "iso", "7z"):
        _open_catalog(data, kind, depth, budget)


def _keep(name: str, start: bytes, depth: int, budget: _Budget, *, encrypted: bool) -> None:
    kind = kind_of(start)
    budget.members.append(Member(name, kind, encrypted, depth, start[:65536]))
    if kind in OPENED and not encrypted:
        _open(start, kind, depth + 1, budget)


def _open_zip(data: bytes, depth: int, budget: _Budget) -> None:
    end = data.rfind(_DIRECTORY_END, max(0, len(data) - 66_000))
    if end < 0 or end + 22 > len(data):
        budget.unscannable = budget.unscannable or "a broken zip archive"
        return
    size, offset = struct.unpack_from("<II", data, end + 12)
    position = end - size if end - size >= 0 else offset
    shift = position - offset  # bytes in front of the archive (self-extracting, polyglot)
    while data.startswith(b"PK\x01\x02", position) and position + 46 <= len(data):
        if len(budget.members) >= MAX_MEMBERS:
            budget.unscannable = budget.unscannable or "an archive with too many files"
            return
        (flags, method, _, _, packed, unpacked, name_size, extra_size, comment_size, _, _, _, local) = (
            struct.unpack_from("<HHIIIIHHHHHII", data, position + 8)
        )
        name = data[position + 46 : position + 46 + name_size]
        position += 46 + name_size + extra_size + comment_size
        text = name.decode("utf-8" if flags & 0x800 else "cp437", "replace")
        if flags & 1:
            budget.members.append(Member(text, "", encrypted=True, depth=depth, start=b""))
            continue
        start = b""
        if unpacked:
            start = _member(data, local + max(0, shift), packed, method, budget)
        _keep(text, start, depth, budget, encrypted=False)


def _member(data: bytes, local: int, packed: int, method: int, budget: _Budget) -> bytes:
    if not data.startswith(b"PK\x03\x04", local) or local + 30 > len(data):
        budget.unscannable = budget.unscannable or "a broken zip archive"
        return b""
    name_size, extra_size = struct.unpack_from("<HH", data, local + 26)
    begin = local + 30 + name_size + extra_size
    if method == 0:
        room = min(packed, MAX_MEMBER_BYTES, MAX_INFLATED_BYTES - budget.inflated)
        budget.inflated += max(0, room)
        return data[begin : begin + max(0, room)]
    if method == 8:
        return _inflate(data[begin : begin + min(packed, MAX_MEMBER_BYTES)], -15, budget)
    budget.unscannable = budget.unscannable or "an archive packed by an unknown method"
    return b""


def _inflate(data: bytes, window: int, budget: _Budget) -> bytes:
    room = min(MAX_MEMBER_BYTES, MAX_INFLATED_BYTES - budget.inflated)
    if room <= 0:
        budget.unscannable = budget.unscannable or "an archive that grows beyond 32 MiB"
        return b""
    stream = zlib.decompressobj(window)
    try:
        out = stream.decompress(data, room)
    except zlib.error:
        budget.unscannable = budget.unscannable or "a broken archive"
        return b""
    budget.inflated += max(len(out), len(data))  # input that yields nothing costs time too
    if stream.unconsumed_tail:
        budget.unscannable = budget.unscannable or "an archive with a file larger than 8 MiB"
    return out


def _unpack(data: bytes, kind: str, budget: _Budget) -> bytes:
    """Return what one bzip2 or xz stream holds, within the room that is left."""
    room = min(MAX_MEMBER_BYTES, MAX_INFLATED_BYTES - budget.inflated)
    if room <= 0:
        budget.unscannable = budget.unscannable or "an archive that grows beyond 32 MiB"
        return b""
    try:
        stream = (
            bz2.BZ2Decompressor()
            if kind == "bzip2"
            else lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)
        )
        out: bytes = stream.decompress(data, room)
    except (OSError, EOFError, lzma.LZMAError, MemoryError):
        budget.unscannable = budget.unscannable or "a broken archive"
        return b""
    budget.inflated += max(len(out), len(data))
    if not stream.eof:
        budget.unscannable = budget.unscannable or "an archive with a file larger than 8 MiB"
    return out


def _open_catalog(data: bytes, kind: str, depth: int, budget: _Budget) -> None:
    """Take the names of an archive of which nothing, or little, is unpacked."""
    try:
        if kind == "7z":
            room = min(MAX_MEMBER_BYTES, MAX_INFLATED_BYTES - budget.inflated)
            found, used = seven_zip.entries(data, room)
            budget.inflated += used
        else:
            found = list(catalogs.entries(data, kind))
    except Unreadable as error:
        budget.unscannable = budget.unscannable or str(error)
        return
    for entry in found:
        if len(budget.members) >= MAX_MEMBERS:
            budget.unscannable = budget.unscannable or "an archive with too many files"
            return
        _keep(entry.filename, entry.start, depth, budget, encrypted=entry.encrypted)


def _open_tar(data: bytes, depth: int, budget: _Budget) -> None:
    position = 0
    while position + 512 <= len(data) and data[position : position + 1] != b"\0":
        if len(budget.members) >= MAX_MEMBERS:
            budget.unscannable = budget.unscannable or "an archive with too many files"
            return
        try:
            size = int(data[position + 124 : position + 136].strip(b"\0 ") or b"0", 8)
        except ValueError:
            budget.unscannable = budget.unscannable or "a broken archive"
            return
        name = data[position : position + 100].rstrip(b"\0").decode("utf-8", "replace")
        begin = position + 512
        room = min(max(0, size), MAX_MEMBER_BYTES, max(0, MAX_INFLATED_BYTES - budget.inflated))
        budget.inflated += room
        _keep(name, data[begin : begin + room], depth, budget, encrypted=False)
        position = begin + (max(0, size) + 511) // 512 * 512
