"""Archives made to hide what they hold, or to cost more than they are worth."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import time
import zipfile
import zlib

import pytest

from screening.attachments import Attachment, Contents, open_all
from screening.magic import kind_of
from tests.screening.test_archives import rar4, rar4_file
from tests.screening.test_attachments import packed

PROGRAM = packed({"setup.exe": b"MZ\x90\0program"})
ISO_SECTOR = 2048


def opened(name: str, data: bytes) -> Contents:
    return open_all((Attachment(name, (name,), "application/octet-stream", kind_of(data), len(data), data),))


def full_then_stored() -> bytes:
    """Return a zip whose first files use up all room, and whose last holds a program."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(4):
            archive.writestr(f"{number}.bin", bytes(8 << 20), zipfile.ZIP_DEFLATED)
        archive.writestr("inner.zip", PROGRAM, zipfile.ZIP_STORED)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("a.zip", b"something in front" + PROGRAM, id="behind something else"),
        pytest.param("a.jpg.zip", b"\xff\xd8\xff\xe0" + PROGRAM, id="behind a picture"),
        pytest.param("a.zip", PROGRAM + b"PK\5\6" + bytes(18), id="behind an empty directory"),
        pytest.param("a.zip", PROGRAM[:-22], id="without the end of the directory"),
        pytest.param("a.zip", PROGRAM + bytes(70_000), id="before much else"),
        pytest.param("a.rar", b"stub" + rar4("setup.exe"), id="rar behind something else"),
        pytest.param("a.rar", rar4("setup.exe")[:-7] + b"\0\0\x75\0\0\7\0" * 5000, id="before empty blocks"),
        pytest.param("a.gz", gzip.compress(b"") + gzip.compress(PROGRAM), id="gzip of two streams"),
        pytest.param("a.bz2", bz2.compress(b"") + bz2.compress(PROGRAM), id="bzip2 of two streams"),
        pytest.param("a.xz", lzma.compress(b"") + lzma.compress(PROGRAM), id="xz of two streams"),
        pytest.param("a.zip", packed({"b.zip": b"front" + PROGRAM}), id="nested, behind something else"),
    ],
)
def test_a_hidden_program_is_found(name: str, data: bytes) -> None:
    assert "setup.exe" in [member.filename for member in opened(name, data).members]


def test_a_file_with_a_lying_size_is_read() -> None:
    data = packed({"notes.txt": b"MZ\x90\0program"})
    place = data.index(b"PK\1\2") + 24
    found = opened("a.zip", data[:place] + bytes(4) + data[place + 4 :])
    assert [member.kind for member in found.members] == ["pe"]


def test_the_start_of_a_file_that_ends_broken_is_read() -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = deflate.compress(b"MZ\x90\0" + bytes(200_000)) + deflate.flush(zlib.Z_FULL_FLUSH) + b"\x07" * 9
    found = opened("a.gz", data)
    assert [member.kind for member in found.members] == ["pe"]
    assert found.unscannable == "a broken archive"


def test_what_is_not_opened_for_want_of_room_is_said() -> None:
    assert opened("a.zip", full_then_stored()).unscannable == "an archive that grows beyond 32 MiB"


def broken_many_times() -> bytes:
    """Return a zip of 300 files, one stream of 8 MiB that ends broken."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = deflate.compress(bytes((8 << 20) - 10)) + deflate.flush(zlib.Z_FULL_FLUSH) + b"\x07" * 50
    head = b"PK\3\4" + struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, 0, len(stream), 8 << 20, 1, 0) + b"a"
    entry = struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 8, 0, 0, 0, len(stream), 8 << 20, 1, 0, 0, 0, 0, 0, 0)
    directory = 300 * (b"PK\1\2" + entry + b"a")
    start = len(head + stream)
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 300, 300, len(directory), start, 0)
    return head + stream + directory + end


def many_folders() -> bytes:
    """Return a 7z header of 60 000 packed streams without coders."""
    count = b"\xc0\x60\xea"  # 60 000 as 7z writes numbers
    header = b"\1\4\6\0\0\0\7\x0b" + count + b"\0" + bytes(60_000) + b"\0\0\5\0\0\0"
    return b"7z\xbc\xaf\x27\x1c\0\4" + bytes(4) + struct.pack("<QQ", 0, len(header)) + bytes(4) + header


def many_directories() -> bytes:
    """Return a disk image of overlapping folders, each of thousands of folders."""

    def record(sector: int) -> bytes:
        return b"\x22\0" + struct.pack("<I4xI4x", sector, 1 << 20) + bytes(7) + b"\2" + bytes(6) + b"\1a"

    volume = (b"\1CD001" + bytes(150) + record(20)).ljust(ISO_SECTOR, b"\0")
    front = bytes(16 * ISO_SECTOR) + volume + b"\xffCD001".ljust(3 * ISO_SECTOR, b"\0")
    return front + b"".join(record(20 + number % 40) for number in range(60_000))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(broken_many_times(), id="broken files"),
        pytest.param(many_folders(), id="7z folders"),
        pytest.param(many_directories(), id="folders of an image"),
        pytest.param(b"Rar!\x1a\7\0" + struct.pack("<HBHH", 0, 0x75, 0, 7) * 1_000_000, id="rar 4 blocks"),
        pytest.param(b"Rar!\x1a\7\1\0" + b"\0\0\0\0\x02\x03\x00" * 1_000_000, id="rar 5 blocks"),
        pytest.param(rar4_file("x" * 60, b"") * 2000, id="no archive"),
    ],
)
def test_what_yields_nothing_costs_little(data: bytes) -> None:
    started = time.process_time()
    found = opened("a", data)
    assert time.process_time() - started < 1.0
    assert found.unscannable or not found.members
