"""Who the mail says it is from: may this login say so, and does the name fit the address."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from screening.address import Mailbox, normal_domain
from screening.brands import PLAIN_WORDS, named_in, owns
from screening.links import known_suffix
from screening.mail import Mail
from screening.names import FREEMAIL, random_looking
from screening.plain import folded, mixed_words
from screening.rule import rule


@lru_cache(maxsize=8192)
def _normal(pattern: str) -> tuple[str, str]:
    local, at, domain = pattern.strip().rpartition("@")
    return (local.lower() if at else pattern.strip().lower()), (normal_domain(domain) if at else "")


def sender_allowed(address: str, patterns: Sequence[str], foreign: Callable[[str], bool]) -> bool:
    """Return whether the address matches a pattern: address, @domain, *@domain or *; any case, IDNA.

    `*` stands for all domains but those of other customers (`foreign`).
    """
    local, domain = _normal(address)
    if not domain:
        return "*" in patterns
    for pattern in patterns:
        if pattern == "*":
            if not foreign(domain):
                return True
            continue
        wanted, at = _normal(pattern)
        if at == domain and wanted in ("", "*", local):
            return True
    return False


_NOT_YOURS = "does not belong to this account: use one of your own, or ask your provider to add it."


def identity_fault(mail: Mail, patterns: Sequence[str], foreign: Callable[[str], bool]) -> str:
    """Return why this account may not send under these names, "" if it may.

    MAIL FROM, From, Sender and Resent-* must match `patterns`. The null sender passes with an own From
    (read receipts); a foreign From passes with an own Sender or Resent-From (redirects, delegates), unless
    its domain is another customer's (`foreign`).
    """
    sender = mail.envelope.sender
    if sender and not sender_allowed(sender, patterns, foreign):
        return f"The sender address <{sender}> {_NOT_YOURS}"
    own = [box for name in ("sender", "resent-from", "resent-sender") for box in mail.mailboxes(name)]
    for box in own:
        if not sender_allowed(box.address, patterns, foreign):
            return f"The address <{box.address}> in its header {_NOT_YOURS}"
    authors = mail.from_
    if not authors:
        return "" if sender or own or "*" in patterns else "The message names no sender."
    if len(authors) > 1 and not own and "*" not in patterns:
        return "The From field names several people, so a Sender field of this account is needed."
    return _author_fault(authors, patterns, foreign, vouched=bool(own))


def _author_fault(
    authors: Sequence[Mailbox], patterns: Sequence[str], foreign: Callable[[str], bool], *, vouched: bool
) -> str:
    for box in authors:
        if sender_allowed(box.address, patterns, foreign):
            continue
        if not vouched:
            return f"The From address <{box.address}> {_NOT_YOURS}"
        if foreign(box.domain):
            return f"The From address <{box.address}> belongs to another customer."
    return ""


@rule(
    score=3.0,
    group="impersonation",
    hits=[{"from": '"PayPal Service" <notice@billing-desk.example>'}, {"from": "Netflix <a@mail.example>"}],
    misses=[{"from": "PayPal <service@paypal.com>"}, {"from": "Paul Palmer <paul@acme.example>"}],
)
def brand_in_display_name(mail: Mail) -> str | None:
    """The sender's name is a well-known brand, the address is not that brand's."""
    for box in mail.from_[:5]:
        brand = named_in(folded(box.display)) if box.display else ""
        if brand and not owns(brand, mail.author_domain):
            return f"{box.display} <{box.address}>"
    return None


@rule(
    score=2.5,
    group="impersonation",
    hits=[{"from": '"security@bank.example" <x@other.example>'}],
    misses=[{"from": '"anna@acme.example" <anna@acme.example>'}],
)
def address_in_display_name(mail: Mail) -> str | None:
    """The sender's name is an address of another domain than the real one."""
    for box in mail.from_[:5]:
        if "@" not in box.display:
            continue
        shown = box.display.rpartition("@")[2].strip(" \"'<>)").lower()
        if "." in shown and box.domain and shown != box.domain and not box.domain.endswith("." + shown):
            return f"{box.display} <{box.address}>"
    return None


@rule(
    needs="foreign letters",
    score=3.5,
    group="impersonation",
    hits=[{"from": "\u0420ay\u0420al <x@acme.example>"}],
    misses=[{"from": "\u0410\u043d\u043d\u0430 <anna@acme.example>"}],
)
def mixed_script_name(mail: Mail) -> str | None:
    """The sender's name mixes Latin with lookalike letters of another script."""
    words = mixed_words(mail.author.display)
    return words[0] if words else None


@rule(
    score=4.0,
    group="sender",
    hits=[{"from": "Correios <help@correios>"}, {"from": "Help <a@protege.cll>"}],
    misses=[{"from": "Anna <anna@acme.example>"}, {"from": "Anna <anna@acme.co.uk>"}],
)
def sender_cannot_exist(mail: Mail) -> str | None:
    """The From address is in a domain that cannot exist, so no answer can reach it."""
    domain = mail.author.domain
    if not domain or domain.startswith("["):
        return None
    if domain in _LOCAL_NAMES or domain.endswith(
        (".local", ".lan", ".internal", ".localdomain", ".home", ".corp", ".intern")
    ):
        return None
    return mail.author.address if "." not in domain or not known_suffix(domain) else None


_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain"})


