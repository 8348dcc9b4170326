"""The registry of reporters: who may report, what it speaks for, how far it is believed; page and API."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from relay.console import lists
from relay.console.api import FAULTS
from relay.console.desk import Desk, Refused, Visitor
from relay.console.frame import render
from relay.console.login import Staff, api_visitor, check_form, desk_of
from relay.console.roles import May
from relay.errors import ConfigError, NotFound
from relay.signing import dkim as signing
from relay.store import audit, reporters

if TYPE_CHECKING:
    from sqlalchemy import Connection

router = APIRouter()
DeskOf = Annotated[Desk, Depends(desk_of)]
Asker = Annotated[Visitor, Depends(api_visitor)]
Csrf = Annotated[str, Form(max_length=100)]

_DOMAIN = re.compile(r"(?=.{3,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}")
MOST_COVERED = 200
MOST_VOTES = 1_000_000


def _domain(text: str) -> str:
    name = text.strip().rstrip(".").lower()
    if not _DOMAIN.fullmatch(name):
        raise Refused(422, f"{text[:80]!r} is no domain.")
    return name


def _cap(text: str) -> int | None:
    if not text.strip():
        return None
    if not text.strip().isdecimal() or not 1 <= int(text) <= MOST_VOTES:
        raise Refused(422, "Votes an hour: a whole number, or nothing.")
    return int(text)


@router.get("/reporters", include_in_schema=False)
async def reporters_page(request: Request, visitor: Staff, desk: DeskOf) -> Response:
    """List them, and how far each is believed."""
    visitor.needs(May.READ)
    rows = await desk.store.query(reporters.reporters)
    return render(request, visitor, "reporters.html", rows=rows, may_change=May.REPORTERS in visitor.may)


@router.post("/reporters", include_in_schema=False)
async def add_reporter(  # noqa: PLR0913, PLR0917 - one argument a field of the form
    request: Request,
    visitor: Staff,
    desk: DeskOf,
    domain: Annotated[str, Form(max_length=300)] = "",
    covers: Annotated[str, Form(max_length=20_000)] = "",
    key: Annotated[str, Form(max_length=5000)] = "",
    trust: Annotated[str, Form(max_length=10)] = "full",
    cap: Annotated[str, Form(max_length=10)] = "",
    csrf: Csrf = "",
) -> Response:
    """List a reporter: complaints that its domain signs count as grade A, where it is fully trusted."""
    check_form(request, visitor.csrf, csrf)
    visitor.needs(May.REPORTERS)
    name, covered = _domain(domain), [_domain(one) for one in covers.replace(",", " ").split()]
    if not 1 <= len(covered) <= MOST_COVERED:
        raise Refused(422, "Say for which recipient domains it speaks, one a line.")
    try:
        pinned = signing.public_key(key.encode()) if key.strip() else None
    except ConfigError:
        raise Refused(
            422, "That is no public key: paste a PEM, or what stands behind p= in its record."
        ) from None
    now, watched, most = desk.now(), trust == "watch", _cap(cap)
    facts = {"covers": covered, "pinned": pinned is not None, "trust": _trust(watched=watched), "cap": most}

    def work(tx: Connection) -> None:
        reporters.add(tx, now, name, covers=covered, dkim_key=pinned, watched=watched, cap=most)
        audit.append(tx, now, visitor.mark, "reporter added", f"reporter {name}", "", facts)

    await desk.store.write(work)
    return RedirectResponse("/reporters?done=reporter", 303)


def _trust(*, watched: bool) -> str:
    return "watch" if watched else "full"


@router.post("/reporters/{name}", include_in_schema=False)
async def change_reporter(  # noqa: PLR0913, PLR0917 - one argument a field of the form
    request: Request,
    name: str,
    visitor: Staff,
    desk: DeskOf,
    deed: Annotated[str, Form(max_length=10)] = "",
    trust: Annotated[str, Form(max_length=10)] = "full",
    cap: Annotated[str, Form(max_length=10)] = "",
    csrf: Csrf = "",
) -> Response:
    """Change how far a reporter is believed, or strike it off; votes that it gave stay."""
    check_form(request, visitor.csrf, csrf)
    visitor.needs(May.REPORTERS)
    now, watched, most = desk.now(), trust == "watch", _cap(cap)

    def change(tx: Connection) -> None:
        reporters.trust(tx, now, name, watched=watched, cap=most)
        facts = {"trust": _trust(watched=watched), "cap": most}
        audit.append(tx, now, visitor.mark, "reporter changed", f"reporter {name}", "", facts)

    def remove(tx: Connection) -> None:
        reporters.remove(tx, now, name)
        audit.append(tx, now, visitor.mark, "reporter removed", f"reporter {name}")

    if deed not in ("change", "remove"):
        raise Refused(422, "Choose what to do.")
    await desk.store.write(change if deed == "change" else remove)
    return RedirectResponse("/reporters?done=reporter", 303)


@router.get("/api/v1/reporters", tags=["evidence"], responses=FAULTS)
async def listed(asker: Asker, desk: DeskOf) -> lists.Reporters:
    """List who may report and how far each is believed; the provider's alone."""
    asker.needs(May.READ)
    if asker.only is not None:
        raise NotFound("reporters")
    rows = await desk.store.query(reporters.reporters)
    return lists.Reporters(
        reporters=[
            lists.ReporterLine(
                domain=one.domain, covers=list(one.covers), key="pinned" if one.dkim_key else "DNS",
                trust=_trust(watched=one.watched), cap=one.cap, added_at=one.added_at,
            )
            for one in rows
        ]
    )  # fmt: skip
