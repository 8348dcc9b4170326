from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import pytest

from screening.attachments import MAX_INFLATED_BYTES, Attachment, open_all
from screening.magic import ending, kind_of


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def attached(data: bytes) -> tuple[Attachment, ...]:
    return (Attachment("a", ("a",), "application/octet-stream", kind_of(data), len(data), data),)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"MZ\x90\0", "pe"),
        (b"%PDF-1.4", "pdf"),
        (b"PK\x03\x04", "zip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
        (b"L\0\0\0\x01\x14\x02\0", "lnk"),
        (b"\0" * 0x8001 + b"CD001", "iso"),
        (b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d", "onenote"),
        (b" <!DOCTYPE html><p>", "html"),
        (b"<?xml version='1.0'?><svg onload=x>", "svg"),
        (b"hello", ""),
        (b"", ""),
    ],
)
def test_kinds_are_told_by_bytes(data: bytes, kind: str) -> None:
    assert kind_of(data) == kind


@pytest.mark.parametrize(
    ("name", "end"), [("a.EXE", "exe"), ("a.exe. ", "exe"), ("a", ""), ("a.b.c", "c"), ("a.pdf .scr", "scr")]
)
def test_endings_are_read_as_windows_does(name: str, end: str) -> None:
    assert ending(name) == end


def test_members_are_found_in_nested_archives() -> None:
    inner = packed({"run.exe": b"MZ"})
    contents = open_all(attached(packed({"inner.zip": inner, "note.txt": b"x"})))
    assert [(m.filename, m.kind) for m in contents.members] == [
        ("inner.zip", "zip"),
        ("run.exe", "pe"),
        ("note.txt", ""),
    ]
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        info = tarfile.TarInfo("x.exe")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"MZ"))
    contents = open_all(attached(gzip.compress(tar.getvalue())))
    assert ("x.exe", "pe") in [(m.filename, m.kind) for m in contents.members]


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("case", "data", "why"),
    [
        ("RE-15", packed({"a": b"\0" * 80_000_000}), "larger than 8 MiB"),
        ("RE-25", gzip.compress(b"\0" * 50_000_000), "larger than 8 MiB"),
        ("RE-25", packed({f"f{n}": b"" for n in range(3000)}), "too many files"),
        ("RE-25", b"PK\x05\x06" + b"\0" * 4, "broken"),
        ("", packed({"a": b"abc"})[:-30], "broken"),
    ],
    # the bytes of an archive hold the second in which it was made: no name for a test
    ids=["a zip", "a gzip", "many members", "an empty end", "cut short"],
)
def test_bombs_and_broken_archives_say_why_they_were_not_opened(case: str, data: bytes, why: str) -> None:
    contents = open_all(attached(data))
    assert why in contents.unscannable, case
    assert sum(len(member.start) for member in contents.members) < MAX_INFLATED_BYTES


def test_re25_twenty_nested_archives_stop_at_five() -> None:
    data = packed({"x.exe": b"MZ"})
    for _ in range(20):
        data = packed({"a.zip": data})
    contents = open_all(attached(data))
    assert "nested too deeply" in contents.unscannable
    assert len(contents.members) == 5
