"""Who could not be reached, from a notice that people wrote for people: any mail server, any language. Pure.

Nothing here knows a maker's whole notice. An address is judged by where it stands (alone on its line, behind
a label, in an SMTP command, near words of failure) and by who it cannot be (us, the server, a contact). The
best evidence wins; weaker evidence is only for notices without it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from relay.feedback import phrases
from relay.feedback.parts import Header, address_in, header_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_TEXT = 48 * 1024
_MOST_FOUND = 200
_MOST_LINES = 600
_MOST_BELOW = 3000
#: evidence: stands as failed addresses stand · words of failure beside it · merely mentioned
STRONG, LIKELY, WEAK = 3, 2, 1

_ADDRESS = re.compile(
    r"(?:\"[^\"\s@]{1,64}\"|[^\s<>@,;:\"()\[\]\\«»“”„]{1,128})@"
    r"(?:\[[0-9A-Fa-f:.]{3,45}\]|#?[\w](?:[\w.-]{0,250}[\w])?)"
)
#: what makers glue to an address: `SMTP=`, `rfc822=`, quotes, dashes
_GLUED = re.compile(r"^(?:(?:smtp|rfc822|mailto|to|e-?mail)[=:]|['`*=|/&+-]+)+", re.IGNORECASE)
#: an X.400 address' note of how mail gets there
_SMTP = re.compile(r"(?:smtp|rfc822)=", re.IGNORECASE)
_SERVERS = re.compile(
    r"^(?:postmaster|mailer-daemon|mailerdaemon|abuse|support|helpdesk|hostmaster|webmaster|no-?reply|"
    r"do-?not-?reply|uucp|root|mdaemon|mail-?admin|spam|unblock|removeme|delist\w*)$",
    re.IGNORECASE,
)
#: whom the notice is from and for: they cannot have failed
_OURS = ("to", "from", "reply-to", "sender", "errors-to", "return-path")
#: whom it went through: they hardly have
_RELAYED = ("delivered-to", "x-original-to")
#: fields and words before an address that is a sender, an id or a contact
_NOT_FAILED = re.compile(phrases.SENDER, re.IGNORECASE)
_ALIAS = re.compile(
    r"(?:generated|expanded|rewritten|derived|forwarded|ultimately generated) from:? [<\"]?$", re.IGNORECASE
)
_LABEL = re.compile(
    phrases.LABEL + r"[\s<\"'(\[]*(?:(?:smtp|rfc822|mailto)[:;=]\s*)?[<\"'(]*$", re.IGNORECASE
)
_COMMAND = re.compile(r"\brcpt\s+to\s*:?\s*<?$", re.IGNORECASE)
#: "To:" names whom the message was for: likely, but "did not reach X" says more
_TO = re.compile(
    r"(?:^|[\s>*|])" + phrases.TO + r"\s*[:\uff1a]\s*(?:[\w .,'\"-]{0,60}<)?[<\"'\s]*$", re.IGNORECASE
)
_BULLET = re.compile(
    r"^[\s>*•·|+=#\d.)(\[\]\"'<«:,;\-\u2013\u2014]*(?:(?:smtp|rfc822|mailto)[:;=]\s*)?[<\"'(\s]*$",
    re.IGNORECASE,
)
#: a person's name before `<address>`
_NAMED = re.compile(r"^[\s>*•|-]*(?:\"[^\"]{0,80}\"|'[^']{0,80}'|[^\s<>:@][^<>:@\n]{0,60}?)\s*[<(\[]$")
_AFTER = re.compile(
    r"^[>\"')\]\s]*(?:$|[:;,*|]|\.\.\.|\.?$|[(<\[\-\u2013\u2014=]|"
    r"on (?:mon|tue|wed|thu|fri|sat|sun|\d)|\s{2,})",
    re.IGNORECASE,
)
_FAILURE = re.compile(phrases.FAILURE, re.IGNORECASE)
_SENTENCE = re.compile(phrases.FAILED_TO + r"[\s<\"'(:\uff1a]*$", re.IGNORECASE)
_RETURNED = re.compile(phrases.RETURNED, re.IGNORECASE | re.MULTILINE)
_FIELD = re.compile(
    r"^[ \t>|]*(received|return-path|message-id|date|from|to|subject|mime-version|x-[\w-]+|dkim-signature):",
    re.IGNORECASE,
)
_ROUTE = re.compile(rb"\bfor\s+<?([^<>\s;]{3,320}@[^<>\s;]{1,255})>?\s*;", re.IGNORECASE)
_LONE = re.compile(r"^[ \t>*•-]{0,12}<?([\w.+=-]{2,64})>?(?:[ \t]{2,}\S.*|[ \t]*[:,.]?[ \t]*)$")
_OPENING = re.compile(
    r"(?:recipients?|address(?:es|\(es\))?|users?|mailbox(?:es)?|following|a|an|to)\b[^\n]{0,200}:\s*$|"
    r"not delivered to",
    re.IGNORECASE,
)
#: a recipient coded into the return path: behind a number, or behind `bounces+`, `return-`, `list+`
_CODED = r"([A-Za-z0-9_.+-]{1,64})=([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)$"
_VERP = (re.compile(r"-\d+-" + _CODED), re.compile(r"(?:bounces?[-+=]|return-|owner-|\+)" + _CODED))


@dataclass(frozen=True, slots=True)
class Notice:
    """The notice above the returned message, and what is known of that message."""

    text: str
    inner: Header
    top: Header
    #: what follows, if the cut was a guess: fields of the message may be quoted amid a notice
    rest: str = ""


@dataclass(frozen=True, slots=True)
class _Seen:
    address: str
    evidence: int


def notice_of(texts: Sequence[str], inner: Header, top: Header) -> Notice:
    """Cut a report's texts where the returned message starts; its header, if there is no part for it."""
    text = "\n".join(texts)[:MAX_TEXT]
    place, guessed = _returned_at(text)
    if place is None:
        return Notice(text, inner, top)
    rest = text[place:]
    if not inner.named and (found := re.search(r"^[ \t>|]*[\w-]{2,40}:[ \t]", rest, re.MULTILINE)):
        block = re.sub(r"^[ \t]?[>|][ \t]?", "", rest[found.start() :], flags=re.MULTILINE)
        inner = header_of(block.lstrip().encode("utf-8", "surrogateescape"))[0]
    below = re.split(r"\n[ \t]*\n", rest, maxsplit=1)[1:] if guessed else []
    more = below[0][:_MOST_BELOW] if below and _FAILURE.search(below[0][:300]) else ""
    return Notice(text[:place], inner, top, more)


