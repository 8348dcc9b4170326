"""What an attachment is, by its first bytes; its name and label come second."""

from __future__ import annotations

import re

#: (offset, bytes, kind), first match wins
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF", "pdf"),
    (0, b"\x89PNG\r\n", "png"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"GIF8", "gif"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"PK\x07\x08", "zip"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (0, b"{\\rtf", "rtf"),
    (0, b"{\\rt", "rtf"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"MSCF", "cab"),
    (0, b"\x78\x9f\x3e\x22", "tnef"),
    (0, b"\x60\xea", "arj"),
    (0, b"**ACE**", "ace"),
    (7, b"**ACE**", "ace"),
    (0, b"MZ", "pe"),
    (0, b"ZM", "pe"),
    (0, b"\x7fELF", "elf"),
    (0, b"\xcf\xfa\xed\xfe", "macho"),
    (0, b"\xca\xfe\xba\xbe", "java"),
    (0, b"dex\n", "dex"),
    (0, b"L\x00\x00\x00\x01\x14\x02\x00", "lnk"),
    (0, b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d", "onenote"),
    (0, b"\xa1\x2f\xff\x43\xd9\xef\x76\x4c", "onenote"),
    (0, b"ITSF", "chm"),
    (0, b"FWS", "swf"),
    (0, b"CWS", "swf"),
    (0, b"MSWIM\x00\x00\x00", "wim"),
    (0, b"conectix", "vhd"),
    (0, b"vhdxfile", "vhd"),
    (0, b"KDMV", "vmdk"),
    (0, b"BEGIN:VCALENDAR", "calendar"),
    (0, b"#!", "script"),
    (0, b"RIFF", "riff"),
    (0, b"II*\x00", "tiff"),
    (0, b"MM\x00*", "tiff"),
    (4, b"ftyp", "video"),
    (0, b"ID3", "audio"),
    (257, b"ustar", "tar"),
    (0x8001, b"CD001", "iso"),
    (0x8801, b"CD001", "iso"),
    (0x9001, b"CD001", "iso"),
)
#: kinds whose mark is letters, with which text may begin too; then there are blanks and no control characters
_LETTERS = frozenset({"pe", "swf"})
_WRITING = re.compile(rb"[\t\n\r!-~\x80-\xff]*[ ,;\r\n\t][\t\n\r -~\x80-\xff]*")
_HTML = re.compile(
    rb"\s*(?:<!--.{0,500}?-->\s*)?<(?:!doctype\s+html|html|head|body|script|meta|svg|iframe)", re.I | re.S
)
_SVG = re.compile(rb"<svg[\s>]", re.I)

#: name endings that Windows runs or mounts on a double click
RUNS = frozenset(
    [
        "exe",
        "scr",
        "pif",
        "com",
        "bat",
        "cmd",
        "ps1",
        "psm1",
        "vbs",
        "vbe",
        "js",
        "jse",
        "wsf",
        "wsh",
        "wsc",
        "hta",
        "msi",
        "msp",
        "mst",
        "cpl",
        "dll",
        "jar",
        "lnk",
        "inf",
        "reg",
        "scf",
        "url",
        "application",
        "appx",
        "appxbundle",
        "msix",
        "gadget",
        "msc",
        "sct",
        "shb",
        "chm",
        "ws",
        "settingcontent-ms",
        "appref-ms",
        "xll",
        "diagcab",
        "library-ms",
        "search-ms",
        "theme",
        "rdp",
    ]
)
MOUNTS = frozenset(["iso", "img", "vhd", "vhdx", "udf", "dmg"])
PACKED = frozenset({"zip", "rar", "7z", "gzip", "bzip2", "xz", "cab", "arj", "ace", "tar", "wim"})
#: kinds that run by themselves
PROGRAMS = frozenset({"pe", "elf", "macho", "java", "dex", "lnk", "chm", "swf"})


def kind_of(data: bytes) -> str:
    """Return the kind of a file by its bytes, "" where they say nothing."""
    for offset, magic, kind in _MAGIC:
        if data.startswith(magic, offset) and not (kind in _LETTERS and _WRITING.fullmatch(data, 0, 64)):
            return kind
    start = data[:2048].lstrip(b"\xef\xbb\xbf\x00 \t\r\n")
    if start.startswith(b"<") and _HTML.match(start):
        return "svg" if _SVG.search(start) and b"<html" not in start.lower() else "html"
    if start.startswith(b"<?xml") and _SVG.search(start):
        return "svg"
    return ""


def ending(filename: str) -> str:
    """Return the name's last ending, lower case, as Windows reads it (trailing dots and blanks dropped)."""
    name = filename.rstrip(". \t\u202c\u200b").lower()
    dot = name.rfind(".")
    return name[dot + 1 :].strip() if dot >= 0 else ""
