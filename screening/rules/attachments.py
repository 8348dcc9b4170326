"""Files: what they are by their bytes, names and contents."""

from __future__ import annotations

from screening.magic import MOUNTS, PROGRAMS, RUNS, ending
from screening.mail import Mail
from screening.rule import rule

_EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
_GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


@rule(
    score=100.0,
    hits=[{"text": _GTUBE.decode()}],
    misses=[{"text": "GTUBE is a test string."}],
)
def gtube(mail: Mail) -> str | None:
    """The test text for spam filters (GTUBE)."""
    found = _GTUBE in mail.raw or _GTUBE.decode() in mail.text
    return _GTUBE.decode() if found else None


@rule(
    score=100.0,
    hits=[{"files": {"eicar.com": _EICAR.decode()}}],
    misses=[{"files": {"notes.txt": "EICAR is a test file."}}],
)
def eicar(mail: Mail) -> str | None:
    """The test file for virus scanners (EICAR), also inside archives."""
    for part in mail.parts:
        if part.data[:200].lstrip().startswith(_EICAR):
            return part.filenames[0] if part.filenames else "EICAR test file"
    for member in mail.contents.members:
        if member.start.startswith(_EICAR):
            return member.filename
    return None


@rule(
    score=12.0,
    hits=[{"files": {"invoice.pdf": "hex:4d5a90000300"}}, {"files": {"invoice.pdf.exe": "x"}}],
    misses=[{"files": {"invoice.pdf": "%PDF-1.4"}}],
)
def program_attached(mail: Mail) -> str | None:
    """A file that runs by itself is attached, whatever it is called."""
    for attachment in mail.attachments:
        if attachment.kind in PROGRAMS:
            return attachment.filename or attachment.kind
        for name in attachment.filenames:
            if ending(name) in RUNS or ending(name) in MOUNTS:
                return name
    return None


@rule(
    score=8.0,
    hits=[],
    misses=[{"files": {"photos.zip": "hex:504b0506" + "00" * 18}}],
)
def program_in_archive(mail: Mail) -> str | None:
    """An attached archive holds a file that runs by itself."""
    for member in mail.contents.members:
        if member.kind in PROGRAMS or ending(member.filename) in RUNS or ending(member.filename) in MOUNTS:
            return member.filename
    return None
