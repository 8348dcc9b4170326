"""The frame of every page: navigation, who is logged in, what was just done; and how lists go on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from starlette.responses import Response

from relay.console import shapes
from relay.console.login import desk_of
from relay.console.roles import May

if TYPE_CHECKING:
    from starlette.requests import Request

    from relay.console.desk import Visitor
    from relay.model import Level


@dataclass(frozen=True, slots=True)
class Link:
    """A page in the navigation; `g` then `key` opens it."""

    path: str
    name: str
    key: str
    may: May = May.READ


NAVIGATION = (
    Link("/", "Overview", "o"),
    Link("/accounts", "Accounts", "a"),
    Link("/held", "Held", "h"),
    Link("/outbox", "Outbox", "w"),
    Link("/complaints", "Complaints", "c"),
    Link("/cases", "Decisions", "d"),
    Link("/appeals", "Appeals", "p", May.SWITCH_ACCOUNTS),
    Link("/customers", "Customers", "u"),
    Link("/audit", "Audit", "l", May.AUDIT),
    Link("/tokens", "Tokens", "t", May.TOKENS),
    Link("/staff", "Staff", "s", May.STAFF),
)
#: Pages that are found under another one's name.
_SHELF = {
    "servers": "/customers", "explain": "/cases", "waiting": "/held", "held-back": "/cases",
    "reports": "/complaints", "reporters": "/complaints", "suppressions": "/complaints",
}  # fmt: skip
#: What a page says after a form did its work; the address holds the word only, never the text.
_DONE = {
    "active": "Reinstated. Mail goes through again within a second.",
    "deactivated": "Deactivated. New recipients are refused within a second.",
    "suspended": "Suspended. New recipients are refused within a second.",
    "token": "The token is revoked.",
    "password": "The password is changed; every other session of yours has ended.",
    "factor": "The second factor is on. From now on a login asks for its code.",
    "appeal": "The appeal is closed.",
    "no-factor": "The second factor is off.",
    "release": "Released: delivered within seconds, if the account may send.",
    "delete": "Deleted, without a word to the senders.",
    "digest": "Deleted; each account gets one note about all of its messages.",
    "bounce": "Given up; each sender gets a report.",
    "retry": "Tried again now.",
    "taught": "Done, and learned. Every process takes the new model up within a second.",
    "untaught": "Done, but nothing was learned: the model could not be written.",
    "switch": "It is off. Every process heard of it within a second.",
    "confirm": "Done as the ladder asked. It holds within a second.",
    "dismiss": "Left as they are; nobody is asked again about these.",
    "reinstate": "Reinstated. Mail goes through again within a second.",
    "dropped": "Dropped.",
    "counted": "Recorded; it counts.",
    "recorded": "Recorded; it does not count. Complaints say why.",
    "reporter": "The registry is changed; the next report is judged by it.",
    "staff": "Done. Their sessions have ended; they log in again.",
}


def render(request: Request, visitor: Visitor, template: str, **values: Any) -> Response:
    """Return a page inside the frame."""
    shelf = request.url.path.strip("/").partition("/")[0]
    frame = {
        "now": desk_of(request).now(),
        "visitor": visitor,
        "pages": [link for link in NAVIGATION if link.may in visitor.may],
        "here": _SHELF.get(shelf, f"/{shelf}"),
        "done": _done(request),
        "switches": getattr(request.state, "switches", ()),
        "may_end": May.EMERGENCY in visitor.may,
    }
    text = desk_of(request).words.get_template(template).render(**frame, **values)
    return Response(text, media_type="text/html")


def _done(request: Request) -> str:
    """Return what the form before this page did, and to how many messages."""
    done, count = (request.query_params.get(name, "") for name in ("done", "count"))
    things = "accounts" if request.url.path == "/held-back" else "messages"
    many = f"{count} {things if count != '1' else things[:-1]}. " if re.fullmatch("[0-9]{1,5}", count) else ""
    return f"{many}{_DONE[done]}" if done in _DONE else ""


def older(request: Request, rows: list[Any], limit: int, **place: str) -> str:
    """Return the address of the page behind this one; empty at the end."""
    if len(rows) < limit:
        return ""
    query = {
        name: value
        for name, value in request.query_params.items()
        if name not in place and name not in ("done", "count")
    }
    return f"{request.url.path}?{urlencode({**query, **place})}"


def behind(rows: list[Any], identity: str) -> str:
    """Return the cursor behind the last row; empty for an empty list."""
    return shapes.cursor(rows[-1].at, getattr(rows[-1], identity)) if rows else ""


def subject_path(level: Level, name: str) -> str:
    """Return the page of an account, server or customer."""
    return f"/{level}s/{quote(name, safe='')}"
