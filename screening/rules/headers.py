"""Header fields: what a mail program would not write."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from unicodedata import category

from screening.links import registrable
from screening.mail import Mail
from screening.names import FREEMAIL, random_looking
from screening.rule import rule

_STYLED = re.compile("[\U0001d400-\U0001d7ff\uff21-\uff5a\u24b6-\u24e9\U0001f130-\U0001f189]")
_INVISIBLE = re.compile("[\u00ad\u034f\u115f\u180e\u200b\u2060-\u2064\u3164\ufeff\U000e0020-\U000e01ef]")
#: a date that exists in every month, in a zone of this earth
_USUAL_DATE = re.compile(
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), )?(?:0?[1-9]|1\d|2[0-8])"
    r" (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) (?:19|20)\d\d"
    r" (?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d [+-](?:0\d|1[01])[0-5]\d(?: \([A-Z]{1,5}\))?",
    re.ASCII,
)
_MESSAGE_ID = re.compile(r"<[^<>@\s]+@[^<>@\s]+>")
_MASS = re.compile(
    r"bulk|mass ?mail|\bblast|group mail|emailer|sendblaster|turbo|atomic|dark ?mail|the ?bat! \(v1"
    r"|smart_send|phpmailer \[version 1\.7|leaf ?phpmailer|custom mailer|mailsender|advanced mail",
    re.IGNORECASE,
)


@rule(
    score=1.8,
    hits=[{"to": "bob@shop.example", "from": '"bob@shop.example" <bob@shop.example>'}],
    misses=[{"to": "anna@acme.example", "from": "Anna Weber <anna@acme.example>"}],
)
def from_is_recipient(mail: Mail) -> str | None:
    """The mail pretends to come from its recipient's own address."""
    box = mail.author
    if box.local.lower().encode() not in mail.raw_header("to").lower():
        return None  # most mail: its recipients need not be read
    to = mail.mailboxes("to")
    if len(to) == 1 and box.address and to[0].address.lower() == box.address.lower():
        return box.address if box.display.lower() in ("", box.address.lower()) else None
    return None


@rule(
    needs="foreign letters",
    score=1.0,
    hits=[{"from": "=?utf-8?Q?=F0=9F=8E=B0_Casino?= <a@acme.example>"}],
    misses=[{"from": "Anna Weber <anna@acme.example>"}],
)
def from_emoji(mail: Mail) -> str | None:
    """The sender's name contains pictures or trademark signs."""
    name = mail.author.display
    if name.isascii():
        return None
    return name if any(category(c) == "So" for c in name) else None


@rule(
    needs="foreign letters",
    score=3.0,
    group="disguise",
    hits=[{"subject": "\U0001d5d6\U0001d5f9\U0001d5ee\U0001d5f6\U0001d5fa now"}],
    misses=[{"subject": "Claim now"}],
)
def styled_letters(mail: Mail) -> str | None:
    """Subject or sender's name is written in mathematical or circled letters, to escape filters."""
    for text in (mail.subject, mail.author.display):
        if not text.isascii() and len(_STYLED.findall(text)) >= 3:
            return text
    return None


@rule(
    needs="foreign letters",
    score=2.5,
    group="disguise",
    hits=[{"subject": "Mi\u200bcro\u200bsoft alert"}],
    misses=[{"subject": "Microsoft alert"}],
)
def invisible_letters(mail: Mail) -> str | None:
    """Subject or sender's name contains characters that nobody can see."""
    for text in (mail.subject, mail.author.display):
        if not text.isascii() and _INVISIBLE.search(text):
            return text
    return None


@rule(
    needs="field reply-to",
    score=1.5,
    hits=[{"from": "Anna <anna@acme.example>", "headers": {"Reply-To": "winner.claims77@gmail.com"}}],
    misses=[{"headers": {"Reply-To": "office@acme.example"}}],
)
def reply_to_freemail(mail: Mail) -> str | None:
    """Answers go to a free mail address, the mail itself comes from another domain."""
    for box in mail.mailboxes("reply-to")[:3]:
        domain = registrable(box.domain)
        if domain in FREEMAIL and domain != mail.author_domain:
            return box.address
    return None


@rule(
    needs="field reply-to",
    score=1.5,
    hits=[{"from": "Mrs. Ann <ann77@gmail.com>", "headers": {"Reply-To": "ann88@outlook.com"}}],
    misses=[{"from": "Ann <ann@gmail.com>", "headers": {"Reply-To": "ann@gmail.com"}}],
)
def reply_to_other_freemail(mail: Mail) -> str | None:
    """It comes from one free mail address and asks for answers at another."""
    for box in mail.mailboxes("reply-to")[:3]:
        same = box.address.lower() == mail.author.address.lower()
        if not same and registrable(box.domain) in FREEMAIL and mail.author_domain in FREEMAIL:
            return f"{mail.author.address} → {box.address}"
    return None


@rule(
    score=1.2,
    hits=[{"headers": {"Message-ID": "12345"}}, {"headers": {"Message-ID": "<>"}}],
    misses=[{"headers": {"Message-ID": "<a.b@acme.example>"}}],
)
def broken_message_id(mail: Mail) -> str | None:
    """The Message-ID is not one (RFC 5322 §3.6.4)."""
    if not mail.has("message-id"):
        return None
    value = mail.header("message-id")
    return (value or "empty") if _MESSAGE_ID.search(value) is None else None


