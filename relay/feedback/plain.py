"""The text of a notice in HTML, line by line as a reader sees it; linear, never raises. Pure."""

from __future__ import annotations

import re
from html import unescape

_BREAK = re.compile(
    r"<(?:br|/?p|/?div|/?tr|/td|/li|/h[1-6]|/?ul|/?pre|/?table|hr|/title)(?=[\s>/])[^<>]{0,4000}>",
    re.IGNORECASE,
)
#: a tag; `<ann@there.example>` is none
_TAG = re.compile(r"</?[a-zA-Z!][a-zA-Z0-9:-]*(?=[\s>/])[^<>]{0,4000}>")
_SILENT = ("style", "script")


def of_html(markup: str) -> str:
    """Return the text of a page: a line per block, no styles and scripts."""
    for name in _SILENT:
        markup = _without(markup, name)
    lined = _BREAK.sub("\n", markup.replace("\r", " ").replace("\n", " "))
    text = unescape(_TAG.sub("", lined)).replace("\xa0", " ")
    return "\n".join(line.strip() for line in text.split("\n"))


def _without(markup: str, name: str) -> str:
    """Drop the elements of a name with all that is in them."""
    lower, kept, place = markup.lower(), [], 0
    while (start := lower.find(f"<{name}", place)) >= 0:
        kept.append(markup[place:start])
        end = lower.find(f"</{name}", start)
        if end < 0:
            return "".join(kept)
        place = end
    return "".join(kept) + markup[place:]
