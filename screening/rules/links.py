"""Links: what they show against where they lead."""

from __future__ import annotations

import base64
import re
import unicodedata

from screening.brands import BRANDS, PLAIN_WORDS, owns
from screening.links import Link, registrable
from screening.mail import Mail
from screening.names import BUCKETS, FREE_HOSTS, random_looking
from screening.rule import rule

_SHOWN = re.compile(r"(?:https?://)?((?:[a-z0-9-]{1,63}\.)+[a-z]{2,24})(?:[/:?#]\S*)?", re.IGNORECASE)
_LABEL = re.compile(r"[.-]")


@rule(
    needs=("html", "hosts"),
    score=2.5,
    group="impersonation",
    hits=[{"html": '<a href="http://evil.example/x">https://www.mybank.com/login</a>'}],
    misses=[
        {"html": '<a href="http://www.mybank.com/in">mybank.com</a>'},
        {"html": '<a href="https://click.acme.example/1">www.shop.example</a>'},
    ],
)
def link_text_lies(mail: Mail) -> str | None:
    """A link shows one web address and leads to another."""
    for link in mail.view.links:
        if link.source != "html" or not link.host or link.wrapped:
            continue
        shown = _shown_domain(link)
        if (
            shown
            and shown != link.domain
            and link.domain != mail.author_domain
            and shown != mail.author_domain
        ):
            return f"{link.text} → {link.host}"
    return None


def _shown_domain(link: Link) -> str:
    """Return the registrable domain that the link's text pretends to be, "" if it shows none."""
    text = link.text.strip("<>()[] \t")
    if " " in text or "." not in text or "@" in text:
        return ""
    found = _SHOWN.fullmatch(text)
    return registrable(found[1].lower()) if found is not None else ""


@rule(
    needs="hosts",
    score=2.0,
    hits=[{"text": "Log in at http://192.0.2.44/paypal/"}],
    misses=[{"text": "Ping 192.0.2.44 please, or see http://acme.example/ and http://10.0.0.1/"}],
)
def link_to_number(mail: Mail) -> str | None:
    """A link leads to a bare IP address."""
    for link in mail.hosts.values():
        number = link.host.count(".") == 3 and link.host.replace(".", "").isdigit()
        if number and not link.host.startswith(("10.", "192.168.", "127.", "172.", "0.")):
            return link.href
    return None


@rule(
    needs="hosts",
    score=3.0,
    group="impersonation",
    hits=[
        {"text": "https://paypal.com.account-check.example/login"},
        {"text": "https://metamask-help.example/"},
    ],
    misses=[{"text": "https://www.paypal.com/signin"}, {"text": "https://shop.example/paypal"}],
)
def brand_in_host(mail: Mail) -> str | None:
    """A link's host contains a brand's name and is not that brand's."""
    for link in mail.hosts.values():
        for word in _LABEL.split(link.host):
            if len(word) > 4 and word in BRANDS and word not in PLAIN_WORDS and not owns(word, link.domain):
                return link.href
    return None


@rule(
    needs="other links",
    score=3.0,
    hits=[{"html": '<a href="data:text/html;base64,PGgxPg==">Open</a>'}],
    misses=[{"html": '<a href="https://acme.example/">Open</a><img src="data:image/png;base64,iVBO">'}],
)
def link_to_data(mail: Mail) -> str | None:
    """A link opens a page that is hidden in the link itself (data: or script)."""
    for link in mail.clickable:
        if (
            link.href[:40]
            .lower()
            .startswith(("data:text/html", "data:application", "javascript:eval", "vbscript:"))
        ):
            return link.href[:60]
    return None


@rule(
    needs="hosts",
    score=1.8,
    hits=[{"text": "Sign in: https://acme-login.web.app/x"}],
    misses=[{"text": "https://acme.example/app"}],
)
def link_to_free_host(mail: Mail) -> str | None:
    """A link leads to a site that anyone sets up for nothing, without a name."""
    for link in mail.hosts.values():
        if link.host.endswith(FREE_HOSTS):
            return link.href
    return None


@rule(
    needs="hosts",
    score=2.0,
    hits=[{"html": "<a href='https://storage.googleapis.com/bucket/page.html#x'>Open</a>"}],
    misses=[
        {"html": "<a href='https://acme.example/'>Open</a><img src='https://storage.googleapis.com/a.png'>"}
    ],
)
def link_to_bucket(mail: Mail) -> str | None:
    """A link leads to a page kept in a cloud provider's file store."""
    for link in mail.hosts.values():
        if (
            link.host in BUCKETS
            or ".s3." in link.host
            or link.host.startswith("s3.")
            or link.host.endswith((".s3.amazonaws.com", ".linodeobjects.com", ".digitaloceanspaces.com"))
        ):
            return link.href
    return None


