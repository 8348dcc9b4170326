"""Names, locks and first bytes of what RAR, CAB, ISO and TNEF files hold; nothing is unpacked; linear."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAX_ENTRIES = 1000
#: So much of a file that is stored as it is tells its kind.
START_BYTES = 64 * 1024
_RAR4, _RAR5 = b"Rar!\x1a\x07\x00", b"Rar!\x1a\x07\x01\x00"
_SECTOR = 2048
_MOST_FOLDERS = 200
#: What is read of any kind, files or not, before an archive counts as too large.
_MOST_BLOCKS = 3 * MAX_ENTRIES
_TOO_MANY = "an archive with too many files"


class Unreadable(Exception):
    """The file is not what its first bytes promise, as a person would say it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file inside; `start` is empty where its bytes are packed or locked."""

    filename: str
    encrypted: bool = False
    start: bytes = b""


def entries(data: bytes, kind: str) -> Iterator[Entry]:
    """Yield what a "rar", "cab", "iso" or "tnef" holds, at most 1000 entries; Unreadable where it is cut."""
    found = {"rar": _rar, "cab": _cab, "iso": _iso, "tnef": _tnef}[kind](data)
    try:
        for _ in range(MAX_ENTRIES):
            entry = next(found, None)
            if entry is None:
                return
            yield entry
    except (struct.error, IndexError) as error:
        raise Unreadable(f"a broken {kind} archive") from error
    raise Unreadable(_TOO_MANY)


def _rar(data: bytes) -> Iterator[Entry]:
    return _rar5(data) if data.startswith(_RAR5) else _rar4(data)


def _rar4(data: bytes) -> Iterator[Entry]:
    position = len(_RAR4)
    for _ in range(_MOST_BLOCKS):
        if position + 7 > len(data):
            return
        kind, flags, size = struct.unpack_from("<BHH", data, position + 2)
        if kind == 0x73 and flags & 0x80:  # block headers are encrypted, names too
            yield Entry("", encrypted=True)
            return
        if kind == 0x7B or size < 7:
            return
        packed = struct.unpack_from("<I", data, position + 7)[0] if flags & 0x8000 or kind == 0x74 else 0
        if kind == 0x74:
            method, name_size = struct.unpack_from("<BH", data, position + 25)
            begin = position + 32 + (8 if flags & 0x100 else 0)
            name = data[begin : begin + name_size].partition(b"\0")[0]
            locked, after = bool(flags & 4), position + size
            stored = data[after : after + min(packed, START_BYTES)] if method == 0x30 and not locked else b""
            yield Entry(name.decode("utf-8", "replace"), locked, stored)
        position += size + packed
    raise Unreadable(_TOO_MANY)


def _vint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise Unreadable("a broken rar archive")


def _rar5(data: bytes) -> Iterator[Entry]:
    position = len(_RAR5)
    for _ in range(_MOST_BLOCKS):
        if position + 7 > len(data):
            return
        size, start = _vint(data, position + 4)
        end = start + size
        kind, place = _vint(data, start)
        flags, place = _vint(data, place)
        extra, place = _vint(data, place) if flags & 1 else (0, place)
        packed, place = _vint(data, place) if flags & 2 else (0, place)
        if kind == 4:  # everything behind is encrypted
            yield Entry("", encrypted=True)
            return
        if kind == 5 or not size:
            return
        if kind == 2:
            yield _rar5_file(data, place, (end - extra, end), packed)
        position = end + packed
    raise Unreadable(_TOO_MANY)


def _rar5_file(data: bytes, place: int, extra: tuple[int, int], packed: int) -> Entry:
    flags, place = _vint(data, place)
    for _ in range(2):  # unpacked size, attributes
        _, place = _vint(data, place)
    place += 4 * bool(flags & 2) + 4 * bool(flags & 4)
    method, place = _vint(data, place)
    _, place = _vint(data, place)
    length, place = _vint(data, place)
    name = data[place : place + length].decode("utf-8", "replace")
    locked, (place, end) = False, extra
    while place < end:
        size, begin = _vint(data, place)
        locked = locked or _vint(data, begin)[0] == 1
        place = begin + max(1, size)
    stored = data[end : end + min(packed, START_BYTES)] if not method & 0x380 and not locked else b""
    return Entry(name, locked, stored)


def _cab(data: bytes) -> Iterator[Entry]:
    (position,) = struct.unpack_from("<I", data, 16)
    (count,) = struct.unpack_from("<H", data, 28)
    for _ in range(count):
        begin = position + 16
        end = data.find(b"\0", begin, begin + 1024)
        if end < 0:
            raise Unreadable("a broken cab archive")
        yield Entry(data[begin:end].decode("utf-8", "replace"))
        position = end + 1


def _volume(data: bytes) -> tuple[bytes, str]:
    """Return the description of a disk image that has the longest names, and their charset."""
    found: tuple[bytes, str] = (b"", "ascii")
    for sector in range(16, 32):
        volume = data[sector * _SECTOR : (sector + 1) * _SECTOR]
        if volume[1:6] != b"CD001" or volume[0] == 255:
            break
        if volume[0] == 1 and not found[0]:
            found = volume, "ascii"
        elif volume[0] == 2 and volume[88:90] == b"%/":
            found = volume, "utf-16-be"
    return found


def _iso(data: bytes) -> Iterator[Entry]:
    """Read the Joliet names where there are any, the short ones otherwise."""
    volume, charset = _volume(data)
    if not volume:
        raise Unreadable("a disk image without a list of files")
    folders, seen = [struct.unpack_from("<I4xI", volume, 158)], set[int]()
    while folders and len(seen) < _MOST_FOLDERS:
        sector, size = folders.pop()
        if sector in seen:
            continue
        seen.add(sector)
        block = data[sector * _SECTOR : sector * _SECTOR + min(size, 1 << 20)]
        for name, begin, length, is_folder in _records(block):
            if is_folder:
                if len(folders) > _MOST_BLOCKS:
                    raise Unreadable(_TOO_MANY)
                folders.append((begin, length))
                continue
            start = data[begin * _SECTOR : begin * _SECTOR + min(length, START_BYTES)]
            yield Entry(name.decode(charset, "replace").partition(";")[0], start=start)


def _records(block: bytes) -> Iterator[tuple[bytes, int, int, bool]]:
    position = 0
    while position + 33 < len(block):
        length = block[position]
        if not length:  # records do not cross sectors
            position = (position // _SECTOR + 1) * _SECTOR
            continue
        begin, size = struct.unpack_from("<I4xI", block, position + 2)
        name = block[position + 33 : position + 33 + block[position + 32]]
        if name not in (b"\0", b"\1"):
            yield name, begin, size, bool(block[position + 25] & 2)
        position += length


def _tnef(data: bytes) -> Iterator[Entry]:
    """Read the files of an Outlook message (winmail.dat, MS-OXTNEF)."""
    position, names, body = 6, list[bytes](), b""
    for _ in range(_MOST_BLOCKS):
        if position + 11 > len(data):
            yield from _named(names, body)
            return
        kind, size = struct.unpack_from("<II", data, position + 1)
        value = data[position + 9 : position + 9 + size]
        if kind == 0x00069002:  # a file begins
            yield from _named(names, body)
            names, body = [], b""
        elif kind == 0x00018010:
            names.append(value)
        elif kind == 0x0006800F:
            body = value
        elif kind == 0x00069005 and (at := value.find(b"\x1f\0\x07\x37")) >= 0:  # its long name, UTF-16
            (length,) = struct.unpack_from("<I", value, at + 8)
            names.append(value[at + 12 : at + 12 + min(length, 2048)].decode("utf-16-le", "replace").encode())
        position += 11 + size
    raise Unreadable(_TOO_MANY)


def _named(names: list[bytes], body: bytes) -> Iterator[Entry]:
    for name in names or ([b""] if body else []):
        yield Entry(name.decode("utf-8", "replace").strip("\0"), start=body)
        body = b""