def _returned_at(text: str) -> tuple[int | None, bool]:
    """Return where the returned message starts: at a marker, or (a guess) at three fields in a row."""
    marker = next((found.start() for found in _RETURNED.finditer(text) if found.start() > 20), None)
    run, first, place = 0, 0, 0
    for line in text.splitlines(keepends=True)[:_MOST_LINES]:
        if _FIELD.match(line):
            first = first if run else place
            run += 1
            if run == 3 and re.search(
                r"received|message-id|return-path|mime-version", text[first : place + 400], re.I
            ):
                break
        elif not line[:1].isspace() or not line.strip():
            run = 0
        place += len(line)
    headers = first if run >= 3 and first > 20 else None
    if headers is not None and (marker is None or headers < marker):
        return headers, True
    return marker, False


def recipients(notice: Notice, evidence: int) -> list[str]:
    """Return who could not be reached by that much evidence; may be empty, never raises."""
    found = [one.address for one in _judged(notice) if one.evidence >= evidence][:_MOST_FOUND]
    if found or not notice.rest:
        return found
    below = Notice(notice.rest, notice.inner, notice.top)
    return [one.address for one in _judged(below) if one.evidence >= STRONG][:_MOST_FOUND]


def guesses(notice: Notice) -> list[str]:
    """Return who was probably meant by a notice that names nobody outright; may be empty."""
    if lone := _lone_names(notice):
        return lone
    weak = list(dict.fromkeys(one.address for one in _judged(notice)))
    meant = _meant(notice.inner)
    if inside := [one for one in weak if one.lower() in meant]:
        return inside
    if len(meant) == 1:
        return list(meant.values())
    if len(weak) == 1:
        return weak
    return _verp(notice.top)


def _judged(notice: Notice) -> list[_Seen]:
    """Grade every address of the notice, each by its best place."""
    ours, relayed = _named_in(notice.top, _OURS), _named_in(notice.top, _RELAYED)
    meant = _meant(notice.inner)
    best: dict[str, _Seen] = {}
    for address, evidence in _places(notice.text, notice.top.text("subject")):
        key = address.lower()
        if key in ours or (_SERVERS.match(key.partition("@")[0]) and key not in meant):
            continue
        if key in relayed and evidence < STRONG:
            continue
        if evidence > (best[key].evidence if key in best else 0):
            best[key] = _Seen(best[key].address if key in best else address, evidence)
    return list(best.values())