@rule(
    score=1.5,
    group="sender",
    hits=[{"from": "Team <no-reply@prize-7f3a.firebaseapp.com>"}],
    misses=[{"from": "Anna <anna@acme.example>"}],
)
def sender_on_free_host(mail: Mail) -> str | None:
    """The From address belongs to a throw-away cloud project."""
    return mail.author.address if mail.author.domain.endswith(_THROWAWAY) else None


_THROWAWAY = (
    ".firebaseapp.com",
    ".onmicrosoft.com",
    ".web.app",
    ".appspotmail.com",
    ".myshopify.com",
    ".wixemails.com",
)


@rule(
    needs="no answer",
    score=1.0,
    group="sender",
    hits=[{"from": "Shop <newsletters.x9kq7w2z@deals.example>"}, {"from": "X <q9Tp4A7k@acme.example>"}],
    misses=[{"from": "Anna <anna.weber@acme.example>"}, {"from": "Shop <info2024@acme.example>"}],
)
def sender_random(mail: Mail) -> str | None:
    """The From address is letters and digits that no person chose."""
    if "#" in mail.author.local or "=" in mail.author.local or mail.has("in-reply-to"):
        return None  # a return path that carries codes, or a person who answers
    words = re.split(r"[._+-]", mail.author.local)
    if any(5 <= len(word) <= 24 and random_looking(word, 3) and not word[-2:].isdigit() for word in words):
        return mail.author.address
    return None


@rule(
    score=0.6,
    group="sender",
    hits=[{"from": "Offers <a@www.x.y.z.shop.example>"}],
    misses=[{"from": "Anna <anna@mail.acme.example>"}],
)
def sender_deep_domain(mail: Mail) -> str | None:
    """The From address has four or more names before its domain."""
    domain = mail.author.domain
    deep = domain.count(".") - mail.author_domain.count(".")
    return mail.author.address if domain and deep >= 3 else None


@rule(
    score=1.0,
    hits=[{"from": "=?utf-8?B?UGF5bWVudHMgVGVhbQ==?= <a@acme.example>"}],
    misses=[{"from": "Anna Weber <anna@acme.example>"}],
)
def needlessly_encoded_name(mail: Mail) -> str | None:
    """The sender's name is encoded although it is plain ASCII."""
    name = mail.author.display
    return name if name and name.isascii() and b"=?" in mail.raw_header("from") else None


@rule(
    score=1.5,
    group="sender",
    hits=[{"from": "Winner, jehd <a@acme.example>"}],
    misses=[{"from": '"Weber, Anna" <anna@acme.example>'}],
)
def loose_name(mail: Mail) -> str | None:
    """The sender's name has a comma outside quotes, as mail programs never write it."""
    value = mail.raw_header("from")
    head = value.partition(b"<")[0]
    if b"," not in head or b'"' in head or b"=?" in head or len(mail.from_) != 1:
        return None
    return mail.author.display


@rule(
    needs=("links", "no answer"),
    score=2.5,
    group="impersonation",
    hits=[
        {
            "subject": "Netflix: your payment failed",
            "text": "Update at https://x.example/",
            "from": "a@mail.example",
        }
    ],
    misses=[{"subject": "Netflix party on Friday", "text": "Bring crisps"}],
)
def brand_in_subject(mail: Mail) -> str | None:
    """Subject names a brand; neither sender nor any link is that brand's, yet there are links."""
    if mail.has("in-reply-to") or mail.has("list-id") or mail.has("references"):
        return None
    brand = named_in(mail.folded_subject)
    if not brand or brand in PLAIN_WORDS or owns(brand, mail.author_domain) or not mail.clickable:
        return None
    return None if any(owns(brand, link.domain) for link in mail.hosts.values()) else mail.subject


@rule(
    needs="no answer",
    score=1.5,
    group="sender",
    hits=[{"from": "Support Team <helpdesk.77@gmail.com>"}, {"from": "Aviso Importante <abc@hotmail.com>"}],
    misses=[{"from": "Anna Weber <anna@gmail.com>"}, {"from": "Support <help@acme.example>"}],
)
def office_on_freemail(mail: Mail) -> str | None:
    """The name is that of an office or company, the address a free one."""
    if mail.author_domain not in FREEMAIL or mail.has("in-reply-to"):
        return None
    return mail.author.display if _OFFICE.search(folded(mail.author.display)) else None


@rule(
    score=1.5,
    group="sender",
    hits=[{"from": "Nota Emitida - 813704788758188 <a@acme.example>"}],
    misses=[{"from": "Room 204 <a@acme.example>"}],
)
def number_in_name(mail: Mail) -> str | None:
    """The sender's name contains a long number or code."""
    name = mail.author.display
    return name if "@" not in name and _LONG_NUMBER.search(name) else None


_OFFICE = re.compile(
    r"\b(?:support|suporte|team|service|services|bank|banco|aviso|nota|department|dept|alert|alerta|notification"
    r"|notifica\w*|protocolo|office|admin\w*|security|seguran\w+|customer|billing|payment|pagamento|invoice"
    r"|help ?desk|claims?|lottery|foundation|fund|loan|finance|financial|courier|delivery|update|account"
    r"|conta|verification"
    r"|prize|promo\w*|offer|casino|reward|bonus|company|inc|ltd|llc|corp|group|kundenservice|atendimento|comunicado)\b",
    re.IGNORECASE,
)
_LONG_NUMBER = re.compile(r"\d{6,}|#\d{4,}|\[\d{4,}|\b(?=[A-Z]*\d)(?=\d*[A-Z])[A-Z0-9]{8,}\b")
