from __future__ import annotations

import pytest

from screening.html import view


def test_html_is_read_as_its_reader_sees_it() -> None:
    seen = view(
        "<html><head><title>T</title><style>p{}</style></head><body><p>One <b>V</b>iagra</p><p>two</p>"
        "<script>var x</script><a href='https://a.example/x'>A <i>link</i></a><img "
        "src='https://a.example/b.png' alt=B>"
        "<form action='/f'><input type=password name=p></form><div "
        "style='display:none'>unseen</div></body></html>"
    )
    assert "One Viagra two" in seen.text
    assert "var x" not in seen.text
    assert "T" not in seen.text.split()
    assert [(link.host, link.text, link.source) for link in seen.links] == [
        ("a.example", "A link", "html"),
        ("a.example", "B", "attribute"),
    ]
    assert seen.hidden == "unseen"
    assert (seen.images, seen.forms, seen.scripts, seen.inputs) == (1, 1, 1, ("password p",))


def test_a_refresh_is_a_link() -> None:
    seen = view("<meta http-equiv=Refresh content='0; URL=https://a.example/'>")
    assert seen.refresh == "https://a.example/"
    assert [link.tag for link in seen.links] == ["meta"]


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 50_000,
        "<a " * 80_000,
        "<!--" * 60_000,
        "<table><tr><td><form><a href=x>" * 8000,
        "<a " + " ".join(f"a{n}=1" for n in range(30_000)) + ">x</a>",
        "<a " + "/".join(f"a{n}" for n in range(40_000)) + ">x</a>",
        "<" * 200_000,
        "&#65;" * 50_000,
    ],
    ids=lambda html: html[:12],
)
@pytest.mark.timeout(5)
def test_tangled_html_is_read_in_linear_time(html: str) -> None:
    view(html + "<a href='https://late.example/'>late</a>")


def test_tangled_html_still_gives_up_its_links_and_text() -> None:
    seen = view("<div>" * 5000 + "<a href='https://late.example/'>late</a> words")
    assert seen.crude
    assert [link.host for link in seen.links] == ["late.example"]
    assert "late words" in seen.text
