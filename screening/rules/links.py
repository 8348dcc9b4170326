"""Links: what they show against where they lead."""

from __future__ import annotations

import re

from screening.brands import BRANDS, owns
from screening.links import Link, registrable
from screening.mail import Mail
from screening.rule import rule

_SHOWN = re.compile(r"(?:https?://)?((?:[a-z0-9-]{1,63}\.)+[a-z]{2,24})(?:[/:?#]\S*)?", re.IGNORECASE)


def _shown_domain(link: Link) -> str:
    """Return the registrable domain that the link's text pretends to be, "" if it shows none."""
    text = link.text.strip().strip("<>()[]")
    if " " in text or "." not in text:
        return ""
    found = _SHOWN.fullmatch(text)
    return registrable(found[1].lower()) if found is not None else ""


@rule(
    score=2.0,
    hits=[{"html": '<a href="http://evil.example/x">https://www.mybank.com/login</a>'}],
    misses=[{"html": '<a href="http://www.mybank.com/in">mybank.com</a>'}],
)
def link_text_lies(mail: Mail) -> str | None:
    """A link shows one web address and leads to another."""
    for link in mail.view.links:
        if link.source != "html" or not link.host:
            continue
        shown = _shown_domain(link)
        if shown and shown != link.domain and link.domain != mail.author_domain:
            return f"{link.text} → {link.host}"
    return None


@rule(
    score=2.0,
    hits=[{"text": "Log in at http://192.0.2.44/paypal/"}],
    misses=[{"text": "Ping 192.0.2.44 please, or see http://acme.example/"}],
)
def link_to_number(mail: Mail) -> str | None:
    """A link leads to a bare IP address."""
    for link in mail.clickable:
        number = link.host.count(".") == 3 and link.host.replace(".", "").isdigit()
        if number and not link.host.startswith(("10.", "192.168.", "127.", "172.")):
            return link.href
    return None


@rule(
    score=3.0,
    group="impersonation",
    hits=[{"text": "https://paypal.com.account-check.example/login"}],
    misses=[{"text": "https://www.paypal.com/signin"}, {"text": "https://shop.example/paypal"}],
)
def brand_in_host(mail: Mail) -> str | None:
    """A link's host contains a brand's name and is not that brand's."""
    for link in mail.clickable:
        if not link.host:
            continue
        words = re.split(r"[.-]", link.host)
        for word in words:
            if word in BRANDS and len(word) > 4 and not owns(word, link.domain) and word not in _PLAIN:
                return link.href
    return None


_PLAIN = frozenset(
    {"apple", "google", "outlook", "ledger", "steam", "kraken", "hermes", "amazon", "exodus", "douglas"}
)


@rule(
    score=2.5,
    hits=[{"html": '<a href="data:text/html;base64,PGgxPg==">Open</a>'}],
    misses=[{"html": '<a href="https://acme.example/">Open</a><img src="data:image/png;base64,iVBO">'}],
)
def link_to_data(mail: Mail) -> str | None:
    """A link opens a page that is hidden in the link itself (data: or javascript:)."""
    for link in mail.clickable:
        if (
            link.href[:40]
            .lower()
            .startswith(("data:text/html", "javascript:eval", "vbscript:", "data:application"))
        ):
            return link.href[:60]
    return None
