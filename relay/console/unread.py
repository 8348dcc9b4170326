"""Reports that nobody could parse: staff look, say which message they are about, or drop them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from cryptography.exceptions import InvalidTag
from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from relay.console.desk import Desk, Refused, Visitor
from relay.console.frame import render
from relay.console.login import Staff, check_form, desk_of
from relay.console.roles import May
from relay.errors import NotFound
from relay.feedback import unread
from relay.feedback.intake import Intake
from relay.feedback.parts import address_in
from relay.feedback.steps import Said
from relay.outbox.hold import Deed
from relay.store import complaints

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

router = APIRouter(include_in_schema=False)
DeskOf = Annotated[Desk, Depends(desk_of)]
Csrf = Annotated[str, Form(max_length=100)]
Reason = Annotated[str, Form(max_length=2000)]

LIMIT = 200


def _deed(visitor: Visitor, desk: Desk, reason: str) -> Deed:
    why = " ".join(reason.split())[:500]
    if len(why) < 3:
        raise Refused(422, "Say why: it is written to the audit log.")
    return Deed(visitor.mark, desk.now(), why)


@router.get("/reports")
async def reports_page(request: Request, visitor: Staff, desk: DeskOf) -> Response:
    """List what waits, oldest first; nothing of its content."""
    visitor.needs(May.MAIL)
    rows = await desk.store.query(lambda tx: complaints.waiting(tx, LIMIT))
    return render(request, visitor, "reports.html", rows=rows, limit=LIMIT)


@router.post("/reports")
async def drop_reports(
    request: Request,
    visitor: Staff,
    desk: DeskOf,
    chosen: Annotated[list[str], Form(alias="id", max_length=LIMIT)] = [],  # noqa: B006
    reason: Reason = "",
    csrf: Csrf = "",
) -> Response:
    """Drop those that were chosen; what somebody else dropped meanwhile is gone all the same."""
    check_form(request, visitor.csrf, csrf)
    visitor.needs(May.MAIL)
    if not chosen:
        raise Refused(422, "Choose reports first.")
    deed = _deed(visitor, desk, reason)
    number = await desk.store.write(lambda tx: _drop(tx, deed, chosen))
    return RedirectResponse(f"/reports?done=dropped&count={number}", 303)


def _drop(tx: Connection, deed: Deed, chosen: Sequence[str]) -> int:
    there = {number for number, _, _ in complaints.waiting(tx, complaints.MOST_WAITING)}
    found = [one for one in dict.fromkeys(chosen) if one in there]
    for one in found:
        unread.drop(tx, deed, one)
    return len(found)


async def _page(request: Request, visitor: Visitor, desk: Desk, number: str, text: str | None) -> Response:
    found = await desk.store.query(lambda tx: complaints.waiting(tx, complaints.MOST_WAITING))
    one = next((row for row in found if row[0] == number), None)
    if one is None:
        raise NotFound(number)
    return render(request, visitor, "report.html", one=one, text=text, types=get_args(Type))


@router.get("/reports/{number}")
async def report_page(request: Request, number: str, visitor: Staff, desk: DeskOf) -> Response:
    """Show why one report waits, and what may be done about it."""
    visitor.needs(May.MAIL)
    return await _page(request, visitor, desk, number, None)


@router.post("/reports/{number}/look")
async def look(
    request: Request, number: str, visitor: Staff, desk: DeskOf, reason: Reason = "", csrf: Csrf = ""
) -> Response:
    """Show a report as it came, once; who looked and why is audited."""
    check_form(request, visitor.csrf, csrf)
    visitor.needs(May.MAIL)
    deed = _deed(visitor, desk, reason)
    try:
        raw = await desk.store.write(lambda tx: unread.look(tx, desk.keyring, deed, number))
    except (InvalidTag, KeyError):
        raise Refused(422, "It cannot be read: its key is gone. Drop it.") from None
    text = raw.decode("utf-8", "replace").replace("\r\n", "\n")
    return await _page(request, visitor, desk, number, text)


Type = Literal["abuse", "fraud", "virus", "other", "not-spam", "opt-out"]


@router.post("/reports/{number}")
async def assign(  # noqa: PLR0913, PLR0917 - one argument a field of the form
    request: Request,
    number: str,
    visitor: Staff,
    desk: DeskOf,
    message: Annotated[str, Form(max_length=64)] = "",
    kind: Annotated[str, Form(alias="type", max_length=20)] = "abuse",
    recipients: Annotated[str, Form(max_length=4000)] = "",
    reason: Reason = "",
    csrf: Csrf = "",
) -> Response:
    """Record a report as a complaint about one of our messages; who says so vouches for it."""
    check_form(request, visitor.csrf, csrf)
    visitor.needs(May.MAIL)
    if kind not in get_args(Type) or not message.strip():
        raise Refused(422, "Say which message it is about, and of what type it is.")
    deed, said = _deed(visitor, desk, reason), Said(message.strip(), kind, _addresses(recipients))
    intake = desk.intake or Intake.for_import(desk.config, desk.store, desk.keyring)

    def work(tx: Connection) -> Any:
        outcome = intake.by_hand(tx, said, deed)
        unread.drop(tx, deed, number, "feedback.assign")
        return outcome

    try:
        outcome = await desk.store.write(work)
    except NotFound as error:
        raise Refused(422, f"Nothing was recorded: {error}.") from None
    return RedirectResponse(f"/reports?done={'counted' if outcome.counted else 'recorded'}", 303)


def _addresses(text: str) -> tuple[str, ...]:
    """Read one address a line."""
    found = [(line, address_in(line)) for line in text.split()]
    if wrong := [line for line, address in found if not address]:
        raise Refused(422, f"{wrong[0][:80]!r} is no address: write one a line.")
    return tuple(address for _, address in found)
