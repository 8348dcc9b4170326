"""Files: what they are by their bytes, names and contents."""

from __future__ import annotations

import re

from screening.magic import MOUNTS, PACKED, PROGRAMS, RUNS, ending
from screening.mail import Mail
from screening.names import random_looking
from screening.rule import rule

_EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
_GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
_GTUBE_TEXT = _GTUBE.decode()
_MACRO = (b"vbaProject.bin", b"_\0V\0B\0A\0_\0P\0R\0O\0J\0E\0C\0T", b"V\0B\0A\0", b"xl/macrosheets")
_SMUGGLING = re.compile(
    rb"msSaveOrOpenBlob|createObjectURL|new\s+Blob\s*\(|\.download\s*="
    rb"|data:application/(?:octet-stream|zip|x-msdownload)",
    re.IGNORECASE,
)
_SCRIPTED = re.compile(
    rb"<script|javascript:|\batob\s*\(|unescape\s*\(|fromCharCode|document\.write", re.IGNORECASE
)
_LOGIN = re.compile(rb"type\s*=\s*[\"']?password", re.IGNORECASE)
_DOCUMENTS = frozenset(
    [
        "pdf",
        "doc",
        "docx",
        "xls",
        "xlsx",
        "ppt",
        "pptx",
        "jpg",
        "jpeg",
        "png",
        "gif",
        "txt",
        "csv",
        "htm",
        "html",
    ]
)
_PDF_ACTION = re.compile(rb"/(?:JavaScript|JS|Launch|OpenAction|EmbeddedFile)\b")
_PASSWORD = re.compile(
    r"\b(?:password|passwort|kennwort|passcode|pass|senha|mot de passe|contrase\u00f1a|wachtwoord|pwd|code)\b"
    r"\s*"
    r"(?:is|ist|:|=|\u00e9|est|es)?\s*[:=]?\s*[\"']?[\w!@#$%-]{3,}",
    re.IGNORECASE,
)


@rule(score=100.0, hits=[{"text": _GTUBE.decode()}], misses=[{"text": "GTUBE is a test string."}])
def gtube(mail: Mail) -> str | None:
    """The test text for spam filters (GTUBE)."""
    return _GTUBE_TEXT if _GTUBE in mail.raw or _GTUBE_TEXT in mail.text else None


@rule(
    score=100.0,
    hits=[{"files": {"eicar.com": _EICAR.decode()}}],
    misses=[{"files": {"notes.txt": "EICAR is a test file."}}],
)
def eicar(mail: Mail) -> str | None:
    """The test file for virus scanners (EICAR), also inside archives."""
    for part in mail.parts:
        if _EICAR[:4] in part.data[:200] and part.data[:200].lstrip().startswith(_EICAR):
            return part.filenames[0] if part.filenames else "EICAR test file"
    for member in mail.contents.members:
        if member.start.startswith(_EICAR):
            return member.filename
    return None


def _runs(name: str, kind: str) -> bool:
    """Whether Windows runs or mounts a file of this name; a picture may be called after a site."""
    end = ending(name)
    return end in MOUNTS or (end in RUNS and not (end == "com" and kind in _SHOWN))


_SHOWN = frozenset({"png", "jpeg", "gif", "pdf", "tiff"})


@rule(
    needs="files",
    score=12.0,
    group="malware",
    hits=[
        {"files": {"invoice.pdf": "hex:4d5a90000300"}},
        {"files": {"invoice.pdf.exe": "x"}},
        {"files": {"disk.iso": "x"}},
    ],
    misses=[
        {"files": {"invoice.pdf": "%PDF-1.4"}},
        {"files": {"zmluva.txt": "ZMLUVA O DIELO"}},
        {"files": {"logo@shop.com": "hex:89504e470d0a1a0a"}},
    ],
)
def program_attached(mail: Mail) -> str | None:
    """A file that runs by itself is attached, whatever it is called."""
    for attachment in mail.attachments:
        if attachment.kind in PROGRAMS:
            return attachment.filename or attachment.kind
        for name in attachment.filenames:
            if _runs(name, attachment.kind):
                return name
    return None


@rule(
    needs="files",
    score=9.0,
    group="malware",
    hits=[{"files": {"scan.zip": {"a.scr": "MZ"}}}],
    misses=[{"files": {"photos.zip": "hex:504b0506" + "00" * 18}}],
)
def program_in_archive(mail: Mail) -> str | None:
    """An attached archive holds a file that runs by itself."""
    for member in mail.contents.members:
        if member.kind in PROGRAMS or _runs(member.filename, member.kind):
            return member.filename
    return None


