"""What a 7z archive holds: names, locks, and first bytes where LZMA alone packs them; bounded."""

from __future__ import annotations

import lzma
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from screening.catalogs import MAX_ENTRIES, START_BYTES, Entry, Unreadable

_END, _HEADER, _PROPERTIES, _MAIN_STREAMS, _FILES = 0, 1, 2, 4, 5
_PACK, _UNPACK, _SUBSTREAMS, _SIZE, _CRC, _FOLDER, _UNPACK_SIZE, _NUMBER = 6, 7, 8, 9, 10, 11, 12, 13
_EMPTY_STREAM, _NAMES, _ENCODED = 14, 17, 23
_COPY, _LZMA, _LZMA2, _AES = b"\0", b"\3\1\1", b"\x21", b"\6\xf1\7\1"
#: reversible filters for code: they leave a file's first bytes alone
_BRANCH = (b"\3\3\1\3", b"\4", b"\5", b"\6", b"\7", b"\x08", b"\x09", b"\x0a")
_MOST = 100_000
HEADER_BYTES = 4 << 20
#: What an attempt to unpack counts for, though it may yield nothing.
_ATTEMPT_BYTES = 16 * 1024
_DICTIONARY_BYTES = 64 << 20
_BROKEN = "a broken 7z archive"


@dataclass(slots=True)
class _Folder:
    """A packed stream with its coders, as (id, properties), and the sizes of the files in it."""

    coders: list[tuple[bytes, bytes]] = field(default_factory=list)
    streams: int = 1
    outputs: int = 1
    sizes: list[int] = field(default_factory=list)
    checked: bool = False

    @property
    def encrypted(self) -> bool:
        return any(name == _AES for name, _ in self.coders)


@dataclass(slots=True)
class _Streams:
    """Where packed bytes begin, how long each stream is, and the folders."""

    begin: int = 0
    packed: list[int] = field(default_factory=list)
    folders: list[_Folder] = field(default_factory=list)
    files: list[list[int]] = field(default_factory=list)


