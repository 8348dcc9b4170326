"""Links: found in text and HTML, with the host that a browser would really open."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address
from typing import NamedTuple
from urllib.parse import unquote

import idna
from publicsuffixlist import PublicSuffixList

MAX_LINKS = 1000
MAX_URL = 4096

_SUFFIXES = PublicSuffixList()
_URL_TAIL = re.compile(r"[^\s<>\"'`{}|^\x00-\x20\u00a0\u200b-\u200f\u2028\u2029]{1,4096}")
_NUMERIC = re.compile(r"(?:0[xX][0-9a-fA-F]+|\d+)(?:\.(?:0[xX][0-9a-fA-F]+|\d+)){0,3}")
_CONTROL = re.compile(r"[\x00-\x20\x7f]+")
_DROPPED = dict.fromkeys((0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))
_SAFELINK = re.compile(r"[?&](?:amp;)?url=([^&\s]+)")
_DEFENSE2 = re.compile(r"[?&](?:amp;)?u=([^&\s]+)")
_DEFENSE3 = re.compile(r"__(https?:/.*?)__;")
#: schemes with a host that opens in a browser or file manager
_WEB = frozenset({"http", "https", "ftp", "file", "smb"})


class Link(NamedTuple):
    """One link: `domain` is the registrable part of `host`; `source` is text, html (anchor) or attribute."""

    href: str
    text: str
    host: str
    domain: str
    source: str
    tag: str = ""
    #: a mail filter rewrote it; `host` is the one inside
    wrapped: bool = False

    @property
    def path(self) -> str:
        """Return what follows the host, without the leading slash."""
        rest = self.href.partition("://")[2] or self.href
        return rest.replace("\\", "/").partition("/")[2]


@lru_cache(maxsize=16384)
def registrable(host: str) -> str:
    """Return the registrable domain of a host (public suffix list), or the host itself where it has none."""
    if not host or host[0] == "[" or host.rpartition(".")[2].isdigit():
        return host
    return _SUFFIXES.privatesuffix(host) or host


@lru_cache(maxsize=4096)
def known_suffix(domain: str) -> bool:
    """Return whether the domain's ending exists (public suffix list, or reserved for examples)."""
    if domain.rpartition(".")[2] in ("example", "test", "invalid"):
        return True
    return _SUFFIXES.publicsuffix(domain, accept_unknown=False) is not None


@lru_cache(maxsize=2048)
def normal_host(authority: str) -> str:
    """Return the host of a URL's authority as a browser reads it: no user, no port, IDNA, numbers as IPv4."""
    host = authority.rpartition("@")[2]
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    host = unquote(host.partition(":")[0]) if "%" in host else host.partition(":")[0]
    if not host.isascii():
        host = host.translate(_DROPPED)
        try:
            host = idna.encode(host, uts46=True, transitional=False).decode("ascii")
        except (idna.IDNAError, UnicodeError, ValueError):
            return host.lower()[:253]
    host = host.lower().strip(".")[:253]
    if host and _NUMERIC.fullmatch(host):
        return _ipv4(host) or host
    return host


def _ipv4(host: str) -> str:
    """Return the dotted form of 2130706433, 0x7f.1 and their kind, "" if it is none."""
    try:
        parts = [
            int(p, 16 if p[:2] in ("0x", "0X") else 8 if p[0] == "0" and p != "0" else 10)
            for p in host.split(".")
        ]
    except ValueError:
        return ""
    value = 0
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part >= (256 ** (5 - len(parts)) if last else 256):
            return ""
        value += part if last else part << (24 - 8 * index)
    try:
        return str(IPv4Address(value))
    except AddressValueError:
        return ""


def unwrapped(href: str, host: str) -> str:
    """Return the address inside a link that a mail filter rewrote, "" if none did."""
    if host.endswith(".safelinks.protection.outlook.com"):
        found = _SAFELINK.search(href)
        return unquote(found[1]) if found is not None else ""
    if host.startswith("urldefense."):
        found = _DEFENSE3.search(href)
        if found is not None:
            return found[1].replace(":/", "://", 1).replace(":///", "://", 1)
        found = _DEFENSE2.search(href)
        return unquote(found[1].replace("-", "%").replace("_", "/")) if found is not None else ""
    return ""


def make(href: str, text: str, source: str, tag: str = "") -> Link | None:
    """Return the link that a browser would follow, None where there is nothing to open."""
    target = _target(href[:MAX_URL])
    if target is None:
        return None
    href, host, domain, wrapped = target
    return Link(href, text, host, domain, source, tag, wrapped)


@lru_cache(maxsize=1024)
def _target(href: str) -> tuple[str, str, str, bool] | None:
    """Return the address as a browser reads it, its host, registrable domain, and whether it was rewritten.

    Kept: text and HTML of a message name the same addresses, and so do messages of one customer.
    """
    if not href.isascii() or _CONTROL.search(href):
        href = _CONTROL.sub("", href.translate(_DROPPED))
    scheme, colon, rest = href.partition(":")
    if href[:2] in ("//", "\\\\", "/\\"):
        scheme, rest, colon = "https", href, ":"
    if not colon or not scheme.isascii():
        return None
    if scheme.lower() not in _WEB:
        return href, "", "", False
    authority = rest.lstrip("/\\")
    for stop in "/?#\\":
        authority = authority.partition(stop)[0]
    host = normal_host(authority)
    inner = unwrapped(href, host)
    if inner.startswith(("http://", "https://")):
        host = normal_host(inner.partition("://")[2].partition("/")[0].partition("?")[0])
    return href, host, registrable(host), bool(inner)


def in_text(text: str, limit: int = MAX_LINKS) -> list[Link]:
    """Return the links written out in plain text, in order; linear."""
    out: list[Link] = []
    seen: set[str] = set()
    for start in _starts(text):
        if len(out) >= limit:
            break
        found = _URL_TAIL.match(text, start)
        if found is None:
            continue
        written = _trimmed(found[0])
        if written in seen:
            continue
        seen.add(written)
        href = written if "://" in written[:24] else f"http://{written}"
        link = make(href, written, "text")
        if link is not None and "." in link.host:
            out.append(link)
    return out


def _starts(text: str) -> list[int]:
    starts: list[int] = []
    at = text.find("://")
    while at >= 0 and len(starts) < 10 * MAX_LINKS:
        scheme = text[max(0, at - 5) : at].lower()
        for known in ("https", "http", "ftp"):
            if scheme.endswith(known):
                starts.append(at - len(known))
                break
        at = text.find("://", at + 3)
    for prefix in ("www.", "WWW."):
        at = text.find(prefix)
        while at >= 0 and len(starts) < 20 * MAX_LINKS:
            if at == 0 or not (text[at - 1].isalnum() or text[at - 1] in "/.@-_"):
                starts.append(at)
            at = text.find(prefix, at + 4)
    starts.sort()
    return starts


def _trimmed(url: str) -> str:
    """Drop the punctuation that ends a sentence, and a bracket that opened before the link."""
    url = url.rstrip(".,;:!?*_~")
    if ")" not in url and "]" not in url:
        return url
    surplus = {")": url.count(")") - url.count("("), "]": url.count("]") - url.count("[")}
    end = len(url)
    while end and (url[end - 1] in ".,;:!?" or surplus.get(url[end - 1], 0) > 0):
        end -= 1
        if url[end] in surplus:
            surplus[url[end]] -= 1
    return url[:end]
