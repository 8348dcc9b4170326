"""Decisions that the circuit breaker holds back: staff confirm, leave or reinstate; page and API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from relay.console import lists
from relay.console.api import FAULTS
from relay.console.desk import Desk, Refused, Visitor
from relay.console.frame import render
from relay.console.login import Staff, api_visitor, check_form, desk_of
from relay.console.roles import May
from relay.errors import NotFound
from relay.store import accounts, breaker
from relay.store.changes import ACCOUNT, Change

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

router = APIRouter()
DeskOf = Annotated[Desk, Depends(desk_of)]
Asker = Annotated[Visitor, Depends(api_visitor)]

#: What staff may do about a decision that was held back.
DEEDS: dict[str, Callable[..., None]] = {
    "confirm": breaker.approve,
    "dismiss": breaker.dismiss,
    "reinstate": breaker.reinstate,
}


async def decide(desk: Desk, visitor: Visitor, deed: str, chosen: Sequence[str], reason: str) -> int:
    """Do it to all chosen that still wait, in one transaction; return how many. Forbidden, Refused."""
    visitor.needs(May.SWITCH_ACCOUNTS)
    why = " ".join(reason.split())[:300]
    if deed not in DEEDS:
        raise Refused(422, "Choose what to do.")
    if not chosen:
        raise Refused(422, "Choose accounts first.")
    if len(why) < 3:
        raise Refused(422, "Say why: sender and colleagues will ask.")
    now = desk.now()

    def work(tx: Connection) -> list[int]:
        waiting = {case.case_id: case for case in breaker.held_back(tx, now)}
        found = [waiting[one] for one in dict.fromkeys(chosen) if one in waiting]
        for case in found:
            DEEDS[deed](tx, now, case, who=visitor.mark, reason=why)
        return [accounts.account(tx, case.subject).id for case in found]

    changed = await desk.store.write(work)
    if desk.directory is not None:
        desk.directory.forget([Change(0, ACCOUNT, str(number)) for number in changed])
    return len(changed)


@router.get("/held-back", include_in_schema=False)
async def held_back_page(request: Request, visitor: Staff, desk: DeskOf) -> Response:
    """List what policy would have done, and the breaker left to staff."""
    visitor.needs(May.READ)
    now = desk.now()
    cases = await desk.store.query(lambda tx: breaker.held_back(tx, now))
    rows = [(case, *breaker.wanted(case)) for case in cases]
    may_decide = May.SWITCH_ACCOUNTS in visitor.may
    return render(request, visitor, "held_back.html", rows=rows, may_decide=may_decide)


@router.post("/held-back", include_in_schema=False)
async def decide_held_back(  # noqa: PLR0913, PLR0917 - one argument a field of the form
    request: Request,
    visitor: Staff,
    desk: DeskOf,
    deed: Annotated[str, Form(max_length=20)] = "",
    chosen: Annotated[list[str], Form(alias="id", max_length=breaker.MOST)] = [],  # noqa: B006
    reason: Annotated[str, Form(max_length=2000)] = "",
    csrf: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """Confirm, leave or reinstate those that were chosen."""
    check_form(request, visitor.csrf, csrf)
    number = await decide(desk, visitor, deed, chosen, reason)
    return RedirectResponse(f"/held-back?done={deed}&count={number}", 303)


@router.get("/api/v1/held-back", tags=["evidence"], responses=FAULTS)
async def listed(asker: Asker, desk: DeskOf) -> lists.HeldBack:
    """List the decisions that the circuit breaker left to staff, newest first; the provider's alone."""
    asker.needs(May.READ)
    if asker.only is not None:
        raise NotFound("held back")
    now = desk.now()
    cases = await desk.store.query(lambda tx: breaker.held_back(tx, now))
    return lists.HeldBack(
        decisions=[
            lists.HeldBackLine(
                case_id=case.case_id,
                at=case.at,
                login=case.subject,
                standing=str(case.to_state),
                wanted=str(breaker.wanted(case)[0]),
                reason=str(case.evidence.get("reason") or case.reason),
                held_back=str(case.evidence.get("held_back", "")),
            )
            for case in cases
        ]
    )


@router.post("/api/v1/held-back", tags=["evidence"], responses=FAULTS)
async def decided(wish: lists.HeldBackWish, asker: Asker, desk: DeskOf) -> lists.Counted:
    """Confirm, dismiss or reinstate; those that somebody decided meanwhile are left out of the count."""
    asker.needs(May.SWITCH_ACCOUNTS)
    if asker.only is not None:
        raise NotFound("held back")
    return lists.Counted(done=await decide(desk, asker, wish.deed, wish.cases, wish.reason))