@rule(
    needs="files",
    score=6.0,
    group="malware",
    hits=[{"files": {"report.jpg.zip": "x", "scan.pdf.js": "var x"}}],
    misses=[{"files": {"report.v2.pdf": "%PDF-1.4"}}],
)
def double_ending(mail: Mail) -> str | None:
    """A file's name pretends to be a document and ends as a program."""
    names = [name for attachment in mail.attachments for name in attachment.filenames]
    for name in (*names, *(member.filename for member in mail.contents.members)):
        before = name.rsplit(".", 2)
        if len(before) == 3 and before[1].strip().lower() in _DOCUMENTS and ending(name) in RUNS:
            return name
    return None


@rule(
    needs="files",
    score=8.0,
    group="malware",
    hits=[{"files": {"photo\u202egpj.exe": "x"}}],
    misses=[{"files": {"photo.jpg": "x"}}],
)
def reversed_file_name(mail: Mail) -> str | None:
    """A file's name is turned around by an invisible character, to hide its ending."""
    for attachment in mail.attachments:
        for name in attachment.filenames:
            if "\u202e" in name or "\u202d" in name:
                return name
    return None


@rule(
    needs="files",
    score=6.0,
    group="malware",
    hits=[
        {
            "files": {
                "order.docm": "hex:d0cf11e0a1b11ae1" + "00" * 20 + "5f0056004200410"
                "05f00500052004f004a00450043005400"
            }
        }
    ],
    misses=[{"files": {"order.doc": "hex:d0cf11e0a1b11ae1" + "00" * 60}}],
)
def macro_document(mail: Mail) -> str | None:
    """An attached Office document contains macros."""
    for attachment in mail.attachments:
        if attachment.kind == "ole" and any(mark in attachment.data for mark in _MACRO[1:3]):
            return attachment.filename
    for member in mail.contents.members:
        if member.filename.endswith("vbaProject.bin") or "macrosheets/" in member.filename:
            return member.filename
    return None


@rule(
    needs="files",
    score=6.0,
    group="malware",
    hits=[{"files": {"secure.html": "<html><script>var b=new Blob([x]);a.download='x.zip'</script>"}}],
    misses=[{"files": {"report.html": "<html><p>Report</p></html>"}}],
)
def html_smuggling(mail: Mail) -> str | None:
    """An attached web page builds a file on the reader's computer."""
    for attachment in mail.attachments:
        if (attachment.kind in ("html", "svg") or ending(attachment.filename) in _WEB) and _SMUGGLING.search(
            attachment.data[:1_000_000]
        ):
            return attachment.filename or "attached page"
    return None


@rule(
    needs="files",
    score=3.5,
    group="malware",
    hits=[{"files": {"payment.html": "<html><script>document.write(unescape('%3c'))</script>"}}],
    misses=[{"files": {"report.html": "<html><p>Report</p></html>"}}],
)
def scripted_page_attached(mail: Mail) -> str | None:
    """An attached web page runs a script or asks for a password."""
    for attachment in mail.attachments:
        if attachment.kind in ("html", "svg") or ending(attachment.filename) in _WEB:
            data = attachment.data[:1_000_000]
            if _SCRIPTED.search(data) or _LOGIN.search(data):
                return attachment.filename or "attached page"
    return None


_WEB = frozenset({"htm", "html", "shtml", "xhtml", "svg", "mht"})


@rule(
    needs="files",
    score=5.0,
    group="malware",
    hits=[{"files": {"notes.one": "hex:e4525c7b8cd8a74daeb15378d02996d3"}}],
    misses=[{"files": {"notes.txt": "one"}}],
)
def onenote_attached(mail: Mail) -> str | None:
    """A OneNote notebook is attached, a usual wrapping for malware."""
    for attachment in mail.attachments:
        if attachment.kind == "onenote" or ending(attachment.filename) == "one":
            return attachment.filename or "notebook"
    return None


@rule(
    needs="files",
    score=4.0,
    group="malware",
    hits=[{"text": "The password is: 7788", "files": {"doc.zip": {"*a.txt": "x"}}}],
    misses=[{"text": "The password is: 7788"}],
)
def locked_archive_with_key(mail: Mail) -> str | None:
    """An encrypted archive is attached and its password stands in the text."""
    locked = [member for member in mail.contents.members if member.encrypted]
    odd = [a for a in mail.attachments if a.kind in ("rar", "7z")]
    if not locked and not odd:
        return None
    found = _PASSWORD.search(mail.folded[:20_000])
    return found[0] if found is not None and locked else None


