from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screening.links import in_text, known_suffix, make, normal_host, registrable


@pytest.mark.parametrize(
    ("href", "host", "domain"),
    [
        ("https://www.Shop.example/a", "www.shop.example", "shop.example"),
        ("http://user:pw@evil.example:8080/x", "evil.example", "evil.example"),
        ("https://paypal.com@evil.example/", "evil.example", "evil.example"),
        ("//evil.example/x", "evil.example", "evil.example"),
        ("https:\\\\evil.example\\x", "evil.example", "evil.example"),
        ("http:evil.example/x", "evil.example", "evil.example"),
        ("http://2130706433/", "127.0.0.1", "127.0.0.1"),
        ("http://0x7f.1/", "127.0.0.1", "127.0.0.1"),
        ("http://ev%69l.example/", "evil.example", "evil.example"),
        ("http://e\nvil.example/", "evil.example", "evil.example"),
        ("http://b\u00fccher.example/", "xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("http://a.b.co.uk./", "a.b.co.uk", "b.co.uk"),
        ("http://[::1]/x", "[::1]", "[::1]"),
        ("mailto:a@b.example", "", ""),
        ("javascript:alert(1)", "", ""),
        (
            "https://x.safelinks.protection.outlook.com/?url=https%3A%2F%2Freal.example%2Fa&data=1",
            "real.example",
            "real.example",
        ),
        ("https://urldefense.com/v3/__https://real.example/a__;!!x", "real.example", "real.example"),
        (
            "https://urldefense.proofpoint.com/v2/url?u=https-3A__real.example_a&d=x",
            "real.example",
            "real.example",
        ),
    ],
)
def test_the_host_is_the_one_that_a_browser_opens(href: str, host: str, domain: str) -> None:
    link = make(href, "", "html")
    assert link is not None
    assert (link.host, link.domain) == (host, domain)


@pytest.mark.parametrize("href", ["", "#top", "/path", "page.html"])
def test_what_leads_nowhere_is_no_link(href: str) -> None:
    assert make(href, "", "html") is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see https://a.example/x, or (http://b.example/y).", ["https://a.example/x", "http://b.example/y"]),
        ("www.a.example and WWW.B.example", ["http://www.a.example", "http://WWW.B.example"]),
        ("https://a.example/(x)", ["https://a.example/(x)"]),
        ("xhttps://a.example/", ["https://a.example/"]),
        ("a.www.b and mail@www.c.example ://", []),
    ],
)
def test_links_are_found_in_text(text: str, found: list[str]) -> None:
    assert [link.href for link in in_text(text)] == found


def test_suffixes() -> None:
    assert registrable("a.b.github.io") == "b.github.io"
    assert known_suffix("acme.co.uk")
    assert not known_suffix("protege.cll")


@given(st.text(max_size=300))
def test_any_text_is_read_without_an_error(text: str) -> None:
    in_text(text)
    make(text, "", "html")
    normal_host(text[:60])