def _places(text: str, subject: str) -> Iterator[tuple[str, int]]:
    place, found = 0, 0
    before = ""
    for line in text.splitlines(keepends=True):
        for match in _ADDRESS.finditer(line[:2000]):
            found += 1
            if found > _MOST_FOUND * 5:
                return
            if address := _clean(match[0]):
                around = text[max(0, place + match.start() - 200) : place + match.end() + 300]
                named = _SMTP.match(match[0]) is not None
                grade = (
                    STRONG if named else _grade(line[: match.start()], line[match.end() :], before, around)
                )
                yield address, grade
        if line.strip():
            before = line
        place += len(line)
    for match in _ADDRESS.finditer(subject[:500]):
        if (address := _clean(match[0])) and _FAILURE.search(subject):
            yield address, LIKELY


def _clean(found: str) -> str:
    """Return an address without what is glued to it, "" if it is none."""
    text = _GLUED.sub("", found).partition("..")[0].rstrip("'`.-_")
    local, _, domain = text.rpartition("@")
    if not local or "." not in domain.strip("#"):
        return ""
    return address_in(text.replace("#", "", 1) if domain.startswith("#") else text)


def _grade(prefix: str, suffix: str, before: str, around: str) -> int:
    """Return how much the place of an address says: 0 for a sender, an id or a contact."""
    prefix, suffix = prefix[-300:], suffix[:300]
    if _COMMAND.search(prefix) or _LABEL.search(prefix) or _ALIAS.search(prefix):
        return STRONG
    if _TO.search(prefix):
        return LIKELY if _FAILURE.search(around) else WEAK
    if _NOT_FAILED.search(prefix):
        return 0
    alone = _BULLET.match(prefix) or _NAMED.match(prefix)
    if alone and _AFTER.match(suffix):
        return STRONG
    joined = (before[-120:].rstrip() + " " if not prefix.strip(" \t<\"'") else "") + prefix
    if _SENTENCE.search(joined):
        return STRONG
    return LIKELY if _FAILURE.search(around) else WEAK


def _named_in(top: Header, names: Sequence[str]) -> set[str]:
    """Return the addresses in some fields, in lower case."""
    return {found.lower() for name in names for one in top.texts(name)[:5] for found in _addresses(one)}


def _meant(inner: Header) -> dict[str, str]:
    """Return whom the returned message was for, by its own header: lower case -> as written."""
    for names in (
        ("x-failed-recipients", "x-original-to", "delivered-to", "envelope-to", "x-rcpt-to"),
        ("to", "cc", "bcc"),
    ):
        found = [one for name in names for text in inner.texts(name)[:5] for one in _addresses(text)]
        if found:
            return {one.lower(): one for one in found[:_MOST_FOUND]}
    for received in reversed(inner.named.get("received", [])[:50]):
        if match := _ROUTE.search(received[:2000]):
            address = address_in(match[1].decode("latin-1"))
            return {address.lower(): address} if address else {}
    return {}


def _addresses(text: str) -> list[str]:
    return [one for match in _ADDRESS.finditer(text[:20_000]) if (one := _clean(match[0]))]


def _lone_names(notice: Notice) -> list[str]:
    """Return names without a domain that stand where failed addresses stand, completed from what is known."""
    meant = {key.partition("@")[0]: address for key, address in _meant(notice.inner).items()}
    domain = address_in(notice.top.text("from")).rpartition("@")[2]
    lines = [line for line in notice.text.splitlines()[:_MOST_LINES] if line.strip()]
    found: list[str] = []
    last = ""
    for before, line in pairwise(lines):
        opened = bool(_OPENING.search(before[-300:]) or (found and before == last))
        name = _LONE.match(line) if opened else None
        if name is None or _SERVERS.match(name[1]):
            continue
        last = line
        known = meant.get(name[1].lower())
        if known or domain:
            found.append(known or f"{name[1]}@{domain}")
    return list(dict.fromkeys(found))[:_MOST_FOUND]


def _verp(top: Header) -> list[str]:
    """Return the recipient that a list coded into its return path (`list+user=host@…`)."""
    for name in ("to", "delivered-to", "x-original-to"):
        local = address_in(top.text(name)).rpartition("@")[0]
        if match := next((found for one in _VERP if (found := one.search(local))), None):
            return [f"{match[1]}@{match[2].lower()}"]
    return []