@rule(
    needs="field date",
    score=1.5,
    hits=[{"headers": {"Date": "Mon, 32 Foo 2026 99:00:00"}}],
    misses=[{"headers": {"Date": "Mon, 02 Mar 2026 12:00:00 +0100"}}, {"headers": {"Date": None}}],
)
def impossible_date(mail: Mail) -> str | None:
    """The Date field is no date, or no time zone on earth."""
    if not mail.has("date"):
        return None
    value = mail.header("date")
    if _USUAL_DATE.fullmatch(value):
        return None
    try:
        moment = parsedate_to_datetime(value[:100])
    except (ValueError, TypeError, IndexError, OverflowError):
        return value or "empty"
    offset = moment.utcoffset()
    if offset is not None and not -12 <= offset.total_seconds() / 3600 <= 14:
        return value
    return None


@rule(
    needs=("field x-mailer", "no answer"),
    score=1.5,
    hits=[{"headers": {"X-Mailer": "Turbo-Mailer 2.7.9"}}],
    misses=[{"headers": {"X-Mailer": "Apple Mail (2.3774)"}}],
)
def mass_mailer(mail: Mail) -> str | None:
    """It was made by a program known for bulk abuse, or one that died twenty years ago."""
    value = mail.header("x-mailer")
    return value if value and _MASS.search(value) and not mail.has("in-reply-to") else None


@rule(
    needs="field x-mailer",
    score=1.5,
    hits=[{"headers": {"X-Mailer": "fscsD"}}, {"headers": {"X-Mailer": "2"}}],
    misses=[{"headers": {"X-Mailer": "Gnus 5.8"}}, {"headers": {"X-Mailer": "Zimbra"}}],
)
def nonsense_mailer(mail: Mail) -> str | None:
    """The mail program's name is a number or a random word."""
    value = mail.header("x-mailer")
    if not value or " " in value or len(value) > 24:
        return None
    return value if value.isdigit() or (value.isalnum() and random_looking(value)) else None


@rule(
    score=1.5,
    group="disguise",
    hits=[{"headers": {"References": "<" + "a1B2" * 600 + "@x.example>"}}],
    misses=[{"headers": {"References": "<1@acme.example> <2@acme.example>"}}],
)
def padded_header(mail: Mail) -> str | None:
    """A header field carries kilobytes of junk."""
    for field in mail.fields:
        if len(field.value) > 1500 and field.lower not in _LONG:
            longest = max(map(len, field.value.split()), default=0)
            if longest > 800 and not field.lower.startswith(
                ("x-ms", "x-microsoft", "x-forefront", "arc-", "dkim")
            ):
                return f"{field.name}: {len(field.value)} bytes"
    return None


@rule(
    needs="field in-reply-to",
    score=1.5,
    hits=[{"headers": {"In-Reply-To": "hello"}}],
    misses=[
        {"headers": {"In-Reply-To": "<1@acme.example>"}},
        {"headers": {"In-Reply-To": "Your message of Monday <1@acme.example>"}},
    ],
)
def broken_in_reply_to(mail: Mail) -> str | None:
    """It claims to answer something that is no message id."""
    value = mail.header("in-reply-to")
    return value if value and "<" not in value and "@" not in value and " " not in value else None


@rule(
    needs="no answer",
    score=0.8,
    hits=[{"headers": {"X-Priority": "1"}}, {"headers": {"Importance": "high"}}],
    misses=[{"headers": {"X-Priority": "3"}}],
)
def urgent_priority(mail: Mail) -> str | None:
    """It is marked urgent, and answers nothing."""
    if mail.has("in-reply-to"):
        return None
    if mail.header("x-priority")[:1] == "1" or mail.header("importance").lower() == "high":
        return "high priority"
    return None


@rule(
    needs="field received",
    score=1.5,
    hits=[{"headers": {"Received": "from x (unknown [300.1.2.3]) by mail.acme.example"}}],
    misses=[{"headers": {"Received": "from x (unknown [192.0.2.3]) by mail.acme.example"}}],
)
def forged_received(mail: Mail) -> str | None:
    """A Received line names an address that cannot exist."""
    for value in mail.headers("received")[:20]:
        for number in _BRACKETED.findall(value):
            if any(int(part) > 255 for part in number.split(".")):
                return value
    return None


@rule(
    score=1.0,
    hits=[{"headers": {"To": None}}, {"to": "undisclosed-recipients:;"}, {"to": ""}],
    misses=[{"to": "bob@shop.example"}],
)
def nobody_addressed(mail: Mail) -> str | None:
    """To and Cc name nobody."""
    written = mail.raw_header("to")
    if b"@" in written and b'"' not in written and b"(" not in written:
        return None  # there is somebody, whoever it is
    if mail.mailboxes("to") or mail.mailboxes("cc"):
        return None
    return mail.header("to") or "no To field"


_BRACKETED = re.compile(r"\[(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})\]")
_LONG = frozenset(
    {
        "to",
        "cc",
        "bcc",
        "received",
        "subject",
        "from",
        "list-unsubscribe",
        "autocrypt",
        "face",
        "x-face",
        "openpgp",
        "keywords",
        "comments",
    }
)