@rule(
    needs="hosts",
    score=0.4,
    hits=[{"to": "bob@shop.example", "text": "https://a.example/login?email=bob@shop.example"}],
    misses=[{"to": "bob@shop.example", "text": "https://a.example/login"}],
)
def link_names_recipient(mail: Mail) -> str | None:
    """A link carries the recipient's address, to fill in a form."""
    addresses = "\n".join([link.href for link in mail.clickable if link.host])
    low_addresses = addresses.lower()
    for address in _recipients(mail):
        low = address.lower()
        coded = base64.b64encode(address.encode()).decode().rstrip("=")
        if (
            low not in low_addresses
            and low.replace("@", "%40") not in low_addresses
            and coded not in addresses
        ):
            continue
        for link in mail.clickable:
            if not link.host:
                continue
            href = link.href.lower()
            if low in href or low.replace("@", "%40") in href or coded in link.href:
                unsubscribes = "unsub" in href or "optout" in href or "remove" in href or "abmelde" in href
                if not unsubscribes and "list-id" not in mail._by_name:  # noqa: SLF001
                    return f"a link to {link.host}"
    return None


def _recipients(mail: Mail) -> list[str]:
    found = [*mail.envelope.recipients[:5], *(box.address for box in mail.mailboxes("to")[:5])]
    return [address for address in dict.fromkeys(found) if len(address) > 5]


@rule(
    needs="hosts",
    score=2.5,
    hits=[{"text": "https://www.paypal.com@evil.example/login"}],
    misses=[{"text": "https://medium.com/@anna/story"}],
)
def link_hides_host(mail: Mail) -> str | None:
    """A link's real host stands behind an @ that readers take for part of it."""
    for link in mail.clickable:
        if "@" not in link.href:
            continue
        rest = link.href.partition("://")[2]
        authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
        if "@" in authority and "." in authority.partition("@")[0] and link.host:
            return link.href
    return None


@rule(
    needs="hosts",
    score=1.5,
    hits=[{"text": "http://shop.example:8081/login"}],
    misses=[{"text": "https://shop.example:443/ and http://localhost:8080/"}],
)
def link_to_odd_port(mail: Mail) -> str | None:
    """A link leads to an unusual port of a public host, in HTML."""
    for link in mail.clickable:
        authority = link.href.partition("://")[2].partition("/")[0].rpartition("@")[2]
        port = authority.partition(":")[2]
        if port.isdigit() and port not in ("80", "443", "8080", "8443") and "." in link.host:
            return link.href
    return None


@rule(
    needs="hosts",
    score=2.0,
    group="disguise",
    hits=[{"text": "https://xn--pypal-4ve.example/"}],
    misses=[
        {"text": "https://xn--bcher-kva.example/"},
        {"from": "A <a@xn--pypal-4ve.example>", "text": "https://xn--pypal-4ve.example/"},
    ],
)
def link_in_lookalike_script(mail: Mail) -> str | None:
    """A link's host mixes scripts in one label, so that it looks like another."""
    for link in mail.hosts.values():
        if "xn--" not in link.host or link.domain == mail.author_domain:
            continue
        for label in link.host.split("."):
            if label.startswith("xn--") and _mixes(label):
                return f"{link.host} ({_unicode(label)})"
    return None


def _unicode(label: str) -> str:
    try:
        return label[4:].encode("ascii").decode("punycode")
    except UnicodeError:
        return label


def _mixes(label: str) -> bool:
    text = _unicode(label)
    latin = any("a" <= c <= "z" for c in text)
    return latin and any("\u0370" <= c <= "\u052f" for c in text)


@rule(
    needs="hosts",
    score=1.2,
    hits=[
        {"text": "https://secure-login-account-update-verify.example/"},
        {"text": "http://a.b.c.d.e.f.g.shop.example/"},
    ],
    misses=[{"text": "https://www.my-shop.example/"}],
)
def link_to_long_host(mail: Mail) -> str | None:
    """A link's host has three or more hyphens in one label, or seven or more labels."""
    for link in mail.hosts.values():
        host = link.host
        if host.count(".") >= 6 and not host.replace(".", "").isdigit():
            return link.href
        labels = host.split(".")[:-1] if host.count("-") >= 3 and not host.endswith(".run.app") else ()
        if any(label.count("-") >= 3 and "xn--" not in label for label in labels):
            return link.href
    return None


@rule(
    needs="hosts",
    score=1.2,
    hits=[{"text": "https://xkqzvw7.example/ and https://b7x9k2qp.example/a"}],
    misses=[{"text": "https://www.acme.example/"}, {"text": "https://web2.acme4you.example/"}],
)
def link_to_random_host(mail: Mail) -> str | None:
    """A link's domain is letters and digits that no person chose."""
    for link in mail.hosts.values():
        name = link.domain.split(".", 1)[0]
        plain = len(name) < 6 or name.isdigit() or "xn--" in name or name in BRANDS or name[-4:].isdigit()
        if not plain and link.domain != mail.author_domain and random_looking(name, 3):
            return link.href
    return None