class _Reader:
    """Walks over a header; IndexError or struct.error where it ends too early."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def byte(self) -> int:
        self.place += 1
        return self.data[self.place - 1]

    def take(self, count: int) -> bytes:
        if count < 0 or self.place + count > len(self.data):
            raise IndexError
        self.place += count
        return self.data[self.place - count : self.place]

    def number(self) -> int:
        """Read 7z's number: the first byte's leading ones say how many bytes follow."""
        first, value = self.byte(), 0
        for index in range(8):
            mask = 0x80 >> index
            if not first & mask:
                return value | (first & (mask - 1)) << (8 * index)
            value |= self.byte() << (8 * index)
        return value

    def count(self) -> int:
        value = self.number()
        if value > _MOST:
            raise Unreadable("an archive with too many files")
        return value

    def bits(self, count: int) -> list[bool]:
        packed = self.take((count + 7) // 8)
        return [bool(packed[n // 8] & (0x80 >> n % 8)) for n in range(count)]

    def digests(self, count: int) -> list[bool]:
        """Skip checksums; return which of them are there."""
        there = [True] * count if self.byte() else self.bits(count)
        self.take(4 * sum(there))
        return there


def entries(data: bytes, room: int) -> tuple[list[Entry], int]:
    """Return what the archive holds and how many bytes were unpacked, at most `room`; Unreadable."""
    try:
        return _entries(data, room)
    except (IndexError, struct.error, lzma.LZMAError, MemoryError) as error:
        raise Unreadable(_BROKEN) from error


def _entries(data: bytes, room: int) -> tuple[list[Entry], int]:
    offset, size = struct.unpack_from("<QQ", data, 12)
    header = data[32 + offset : 32 + offset + size]
    if not size:
        return [], 0
    if len(header) != size or size > HEADER_BYTES:
        raise Unreadable(_BROKEN)
    used = 0
    for _ in range(4):
        reader = _Reader(header)
        if reader.byte() != _ENCODED:
            break
        streams = _streams(reader)
        if not streams.folders:
            raise Unreadable(_BROKEN)
        if streams.folders[0].encrypted:
            return [Entry("", encrypted=True)], 0
        most = min(sum(streams.folders[0].sizes), HEADER_BYTES)
        header = _unpacked(streams.folders[0], _packed(data, streams), most)
        used += len(header)
    found, unpacked = _files(data, _Reader(header), room)
    return found, used + unpacked


def _files(data: bytes, reader: _Reader, room: int) -> tuple[list[Entry], int]:
    streams, names, empty, count = _Streams(), list[str](), list[bool](), 0
    if reader.byte() != _HEADER:
        raise Unreadable(_BROKEN)
    while (kind := reader.byte()) != _END:
        if kind == _MAIN_STREAMS:
            streams = _streams(reader)
        elif kind == _FILES:
            count = reader.count()
            while (part := reader.number()) != _END:
                body = reader.take(reader.number())
                if part == _NAMES and body[:1] == b"\0":
                    names = body[1:].decode("utf-16-le", "replace").split("\0")[:count]
                elif part == _EMPTY_STREAM:
                    empty = _Reader(body).bits(count)
            break
        else:
            raise Unreadable(_BROKEN)
    return _joined(data, streams, names, empty + [False] * (count - len(empty)), room)


def _joined(
    data: bytes, streams: _Streams, names: Sequence[str], empty: Sequence[bool], room: int
) -> tuple[list[Entry], int]:
    """Give each name the bytes of its stream; names without a stream are folders or empty files."""
    starts: list[tuple[bool, bytes]] = []
    used = before = 0
    begin = 32 + streams.begin
    for folder, sizes in zip(streams.folders, streams.files, strict=True):
        text, most = b"", min(room - used, sum(sizes))
        if most > 0 and not folder.encrypted:
            packed = _packed(data, streams, before, begin)
            text = _unpacked(folder, packed, most)
            used += max(len(text) or len(packed), _ATTEMPT_BYTES)
        begin += sum(streams.packed[before : before + folder.streams])
        before += folder.streams
        place = 0
        for size in sizes:
            starts.append((folder.encrypted, text[place : place + min(size, START_BYTES)]))
            place += size
    following = iter(starts)
    found = []
    for name, nothing in zip(names[:MAX_ENTRIES], empty, strict=False):
        encrypted, start = (False, b"") if nothing else next(following, (False, b""))
        found.append(Entry(name, encrypted, start))
    if len(names) > MAX_ENTRIES:
        raise Unreadable("an archive with too many files")
    return found, used


def _streams(reader: _Reader) -> _Streams:
    found = _Streams()
    while (kind := reader.byte()) != _END:
        if kind == _PACK:
            _pack(reader, found)
        elif kind == _UNPACK:
            _unpack(reader, found)
        elif kind == _SUBSTREAMS:
            _substreams(reader, found)
        else:
            raise Unreadable(_BROKEN)
    if not found.files:
        found.files = [folder.sizes[-1:] for folder in found.folders]
    return found


def _pack(reader: _Reader, found: _Streams) -> None:
    found.begin, count = reader.number(), reader.count()
    while (kind := reader.byte()) != _END:
        if kind == _SIZE:
            found.packed = [reader.number() for _ in range(count)]
        elif kind == _CRC:
            reader.digests(count)
        else:
            raise Unreadable(_BROKEN)


def _unpack(reader: _Reader, found: _Streams) -> None:
    if reader.byte() != _FOLDER:
        raise Unreadable(_BROKEN)
    count = reader.count()
    if count > MAX_ENTRIES:
        raise Unreadable("an archive with too many files")
    if reader.byte():
        raise Unreadable(_BROKEN)
    found.folders = [_folder(reader) for _ in range(count)]
    while (kind := reader.byte()) != _END:
        if kind == _UNPACK_SIZE:
            for folder in found.folders:
                folder.sizes = [reader.number() for _ in range(folder.outputs)]
        elif kind == _CRC:
            for folder, checked in zip(found.folders, reader.digests(count), strict=True):
                folder.checked = checked
        else:
            raise Unreadable(_BROKEN)


def _folder(reader: _Reader) -> _Folder:
    folder, inputs, outputs = _Folder(), 0, 0
    for _ in range(min(reader.count(), 32)):
        flags = reader.byte()
        name = reader.take(flags & 0xF)
        ins, outs = (reader.count(), reader.count()) if flags & 0x10 else (1, 1)
        inputs, outputs = inputs + ins, outputs + outs
        folder.coders.append((name, reader.take(reader.count()) if flags & 0x20 else b""))
    for _ in range(2 * (outputs - 1)):
        reader.number()
    folder.outputs, folder.streams = outputs, inputs - (outputs - 1)
    if folder.streams < 0:
        raise Unreadable(_BROKEN)
    if folder.streams > 1:
        for _ in range(folder.streams):
            reader.number()
    return folder


def _substreams(reader: _Reader, found: _Streams) -> None:
    counts = [1] * len(found.folders)
    kind = reader.byte()
    if kind == _NUMBER:
        counts = [reader.count() for _ in found.folders]
        kind = reader.byte()
    if sum(counts) > _MOST:
        raise Unreadable("an archive with too many files")
    for folder, count in zip(found.folders, counts, strict=True):
        whole = folder.sizes[-1] if folder.sizes else 0
        sizes = [reader.number() for _ in range(count - 1)] if kind == _SIZE else [0] * (count - 1)
        found.files.append([*sizes, max(0, whole - sum(sizes))] if count else [])
    if kind == _SIZE:
        kind = reader.byte()
    if kind == _CRC:
        pairs = zip(found.folders, counts, strict=True)
        reader.digests(sum(n for folder, n in pairs if n != 1 or not folder.checked))
        kind = reader.byte()
    if kind != _END:
        raise Unreadable(_BROKEN)


def _packed(data: bytes, streams: _Streams, number: int = 0, begin: int | None = None) -> bytes:
    """Return the packed stream of that number, which begins at `begin` (if not given, the first's place)."""
    begin = 32 + streams.begin if begin is None else begin
    return data[begin : begin + (streams.packed[number] if number < len(streams.packed) else 0)]


def _unpacked(folder: _Folder, packed: bytes, room: int) -> bytes:
    """Return at most `room` bytes of a folder, b"" where its methods are not LZMA or none at all."""
    coders = [coder for coder in folder.coders if coder[0] not in _BRANCH]
    if len(coders) != 1 or room <= 0:
        return b""
    name, properties = coders[0]
    if name == _COPY:
        return packed[:room]
    if (chosen := _filter(name, properties)) is None:
        return b""
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chosen]).decompress(packed, room)


def _filter(name: bytes, properties: bytes) -> dict[str, int] | None:
    if name == _LZMA and len(properties) == 5:
        first, dictionary = struct.unpack("<BI", properties)
        rest, lc = divmod(first, 9)
        pb, lp = divmod(rest, 5)
        chosen = {"id": lzma.FILTER_LZMA1, "dict_size": max(4096, dictionary), "lc": lc, "lp": lp, "pb": pb}
    elif name == _LZMA2 and properties and properties[0] <= 40:
        bits = properties[0]
        chosen = {"id": lzma.FILTER_LZMA2, "dict_size": (2 | bits & 1) << (bits // 2 + 11)}
    else:
        return None
    if chosen["dict_size"] > _DICTIONARY_BYTES:
        raise Unreadable("an archive that wants too much memory")
    return chosen
