"""HTML as its reader sees it: text, links, forms, images, and what is hidden from the eye."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import unescape

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
#: what separates words for a reader, though it is no blank: a line end is put before it
_LINE_END = re.compile(rb"<(?=br|/(?:p|td|div|li|h|tr))")
_ANY_LINE_END = re.compile(rb"<(?=br|BR|/(?:[pPhH]|td|TD|div|DIV|li|LI|tr|TR))")
_HIDING = (
    r"(?i)display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*[01](?:\.\d+)?(?:px|pt|em)?\s*[;\"'!]"
    r"|opacity\s*:\s*0(?:\.0\d*)?\s*[;\"'!]|max-height\s*:\s*0|color\s*:\s*transparent"
)
#: elements that hold links or forms, in the order in which their links count
_TAGS = ("a", "area", "form", "input", "meta", "base", "script", "img", "iframe", "object")
#: What one pass over the source looks for; elements that are not in it need not be sought in the tree.
_MARKS = {
    "hiding": _HIDING,
    "capitals": "<BR|</P|</TD",
    "comment": "<!--",
    "entity": "&#",
    **{tag: f"(?i)<{tag}" for tag in _TAGS},
    "img": "(?i)<ima?ge?",  # parsers read <image> as <img>
}
#: elements whose text nobody sees
_UNSHOWN = ["script", "style", "template", "title"]
_HREF = re.compile(r"href\s*=\s*[\"']?([^\"'\s>]{1,4096})", re.IGNORECASE)
_META_URL = re.compile(r"url\s*=\s*['\"]?([^'\"\s]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HtmlView:
    """What one HTML text shows; `hidden` is text that a reader cannot see."""

    text: str = ""
    links: tuple[Link, ...] = ()
    hidden: str = ""
    #: number of img elements
    images: int = 0
    #: names or types of form inputs
    inputs: tuple[str, ...] = ()
    forms: int = 0
    scripts: int = 0
    refresh: str = ""
    #: what the source has, of `_MARKS`
    marks: frozenset[str] = frozenset()
    crude: bool = False

    @property
    def active(self) -> bool:
        """Whether it holds what does more than show: inputs, forms, scripts, a refresh."""
        return bool(self.inputs or self.forms or self.scripts or self.refresh)


def _set(patterns: Iterable[str]) -> re2.Set:
    made = re2.Set.SearchSet()
    for pattern in patterns:
        made.Add(pattern)
    made.Compile()
    return made


_MARK_NAMES = tuple(_MARKS)
_MARK_SET = _set(_MARKS.values())
_HIDING_SET = _set([_HIDING])


def view(html: str) -> HtmlView:
    """Return what the HTML shows; linear, never raises."""
    if not html:
        return HtmlView()
    source = html.encode()  # a byte a letter: a string with one smiley takes four
    marks = frozenset([_MARK_NAMES[number] for number in _MARK_SET.Match(source) or ()])
    if _too_tangled(html, source):
        return _crude(html, marks)
    lined = (_ANY_LINE_END if "capitals" in marks else _LINE_END).sub(b"\n<", source)
    tree = LexborHTMLParser(lined)
    found = _Found()
    wanted = [tag for tag in _TAGS if tag in marks]
    if wanted:
        nodes: dict[str, list[LexborNode]] = {tag: [] for tag in wanted}
        for node in tree.css(",".join(wanted)):
            if (those := nodes.get(node.tag or "")) is not None:
                those.append(node)
        for tag in wanted:
            found.take(tag, nodes[tag])
    tree.strip_tags(_UNSHOWN)
    hidden = _hidden(tree) if "hiding" in marks else ""
    root = tree.root
    return HtmlView(
        text=" ".join(root.text().split()) if root is not None else "",
        links=tuple(found.links),
        hidden=hidden,
        images=found.images,
        inputs=tuple(found.inputs),
        forms=found.forms,
        scripts=found.scripts,
        refresh=found.refresh,
        marks=marks,
    )


class _Found:
    def __init__(self) -> None:
        self.links: list[Link] = []
        self.inputs: list[str] = []
        self.images = self.forms = self.scripts = 0
        self.refresh = ""

    def take(self, tag: str, nodes: list[LexborNode]) -> None:
        """Take what all elements of one name say."""
        if tag in ("a", "area"):
            for node in nodes:
                href = node.attributes.get("href")
                if href:
                    self.link(href, " ".join(node.text().split()), "html", tag)
            return
        self.images += len(nodes) if tag == "img" else 0
        self.forms += len(nodes) if tag == "form" else 0
        self.scripts += len(nodes) if tag == "script" else 0
        for node in nodes:
            get = node.attributes.get
            if tag == "img":
                self.link(get("src"), get("alt") or "", "attribute", tag)
            elif tag == "form":
                self.link(get("action"), "", "attribute", tag)
            elif tag == "input":
                self.inputs.append(f"{get('type') or 'text'} {get('name') or ''}".lower()[:80])
            elif tag == "script":
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
    nodes = tree.css("[style]")[:5000]
    styles = [f"{node.attributes.get('style') or ''};" for node in nodes]
    if not _HIDING_SET.Match("\n".join(styles)):
        return ""
    hiding = {style for style in set(styles) if _HIDING_SET.Match(style)}  # most repeat
    unseen = [node for node, style in zip(nodes, styles, strict=True) if style in hiding]
    out = [node.text() for node in unseen[:50]]
    return " ".join(" ".join(out).split())[:10_000]


def _too_tangled(html: str, source: bytes) -> bool:
    """Whether a tree would cost more than linear time: too deep, or a tag with thousands of attributes."""
    if _has_long_tag(source) and any(_many_attributes(tag) for tag in html.split(">") if len(tag) > 16_384):
        return True
    if source.count(b"<") < 2 * MAX_DEPTH:
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


def _has_long_tag(source: bytes) -> bool:
    """Whether a tag can have 16 KiB: then there is none of its ends in one half of that."""
    return any(source.find(b">", at, at + 8192) < 0 for at in range(0, len(source) - 8191, 8192))


def _many_attributes(tag: str) -> bool:
    return max(map(tag.count, " \n\"'")) > MAX_TAG_MARKS or tag.count("/") > 3 * MAX_TAG_MARKS


def _crude(html: str, marks: frozenset[str]) -> HtmlView:
    """Read tags by their brackets alone."""
    found = _Found()
    out: list[str] = []
    for piece in html.split("<"):
        tag, bracket, text = piece.partition(">")
        out.append(text if bracket else "" if out else piece)
        if tag[:1] in ("a", "A") and (tag[1:2].isspace() or tag[1:2] == "/"):
            match = _HREF.search(tag[:8192])
            if match is not None:
                found.link(unescape(match[1]), " ".join(text.split()), "html", "a")
    return HtmlView(text=" ".join(" ".join(out).split()), links=tuple(found.links), marks=marks, crude=True)