@rule(
    needs="files",
    score=3.0,
    group="malware",
    hits=[{"text": "Senha: 123", "files": {"nota.pdf": "%PDF-1.4"}}],
    misses=[{"text": "The code is: main.py", "files": {"a.txt": "x"}}],
)
def locked_document_with_key(mail: Mail) -> str | None:
    """A document is attached and the text gives a password for it."""
    if not any(a.kind in ("pdf", "ole", "zip") for a in mail.attachments):
        return None
    found = _DOCUMENT_KEY.search(mail.folded[:5000])
    return found[0] if found is not None else None


_DOCUMENT_KEY = re.compile(
    r"\b(?:password|passwort|kennwort|senha|contrase\u00f1a|wachtwoord|mot de passe)\b"
    r"\s*(?:is|ist|\u00e9|:|=|es|est)*\s*[:=]?\s*\w*\d\w*",
    re.IGNORECASE,
)


@rule(
    needs="files",
    score=1.5,
    hits=[{"files": {"MIOoXvzKids.pdf": "%PDF-1.4"}}, {"files": {"3MDsFeNQ6L0KElIBT.pdf": "%PDF-1.4"}}],
    misses=[{"files": {"Invoice-2024.pdf": "%PDF-1.4"}}, {"files": {"IMG20240101.jpg": "hex:ffd8ffe0"}}],
)
def random_file_name(mail: Mail) -> str | None:
    """An attached document's name is letters and digits that no person chose."""
    for attachment in mail.attachments:
        stem = attachment.filename.rpartition(".")[0]
        asked = attachment.kind in ("pdf", "zip", "ole", "html") and 8 <= len(stem) <= 60
        words = re.split(r"[ ._()-]", stem) if asked and not mail.has("in-reply-to") else ()
        if any(len(word) >= 8 and random_looking(word, 3) for word in words):
            return attachment.filename
    return None


@rule(
    needs="files",
    score=1.5,
    group="malware",
    hits=[{"files": {"a.ace": "hex:" + b"1234567**ACE**".hex()}}],
    misses=[{"files": {"a.zip": "hex:504b0506" + "00" * 18}}],
)
def rare_archive(mail: Mail) -> str | None:
    """An archive of a kind that few use and scanners cannot open is attached."""
    for attachment in mail.attachments:
        if attachment.kind in ("ace", "arj", "wim", "cab") or ending(attachment.filename) in (
            "ace",
            "arj",
            "z",
            "lzh",
            "uue",
            "xxe",
        ):
            return attachment.filename or attachment.kind
    return None


@rule(
    needs="files",
    score=2.0,
    group="malware",
    hits=[{"files": {"cut.zip": "hex:504b0506" + "00" * 6}}],
    misses=[{"files": {"photos.zip": "hex:504b0506" + "00" * 18}}],
)
def unscannable_archive(mail: Mail) -> str | None:
    """An attached archive cannot be looked into: broken, too deep, too large or of an unknown method."""
    return mail.contents.unscannable or None


@rule(
    needs="files",
    score=1.5,
    group="malware",
    hits=[{"files": {"doc.pdf": "%PDF-1.7 1 0 obj << /OpenAction << /S /JavaScript /JS (x) >> >>"}}],
    misses=[{"files": {"doc.pdf": "%PDF-1.4"}}],
)
def active_pdf(mail: Mail) -> str | None:
    """An attached PDF runs something when it is opened."""
    for attachment in mail.attachments:
        if (
            attachment.kind == "pdf"
            and b"/JavaScript" in attachment.data
            and _PDF_ACTION.search(attachment.data)
        ):
            return attachment.filename or "PDF"
    return None


@rule(
    needs="files",
    score=2.0,
    group="malware",
    hits=[{"files": {"photo.jpg": "hex:504b0506" + "00" * 18}}],
    misses=[{"files": {"photo.jpg": "hex:ffd8ffe0"}}, {"files": {"a.docx": "hex:504b0506" + "00" * 18}}],
)
def file_is_not_what_it_says(mail: Mail) -> str | None:
    """A file named as a picture, PDF or text is an archive or a web page."""
    for attachment in mail.attachments:
        named = ending(attachment.filename)
        if named in _HARMLESS and (attachment.kind in PACKED or attachment.kind in ("html", "ole", "rtf")):
            return f"{attachment.filename} is {attachment.kind}"
    return None


_HARMLESS = frozenset({"jpg", "jpeg", "png", "gif", "pdf", "txt", "bmp"})
