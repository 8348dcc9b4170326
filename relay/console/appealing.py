"""Appeals: a page without a login behind the signed link of a notice, and the list where staff answer.

Opening the link changes nothing, so that a mail scanner that follows it appeals against nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cryptography.exceptions import InvalidTag
from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from relay.console.desk import Desk, Refused
from relay.console.frame import render
from relay.console.login import Staff, check_form, check_origin, desk_of
from relay.console.roles import May
from relay.errors import NotFound
from relay.feedback import explain
from relay.notices import appeal as links
from relay.store import appeals

if TYPE_CHECKING:
    from sqlalchemy import Connection

router = APIRouter(include_in_schema=False)
DeskOf = Annotated[Desk, Depends(desk_of)]
MOST_WORDS = 4000


def _page(desk: Desk, values: dict[str, Any]) -> Response:
    body = desk.words.get_template("appeal.html").render(values)
    return Response(body, media_type="text/html")


@router.get("/appeal/{case_id}/{signature}")
async def form(case_id: str, signature: str, desk: DeskOf) -> Response:
    """Show what was decided, without a name of anybody who complained, and ask what is wrong with it."""
    if not links.signed(desk.keyring, case_id, signature):
        raise NotFound(case_id)
    found = await desk.store.query(lambda tx: explain.redacted(explain.explain(tx, case_id)))
    return _page(desk, {"case": found, "sent": False})


@router.post("/appeal/{case_id}/{signature}")
async def appeal(
    request: Request,
    case_id: str,
    signature: str,
    desk: DeskOf,
    words: Annotated[str, Form(max_length=MOST_WORDS)] = "",
) -> Response:
    """Take the appeal; it becomes a case for staff."""
    if not links.signed(desk.keyring, case_id, signature):
        raise NotFound(case_id)
    check_origin(request)
    text = words.strip()
    if len(text) < 3:
        raise Refused(422, "Say what is wrong with it, in a few words.")
    now = desk.now()
    sealed = desk.keyring.seal(links.SEALED, text.encode("utf-8", "surrogatepass"), case_id.encode())
    opened = await desk.store.write(lambda tx: appeals.add(tx, now, case_id, sealed))
    return _page(desk, {"case": {"id": case_id}, "sent": True, "opened": opened})


def _listed(tx: Connection, desk: Desk) -> list[dict[str, Any]]:
    found = []
    for one in appeals.appeals(tx):
        case = explain.explain(tx, one.case_id)
        try:
            plain = desk.keyring.open(links.SEALED, one.sealed, one.case_id.encode())
            words = plain.decode("utf-8", "replace")
        except (InvalidTag, KeyError):
            words = "(cannot be read: its key is gone)"
        found.append({"case_id": one.case_id, "at": one.at, "words": words, "case": case})
    return found


@router.get("/appeals")
async def listed(request: Request, visitor: Staff, desk: DeskOf) -> Response:
    """List what waits for an answer."""
    visitor.needs(May.SWITCH_ACCOUNTS)
    rows = await desk.store.query(lambda tx: _listed(tx, desk))
    return render(request, visitor, "appeals.html", rows=rows)


@router.post("/appeals/{case_id}")
async def answer(
    request: Request,
    case_id: str,
    visitor: Staff,
    desk: DeskOf,
    csrf: Annotated[str, Form()] = "",
    text: Annotated[str, Form(alias="answer", max_length=500)] = "",
) -> Response:
    """Close an appeal with a word on what came of it."""
    visitor.needs(May.SWITCH_ACCOUNTS)
    check_form(request, visitor.csrf, csrf)
    if len(text.strip()) < 3:
        raise Refused(422, "Say what came of it.")
    now, who = desk.now(), visitor.mark
    await desk.store.write(lambda tx: appeals.close(tx, now, case_id, who=who, answer=text.strip()))
    return RedirectResponse("/appeals?done=appeal", 303)
