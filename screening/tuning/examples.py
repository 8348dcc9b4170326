"""Messages written beside the rules: made into mail, and checked whenever rules are loaded."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from email.header import Header
from typing import Any

from screening.mail import Envelope, Mail
from screening.plain import shown

#: A moment for examples: they must give the same verdict tomorrow.
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
#: What an example may name; `headers` is a table, `files` one from name to text, "hex:…" or a table (a zip).
NAMES = frozenset({"subject", "from", "to", "text", "html", "headers", "files", "raw", "recipients", "login"})


def envelope(
    recipients: tuple[str, ...] = ("someone@recipient.example",), login: str | None = None
) -> Envelope:
    """Return an ordinary envelope of an ordinary sender."""
    return Envelope(
        "example", "192.0.2.7", "[192.0.2.7]", "TLSv1.3", login, "anna@acme.example", recipients, NOW
    )


def faults_of(example: object) -> list[str]:
    """Return what is wrong with the form of an example."""
    if isinstance(example, str):
        return []
    if not isinstance(example, Mapping):
        return ["an example is a text or a table"]
    faults = [f"an example does not know {name!r}" for name in sorted(set(example) - NAMES)]
    for name, value in example.items():
        if name in NAMES and not _fits(name, value):
            faults.append(f"an example's {name} cannot be {shown(repr(value), 60)}")
    return faults


def _fits(name: str, value: object) -> bool:
    if name == "headers":
        return isinstance(value, Mapping) and all(isinstance(one, str) for one in value.values())
    if name == "recipients":
        return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
    if name == "files":
        return isinstance(value, Mapping) and all(map(_is_file, value.values()))
    return isinstance(value, str | bytes)


def _is_file(content: object) -> bool:
    if isinstance(content, Mapping):
        return all(isinstance(one, str | bytes) for one in content.values())
    if isinstance(content, str) and content.startswith("hex:"):
        try:
            return bool(bytes.fromhex(content[4:]))
        except ValueError:
            return False
    return isinstance(content, str | bytes)


def mail_of(example: str | Mapping[str, Any], part: str = "text") -> Mail:
    """Return the mail that an example describes; a plain text stands for `part` of an ordinary message."""
    fields = dict(_placed(example, part)) if isinstance(example, str) else dict(example)
    recipients = tuple(fields.get("recipients", ("someone@recipient.example",)))
    outer = envelope(recipients, fields.get("login"))
    if "raw" in fields:
        raw = fields["raw"]
        return Mail(outer, raw if isinstance(raw, bytes) else str(raw).replace("\n", "\r\n").encode())
    head = {
        "From": fields.get("from", "Anna Weber <anna@acme.example>"),
        "To": fields.get("to", "someone@recipient.example"),
        "Subject": _encoded(str(fields.get("subject", "Meeting on Tuesday"))),
        "Date": "Mon, 02 Mar 2026 12:00:00 +0000",
        "Message-ID": "<20260302120000.1@acme.example>",
        "MIME-Version": "1.0",
        **fields.get("headers", {}),
    }
    kind, body = _body(fields)
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items() if value is not None)
    return Mail(outer, f"{lines}{kind}\r\n{body}".encode())


def _placed(text: str, part: str) -> Mapping[str, Any]:
    """Return the table that a plain text stands for."""
    if part == "links":
        return {"text": f"Please see {text} today."}
    if part == "files":
        return {"files": {text: "content"}}
    if part == "headers":
        name, _, value = text.partition(":")
        return {"headers": {name: value.strip()}}
    if part == "from":
        return {"from": text}
    return {"text" if part == "opening" else part: text}


def _encoded(text: str) -> str:
    return text if text.isascii() else Header(text, "utf-8", maxlinelen=10_000).encode()


def _leaf(kind: str, text: str) -> str:
    data = base64.encodebytes(text.encode()).decode().replace("\n", "\r\n")
    return f"Content-Type: {kind}; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{data}"


def _zip(files: Mapping[str, str]) -> bytes:
    """Return a zip of the files; a name that starts with * makes all of them look encrypted."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name.lstrip("*")), content)
    data = bytearray(out.getvalue())
    at = data.find(b"PK\x01\x02")
    while at >= 0 and any(name.startswith("*") for name in files):
        data[at + 8] |= 1
        at = data.find(b"PK\x01\x02", at + 4)
    return bytes(data)


def _file(name: str, content: str | bytes | Mapping[str, str]) -> str:
    if isinstance(content, Mapping):
        content = _zip(content)
    if isinstance(content, str):
        content = bytes.fromhex(content[4:]) if content.startswith("hex:") else content.encode()
    data = base64.encodebytes(content).decode().replace("\n", "\r\n")
    return (
        f'Content-Type: application/octet-stream; name="{_encoded(name)}"\r\n'
        f'Content-Disposition: attachment; filename="{_encoded(name)}"\r\n'
        f"Content-Transfer-Encoding: base64\r\n\r\n{data}"
    )


def _body(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Return the content header lines and the body of an example."""
    leaves = []
    if "text" in fields or "html" not in fields:
        leaves.append(_leaf("text/plain", str(fields.get("text", "See you then.\nAnna"))))
    if "html" in fields:
        leaves.append(_leaf("text/html", str(fields["html"])))
    leaves.extend(_file(name, content) for name, content in fields.get("files", {}).items())
    if len(leaves) == 1:
        head, _, body = leaves[0].partition("\r\n\r\n")
        return f"{head}\r\n", body
    kind = "mixed" if "files" in fields else "alternative"
    parts = "".join(f"--=-example\r\n{leaf}\r\n" for leaf in leaves)
    return f'Content-Type: multipart/{kind}; boundary="=-example"\r\n', f"{parts}--=-example--\r\n"