@rule(
    needs=("html", "hosts"),
    score=1.5,
    hits=[
        {
            "html": "".join(
                f"<a href='https://x.example/go?i=77'>{word}</a> " for word in ("Buy", "Now", "Unsubscribe")
            )
        }
    ],
    misses=[{"html": "<a href='https://x.example/'>Shop</a> <a href='https://x.example/u'>Unsubscribe</a>"}],
)
def links_all_alike(mail: Mail) -> str | None:
    """Three or more links with different words all lead to the same place, which is not the sender's."""
    seen = [link for link in mail.view.links if link.source == "html" and link.host]
    if len(seen) < 3 or len({link.href for link in seen}) > 1 or seen[0].domain == mail.author_domain:
        return None
    words = {link.text for link in seen if link.text}
    return seen[0].href if len(words) >= 2 or len(seen) >= 4 else None


@rule(
    needs=("html", "hosts", "no answer"),
    score=1.0,
    hits=[{"html": "<a href='https://other.example/a'>A</a> <a href='https://other.example/b'>B</a>"}],
    misses=[{"html": "<a href='https://www.acme.example/a'>A</a> <a href='https://other.example/b'>B</a>"}],
)
def links_all_foreign(mail: Mail) -> str | None:
    """All links of an HTML mail lead to one domain that is not the sender's."""
    domains = {link.domain for link in mail.view.links if link.source == "html" and link.domain}
    if len(domains) != 1 or mail.has("in-reply-to"):
        return None
    domain = next(iter(domains))
    return (
        f"{mail.author.address} → {domain}" if mail.author_domain and domain != mail.author_domain else None
    )


@rule(
    needs="hosts",
    score=1.5,
    hits=[{"text": "Open https://x.example/?q=" + "aG9B7xK2" * 14}],
    misses=[{"text": "https://x.example/articles/2026/03/how-to-grow-tomatoes-on-a-balcony-in-the-city"}],
)
def link_with_long_token(mail: Mail) -> str | None:
    """The only links' addresses carry ninety characters of code."""
    hosts = {link.domain for link in mail.clickable if link.domain}
    if len(hosts) > 2 or mail.author_domain in hosts:
        return None
    for link in mail.clickable:
        if len(link.href) < 98:  # https:// and ninety
            continue
        tail = link.href.partition("://")[2].partition("/")[2]
        token = max(re.split(r"[/?&=#.]", tail), key=len, default="")
        if len(token) >= 90 and "-" not in token[:60] and link.host and not link.wrapped:
            return link.href
    return None


@rule(
    needs=("hosts", "no answer"),
    score=1.2,
    hits=[{"text": "http://7f2b5.shop.example/?ubocuacuro=4FnLT71G9R8822a94su16ir6"}],
    misses=[
        {"text": "https://acme.example/?article=summer"},
        {"text": "https://www.acme.example/?q=4FnLT71G9R8822a94su16ir6"},
    ],
)
def link_with_code(mail: Mail) -> str | None:
    """Every link to a foreign site carries a code of mixed letters and digits."""
    seen = [x for x in mail.clickable if x.domain and x.domain != mail.author_domain and not x.wrapped]
    if not seen or mail.has("in-reply-to") or mail.has("list-id") or len(seen) > 30:
        return None
    return seen[0].href if all(any(map(_MIXED.search, _WORD.findall(x.path))) for x in seen) else None


#: two steps, since one pattern for both takes quadratic time on a long word
_WORD, _MIXED = re.compile(r"[A-Za-z0-9]{14,}"), re.compile(r"[0-9][A-Za-z]+[0-9]")


@rule(
    needs="links",
    score=3.0,
    group="disguise",
    hits=[{"html": "<a href='http://\U0001d7dc.rentals.example/x'>Open</a>"}],
    misses=[{"html": "<a href='http://b\u00fccher.example/x'>Open</a>"}],
)
def link_in_styled_letters(mail: Mail) -> str | None:
    """A link's address is written in letters that browsers silently replace."""
    for link in mail.clickable:
        if link.href.isascii():
            continue
        authority = link.href.partition("://")[2].partition("/")[0]
        if not authority.isascii() and unicodedata.normalize("NFKC", authority) != unicodedata.normalize(
            "NFC", authority
        ):
            return link.href
    return None


@rule(
    needs="other links",
    score=1.5,
    hits=[{"html": "<a href='mailto:out@x.example?subject=Remove'>here</a>"}],
    misses=[{"html": "<a href='mailto:anna@acme.example?subject=Hello'>here</a>"}],
)
def mailto_removal(mail: Mail) -> str | None:
    """A link writes a removal mail, instead of a List-Unsubscribe field."""
    if mail.has("list-unsubscribe") or mail.has("list-id"):
        return None
    for link in mail.clickable:
        if link.href[:7].lower() == "mailto:" and _REMOVAL.search(link.href):
            return link.href
    return None


_REMOVAL = re.compile(
    r"subject=[^&]{0,40}(?:remov|unsub|opt|take.?me.?off|delete)|^mailto:(?:remov|unsub|opt|delete)",
    re.IGNORECASE,
)
