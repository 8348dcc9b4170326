"""The subject: how it shouts, hides, and claims to answer what was never asked."""

from __future__ import annotations

import re
from unicodedata import category

from screening.mail import Mail
from screening.names import random_looking
from screening.plain import mixed_words
from screening.rule import rule

#: the last word, read backwards
_TAIL = re.compile(r"([A-Za-z0-9]{4,24})(?:[\s.#*_|(\[-]|\Z)")
_REPLY = re.compile(r"(?:re|fwd?|aw|wg|sv|antw|res|enc|tr)\s*(?:\[\d+\])?\s*:", re.IGNORECASE)
_WORD64 = re.compile(rb"=\?(?:utf-8|us-ascii|iso-8859-\d+|windows-125\d)\?[bB]\?", re.IGNORECASE)
_GAP = re.compile(r"\S {5,}\t?(\S{2,20})\s*$")
#: so far from its start a subject is looked at for a tag
_TAGGED = 300
_SAYS_SPAM = re.compile(
    r"^\W*(?:adv\b\s*[:.\-]|\[?\W*spam\W*\]|\*+\s*spam\s*\*+|\{spam\??\})|\s{3,}adv\b", re.IGNORECASE
)


@rule(
    score=0.8,
    hits=[{"subject": "CLAIM YOUR PRIZE TODAY"}],
    misses=[{"subject": "Meeting"}, {"subject": "USB"}],
)
def subject_shouts(mail: Mail) -> str | None:
    """Subject has ten or more letters, all capitals."""
    if not mail.subject.isupper():
        return None
    letters = sum(c.isalpha() for c in mail.subject)
    return mail.subject if letters >= 10 else None


@rule(
    needs="no answer",
    score=1.5,
    group="disguise",
    hits=[{"subject": "Your parcel is waiting .hSCXPVFj7y"}, {"subject": "Offer  xkdqw"}],
    misses=[{"subject": "Order 4711"}, {"subject": "Invoice INV2024"}, {"subject": "Meet McDonald"}],
)
def subject_random_tail(mail: Mail) -> str | None:
    """Subject ends in letters that look made by a program, to make each copy different."""
    if mail.has("in-reply-to"):
        return None
    if len(mail.subject) < 12:
        return None
    found = _TAIL.match(mail.subject.rstrip("])*.")[:-30:-1])
    tail = found[1][::-1] if found is not None else ""
    if tail.upper() == tail:
        return None
    return tail if random_looking(tail) and not tail[-4:].isdigit() else None


@rule(
    score=1.8,
    hits=[{"to": "bob@shop.example", "subject": "bob@shop.example, your account expires"}],
    misses=[{"subject": "Mail for anna@acme.example"}],
)
def subject_names_recipient(mail: Mail) -> str | None:
    """Subject contains the recipient's own address."""
    if "@" not in mail.subject:
        return None
    low = mail.subject.lower()
    for address in {*mail.envelope.recipients, *(box.address for box in mail.mailboxes("to")[:20])}:
        if len(address) > 5 and address.lower() in low:
            return "the address that it goes to"
    return None


@rule(
    needs="foreign letters",
    score=1.0,
    hits=[{"subject": "\U0001f381 Your gift is ready"}],
    misses=[{"subject": "Lunch?"}, {"subject": "Price \u20ac 20"}],
)
def subject_emoji(mail: Mail) -> str | None:
    """Subject contains pictures (emoji, arrows, stars)."""
    if mail.subject.isascii():
        return None
    return mail.subject if any(category(c) == "So" for c in mail.subject) else None


@rule(
    needs="foreign letters",
    score=3.0,
    group="disguise",
    hits=[{"subject": "P\u0430yment f\u0430iled"}],
    misses=[{"subject": "\u041f\u0440\u0438\u0432\u0435\u0442 Anna"}],
)
def mixed_script_subject(mail: Mail) -> str | None:
    """Subject mixes Latin with lookalike letters of another script inside a word."""
    words = mixed_words(mail.subject)
    return words[0] if words else None


@rule(
    needs=("links", "no answer"),
    score=1.2,
    hits=[{"subject": "Re: your payment", "text": "See https://a.example/x"}],
    misses=[{"subject": "Re: your payment", "headers": {"In-Reply-To": "<1@acme.example>"}}],
)
def fake_reply(mail: Mail) -> str | None:
    """Subject says reply or forward, but the mail answers nothing, quotes nothing, and has a link."""
    if not _REPLY.match(mail.subject) or mail.has("in-reply-to") or mail.has("references"):
        return None
    if "\n>" in mail.plain or "-----" in mail.plain or not mail.clickable:
        return None
    return mail.subject


@rule(
    score=1.0,
    hits=[{"headers": {"Subject": "=?utf-8?B?Q2xhaW0geW91ciBwcml6ZSBub3cu?="}}],
    misses=[{"subject": "Gr\u00fc\u00dfe"}, {"subject": "Claim"}],
)
def needless_encoding(mail: Mail) -> str | None:
    """Subject is base64-encoded although it is plain ASCII."""
    raw = mail.raw_header("subject")
    return mail.subject if mail.subject.isascii() and _WORD64.match(raw) else None


@rule(
    score=1.5,
    hits=[{"subject": "Look at this          18273"}],
    misses=[{"subject": "Look at this: 18273"}],
)
def subject_gap(mail: Mail) -> str | None:
    """Subject ends in a code behind a wide gap."""
    found = _GAP.search(mail.subject)
    return found[1] if found is not None else None


@rule(
    score=2.2,
    hits=[{"subject": "ADV: Cheap flights"}, {"subject": "[SPAM] Cheap flights"}],
    misses=[{"subject": "Advent calendar"}, {"subject": "Spam filter news"}],
)
def subject_says_spam(mail: Mail) -> str | None:
    """Subject itself says that this is advertising, or that a filter found spam."""
    found = _SAYS_SPAM.search(mail.subject[:_TAGGED])
    return found[0] if found is not None else None


@rule(
    score=0.8,
    hits=[{"headers": {"Subject": None}}, {"subject": "  "}],
    misses=[{"subject": "Hi"}],
)
def no_subject(mail: Mail) -> str | None:
    """There is no subject."""
    return None if mail.subject else "empty subject"
