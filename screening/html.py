"""HTML as its reader sees it: text, links, forms, images, and what is hidden from the eye."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import re2
from selectolax.lexbor import LexborHTMLParser, LexborNode

from screening.links import MAX_LINKS, Link, make

#: The parser's time grows with depth by elements and with attributes squared (measured): beyond these a plain
#: linear reading is used instead.
MAX_DEPTH = 1000
MAX_TAG_MARKS = 2500
MAX_ELEMENTS = 20_000

_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]{0,40})")
#: elements that hold nothing, and those often left open, which close themselves
_FLAT = frozenset(
    "area base br col embed hr img input link meta param source track wbr p li td tr th dt dd option".split()  # noqa: SIM905
)
#: elements that hold links or forms; looking them up by name costs a third of a selector
_TAGS = ("a", "area", "form", "input", "meta", "base", "script", "img", "iframe", "object")
_LINE_ENDS = ("<br", "</p", "</td", "</div", "</li", "</h", "</tr")
_CAPITAL_LINE_ENDS = tuple(mark.upper() for mark in _LINE_ENDS)
_HIDDEN_MARK = re2.compile(
    r"(?i)display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*[01](?:\.\d+)?(?:px|pt|em)?\s*[;\"'!]"
    r"|opacity\s*:\s*0(?:\.0\d*)?\s*[;\"'!]|max-height\s*:\s*0|color\s*:\s*transparent"
)
_HIDDEN_WORDS = ("none", "hidden", "font-size", "opacity", "max-height", "transparent")
_HREF = re.compile(r"href\s*=\s*[\"']?([^\"'\s>]{1,4096})", re.IGNORECASE)
_META_URL = re.compile(r"url\s*=\s*['\"]?([^'\"\s]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HtmlView:
    """What one HTML text shows; `hidden` is text that a reader cannot see."""

    text: str = ""
    links: tuple[Link, ...] = ()
    title: str = ""
    hidden: str = ""
    #: number of img elements
    images: int = 0
    #: names or types of form inputs
    inputs: tuple[str, ...] = ()
    forms: int = 0
    scripts: int = 0
    refresh: str = ""
    elements: frozenset[str] = field(default_factory=frozenset)
    crude: bool = False


def view(html: str) -> HtmlView:
    """Return what the HTML shows; linear, never raises."""
    if not html:
        return HtmlView()
    if _too_tangled(html):
        return _crude(html)
    lined = html
    capital = "<BR" in html or "</P" in html or "</TD" in html
    for mark in _LINE_ENDS + _CAPITAL_LINE_ENDS if capital else _LINE_ENDS:
        if mark in lined:
            lined = lined.replace(mark, "\n" + mark)
    tree = LexborHTMLParser(lined)
    found = _Found()
    for tag in _TAGS:
        for node in tree.tags(tag):
            found.take(node, tag)
    title = tree.css_first("title")
    title_text = " ".join(title.text().split())[:500] if title is not None else ""
    tree.strip_tags(["script", "style", "template", "title"])
    hidden = _hidden(tree) if _HIDDEN_MARK.search(html) else ""
    root = tree.root
    text = " ".join(root.text().split()) if root is not None else ""
    return HtmlView(
        text=text,
        links=tuple(found.links),
        title=title_text,
        hidden=hidden,
        images=found.images,
        inputs=tuple(found.inputs),
        forms=found.forms,
        scripts=found.scripts,
        refresh=found.refresh,
        elements=frozenset(found.elements),
    )


class _Found:
    def __init__(self) -> None:
        self.links: list[Link] = []
        self.inputs: list[str] = []
        self.elements: set[str] = set()
        self.images = self.forms = self.scripts = 0
        self.refresh = ""

    def take(self, node: LexborNode, tag: str) -> None:
        get = node.attributes.get
        self.elements.add(tag)
        if tag == "a" or tag == "area":
            self.link(get("href"), " ".join(node.text().split()), "html", tag)
        elif tag == "img":
            self.images += 1
            self.link(get("src"), get("alt") or "", "attribute", tag)
        elif tag == "form":
            self.forms += 1
            self.link(get("action"), "", "attribute", tag)
        elif tag == "input":
            self.inputs.append(f"{get('type') or 'text'} {get('name') or ''}".lower()[:80])
        elif tag == "script":
            self.scripts += 1
            self.link(get("src"), "", "attribute", tag)
        elif tag == "meta":
            self.meta(get("http-equiv") or "", get("content") or "")
        else:
            self.link(get("src") or get("href") or get("data"), "", "attribute", tag)

    def meta(self, equivalent: str, content: str) -> None:
        if equivalent.strip().lower() == "refresh":
            found = _META_URL.search(content[:4096])
            if found is not None:
                self.refresh = found[1]
                self.link(found[1], "", "attribute", "meta")

    def link(self, href: str | None, text: str, source: str, tag: str) -> None:
        if href and len(self.links) < MAX_LINKS:
            link = make(href, text[:1000], source, tag)
            if link is not None:
                self.links.append(link)


def _hidden(tree: LexborHTMLParser) -> str:
    out: list[str] = []
    for node in tree.css("[style]")[:5000]:
        style = (node.attributes.get("style") or "").lower()
        if any(mark in style for mark in _HIDDEN_WORDS) and _HIDDEN_MARK.search(style + ";"):
            out.append(node.text())
            if len(out) >= 50:
                break
    return " ".join(" ".join(out).split())[:10_000]


def _too_tangled(html: str) -> bool:
    """Whether a tree would cost more than linear time: too deep, or a tag with thousands of attributes."""
    if len(html) > 16_384 and any(_many_attributes(tag) for tag in html.split(">") if len(tag) > 16_384):
        return True
    if html.count("<") < 2 * MAX_DEPTH:
        return False
    counts: dict[str, int] = {}
    depth = elements = 0
    for closing, written in _TAG.findall(html):
        name = written.lower()
        if name in _FLAT:
            continue
        elements += not closing
        if not closing:
            counts[name] = counts.get(name, 0) + 1
            depth += 1
        elif counts.get(name, 0) > 0:
            counts[name] -= 1
            depth -= 1
        if depth > MAX_DEPTH or elements > MAX_ELEMENTS:
            return True
    return False


def _many_attributes(tag: str) -> bool:
    return max(map(tag.count, " \n\"'")) > MAX_TAG_MARKS or tag.count("/") > 3 * MAX_TAG_MARKS


def _crude(html: str) -> HtmlView:
    """Read tags by their brackets alone."""
    found = _Found()
    out: list[str] = []
    for piece in html.split("<"):
        tag, bracket, text = piece.partition(">")
        out.append(text if bracket else "" if out else piece)
        if tag[:2] in ("a ", "A "):
            match = _HREF.search(tag[:8192])
            if match is not None:
                found.link(match[1], " ".join(text.split()), "html", "a")
    return HtmlView(text=" ".join(" ".join(out).split()), links=tuple(found.links), crude=True)
