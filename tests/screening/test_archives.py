"""RAR, 7z, CAB, ISO, bzip2 and xz: names, locks and programs are seen, and nothing hostile gets through."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import struct
import tarfile
import time
import tracemalloc
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screening.attachments import open_all
from screening.catalogs import Unreadable, entries
from screening.ruleset import Ruleset
from tests.screening.mails import mail_of
from tests.screening.test_attachments import attached, packed

#: made by 7z 16.02: notes.txt and setup.exe ("MZprogram"); with a password; with a password for the names too
SEVEN = base64.b64decode(
    "N3q8ryccAARyGIJhewAAAAAAAAAgAAAAAAAAAM6tR4cBAA1oZWxsb01acHJvZ3JhbQAAAIEzB64PzxYxDAfIQ39Bsfr931/l"
    "O9ZHLvWBEMLU+XbevuhN7MB5VAhoF9pqZq8TC1xep/+P4dXNvfTaOI8OBFSBf2ot7APXVAEQteI0vo0vPp3Sdwxk6YEdAAIw"
    "SCxZsyt5M5mSAAAXBhIBCWkABwsBAAEjAwEBBV0AEAAADH4KAVo6y/oAAA=="
)
SEVEN_LOCKED = base64.b64decode(
    "N3q8ryccAAR9XUHfEAAAAAAAAABqAAAAAAAAAH76zTNvdI23DZGuP/YFXtQx7Z9RAQQGAAEJEAAHCwEAAiQG8QcBElMP0wOw"
    "dBTQRAjbjrlqspPsJCEhAQABAAwNCQAICgEKt7MCAAAFARkBABEVAHMAZQB0AHUAcAAuAGUAeABlAAAAFAoBAB3S4g6yet0B"
    "FQYBACCApIEAAA=="
)
SEVEN_HIDDEN = base64.b64decode(
    "N3q8ryccAASzgi2ogAAAAAAAAAAuAAAAAAAAAH3NEi3HfplrSAwMLHkwOyexg5uHgBy82v6EIWyoNKJKlDxjUWkwA+Hezvl3"
    "id5ntTT8RvhnXPp8PKMk8Y24lHOsYqAKWnbmSuEMnizejokk7mX+2037i5vby2wyZTuWMX+MF5sz1KDBrEAUJwGZIlFUPZeS"
    "VebUPraG7ZQoI9ZvEdw1GxcGEAEJcAAHCwEAASQG8QcBElMPqInwvom177Mx5v2uPQShqwxqCgEpvZtfAAA="
)
#: made by genisoimage, with Joliet names, packed by xz
_ISO = (
    "/Td6WFoAAATm1rRGAgAhARwAAAAQz1jM5bf/A3pdAABv/f//o7f/Rz5IFXI5YVG4kijmo4YH+e7kHoLTL8U6PAFLsX7JiopN"
    "L6MN2X+m44wjEVPgWRjFdYrid/dE790OjkefKuUNdUG7Q609LBi0BT3LYTAYxkCvjNa5M9Ey+IH8A42Qb0Y2D67d4cKrEhZJ"
    "+uoXhDyUYYGrNoF2qZl7R2ynmhEJyy+ETVJ5wZJIPBo+ftEKjJNUdGbedc3Brlmo1ljODcwDNUn6GdTDGwmHLJPqg57hS+Tu"
    "t/ybz7AIpXb22f6QOLO/9aXpj3+AuKq6bW92r0NsFFt09U/zcXzbYowxYclsMc5PlCTl25DxL6gDSSRS8wOKJAfYJyG7yJbG"
    "5EsGjexSqTecQQhVmiDZJr1zGFeCRw9PRMVLKKI9z+JIxwg2klyMDNvqt4zE1u2++PowX89aQSdIcZZvluBWuGQSe/l/Zewg"
    "HbuIAomVugYR9NCBoRncKqap8MLhpuUBd4dUP7e5b3lHcngP0nPsHg2FVFXtUdB43Gjhp5VOoaoDn9iq1Ida1t2HAyM8cTnn"
    "TTktFC3fANEA16mexhhourtxMrzqZYVr7MUbTnA9eGaBz/TtqzPExW4ggVFvKfU2ZNWoEnr7To2xhzBRY1kn6I3m6xbpSySe"
    "jXZL35qGxYJF3Q3X+XUO/H/jWPfxf0ptqgbyyM5ecStAIANRefLvsDfrBM7hJSDY+NPzzCGDK6XlwK2bu08gpFZgzcsDPWWH"
    "NAPocLrPgvNlHI7ty+85UrneC2zQhgwQ6u6TjcV03GE5Rzp3wbmNa4Ia5/gCPXCS1l1DlZPdUOxTCAns/uMtt8RumpMWaNJT"
    "1liU0yvFAP3IyuBdVGm0VT0MyfFPHdN5SrsjsnCAfN+Hr1Fi8/apgZ0ilmu1L67TWYnaqWbt3HCDMxXQOP3MYx9truCAg3SZ"
    "J7SZKxBttq0zwJ5JIJLgdeLpxMS1acPyss1NKO28AzoZXMSjeTihtl9AhwHsYnrMuHMtNZWkEdXHAZRKKgLDNNPXVipAcgA5"
    "9Mcy4oAsyueHsO7TgYgTSCYmE9/4RJdrjYeUnoyUK6w2U4NCMS9VltCKVqbBeIv18ZtBRLIzHJfcdqRdRxZWm5LJ0poB3Uhm"
    "NUkQhpOqjJxa4dGkqgxYryNRzt4o9nmX58Ft9pilFQGl6KMJKuyq/1omrHIMFpKnvjmPJEN+t48CAAAAN8ibKxfNlRcAAZYH"
    "gPAWAK+NT/6xxGf7AgAAAAAEWVo="
)
ISO = lzma.decompress(base64.b64decode(_ISO))


def vint(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def rar5_block(kind: int, body: bytes, *, extra: bytes = b"", data: bytes = b"") -> bytes:
    flags = (1 if extra else 0) | (2 if data else 0)
    head = vint(kind) + vint(flags)
    head += (vint(len(extra)) if extra else b"") + (vint(len(data)) if data else b"") + body + extra
    head = vint(len(head)) + head
    return struct.pack("<I", zlib.crc32(head)) + head + data


def rar5(name: str, data: bytes = b"MZprogram", *, locked: bool = False) -> bytes:
    told = name.encode()
    body = vint(0) + vint(len(data)) + vint(0o644) + vint(0) + vint(1) + vint(len(told)) + told
    lock = vint(1) + vint(0) + vint(1) + b"x" * 30
    extra = vint(len(lock)) + lock if locked else b""
    blocks = rar5_block(1, vint(0)), rar5_block(2, body, extra=extra, data=data), rar5_block(5, vint(0))
    return b"Rar!\x1a\7\1\0" + b"".join(blocks)


def rar4_file(name: str, data: bytes, *, locked: bool = False) -> bytes:
    told = name.encode()
    head = struct.pack(
        "<HBHHIIBIIBBHI", 0, 0x74, 0x8000 | (4 if locked else 0), 32 + len(told),
        len(data), len(data), 2, 0, 0, 29, 0x30, len(told), 0,
    )  # fmt: skip
    return head + told + data


def rar4(name: str, data: bytes = b"MZprogram", *, locked: bool = False, hidden: bool = False) -> bytes:
    main = struct.pack("<HBHH6x", 0, 0x73, 0x80 if hidden else 0, 13)
    end = struct.pack("<HBHH", 0, 0x7B, 0, 7)
    return b"Rar!\x1a\7\0" + main + rar4_file(name, data, locked=locked) + end


def cab(*names: str) -> bytes:
    files = b"".join(struct.pack("<IIHHHH", 9, 0, 0, 0, 0, 0) + name.encode() + b"\0" for name in names)
    head = struct.pack("<4sIIIIIBBHHHHH", b"MSCF", 0, 0, 0, 44, 0, 3, 1, 1, len(names), 0, 0, 0)
    return head.ljust(44, b"\0") + files


def members(data: bytes) -> list[tuple[str, str, bool]]:
    return [(one.filename, one.kind, one.encrypted) for one in open_all(attached(data)).members]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (SEVEN, [("notes.txt", "", False), ("setup.exe", "pe", False)]),
        (SEVEN_LOCKED, [("setup.exe", "", True)]),
        (SEVEN_HIDDEN, [("", "", True)]),
        (rar5("setup.exe"), [("setup.exe", "pe", False)]),
        (rar5("photo.jpg", locked=True), [("photo.jpg", "", True)]),
        (rar4("setup.exe"), [("setup.exe", "pe", False)]),
        (rar4("photo.jpg", locked=True), [("photo.jpg", "", True)]),
        (rar4("photo.jpg", hidden=True), [("", "", True)]),
        (cab("a.txt", "run.scr"), [("a.txt", "", False), ("run.scr", "", False)]),
        (ISO, [("notes.txt", "", False), ("setup.exe", "pe", False)]),
        (bz2.compress(b"MZprogram"), [("", "pe", False)]),
        (lzma.compress(b"MZprogram"), [("", "pe", False)]),
        (bz2.compress(rar5("setup.exe")), [("", "rar", False), ("setup.exe", "pe", False)]),
        (
            packed({"a.7z": SEVEN}),
            [("a.7z", "7z", False), ("notes.txt", "", False), ("setup.exe", "pe", False)],
        ),
    ],
)
def test_names_locks_and_programs_are_seen(data: bytes, found: list[tuple[str, str, bool]]) -> None:
    assert members(data) == found


@pytest.mark.parametrize(
    "data", [SEVEN_LOCKED, SEVEN_HIDDEN, rar5("a.jpg", locked=True), rar4("a.jpg", hidden=True)]
)
def test_a_locked_archive_with_its_password_in_the_text_is_a_hit(shipped: Ruleset, data: bytes) -> None:
    mail = mail_of({"text": "The password is: 7788", "files": {"doc.bin": "hex:" + data.hex()}})
    assert "locked_archive_with_key" in [hit.rule for hit in shipped.screen(mail).hits]


INNER = rar5("harmless.txt")  # named as a text, a program by its bytes


@pytest.mark.parametrize(
    "data",
    [
        INNER, rar4("harmless.txt"), ISO, SEVEN, packed({"a.rar": INNER}),
        bz2.compress(packed({"x.zip": packed({"a.rar": INNER})})),
    ],
)  # fmt: skip
def test_a_program_in_any_nesting_is_a_hit(shipped: Ruleset, data: bytes) -> None:
    mail = mail_of({"files": {"doc.bin": "hex:" + data.hex()}})
    assert "program_in_archive" in [hit.rule for hit in shipped.screen(mail).hits]


def overlapping(count: int) -> bytes:
    """Return a zip whose directory names the same packed bytes again and again."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0", b"\0" * 8_000_000)
    data = out.getvalue()
    at, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    directory = data[at:end] * count
    tail = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, len(directory), at, 0)
    return data[:at] + directory + tail


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(overlapping(3000), "8 MiB", id="overlap"),
        pytest.param(gzip.compress(b"\0" * 50_000_000), "8 MiB", id="gzip"),
        pytest.param(bz2.compress(b"\0" * 60_000_000), "8 MiB", id="bzip2"),
        pytest.param(lzma.compress(b"\0" * 60_000_000), "8 MiB", id="xz"),
        pytest.param(tarfile.TarInfo("x").tobuf() * 100_000, "too many", id="tar"),
        pytest.param(rar4("a")[:20] + rar4_file("a", b"") * 20_000, "too many", id="rar"),
        pytest.param(cab(*(["a"] * 60_000)), "too many", id="cab"),
        pytest.param(SEVEN[:12] + struct.pack("<QQI", 0, 1 << 60, 0) + SEVEN[32:], "broken", id="7z-header"),
        pytest.param(SEVEN.replace(b"\x5d\0\x10\0\0", b"\x5d\xff\xff\xff\x7f"), "memory", id="7z-memory"),
    ],
)
def test_re25_bombs_cost_bounded_time_and_memory(data: bytes, why: str) -> None:
    tracemalloc.start()
    started = time.process_time()
    contents = open_all(attached(data))
    spent, (_, most) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert why in contents.unscannable
    assert len(contents.members) <= 1000
    assert spent < 5
    assert most < 100 << 20


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([SEVEN, SEVEN_LOCKED, rar5("a.exe"), rar4("a.exe"), cab("a.exe", "b.txt"), ISO]),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=6),
    st.integers(0, 1 << 16),
)
def test_damaged_archives_raise_nothing(data: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    damaged = bytearray(data[: len(data) - cut % max(1, len(data) // 2)])
    for place, value in changes:
        damaged[place % len(damaged)] = value
    assert len(open_all(attached(bytes(damaged))).members) <= 1000


def test_a_disk_image_without_names_says_so() -> None:
    image = b"\0" * 0x8001 + b"CD001" + b"\0" * 4096
    assert "disk image" in open_all(attached(image)).unscannable
    with pytest.raises(Unreadable, match="disk image"):
        list(entries(image, "iso"))
