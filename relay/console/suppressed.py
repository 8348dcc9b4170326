"""The page of suppressed recipients: how many of a customer, and one address at a time; never a list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from relay.console import shapes, suppressing
from relay.console.desk import Desk, Refused, Visitor
from relay.console.frame import render
from relay.console.login import Staff, check_form, desk_of
from relay.console.roles import May
from relay.store import accounts

if TYPE_CHECKING:
    from sqlalchemy import Connection

router = APIRouter(include_in_schema=False)
DeskOf = Annotated[Desk, Depends(desk_of)]

#: What was done, in the words of the page.
_SAID = {"find": "", "add": "Mail to this address is refused from now on.", "clear": "Forgotten, counts too."}


@dataclass(frozen=True, slots=True)
class Asked:
    """Of which customer's mail, about which address, and what is known of it; None: nothing was asked."""

    customer: str
    address: str = ""
    lines: list[shapes.SuppressionLine] | None = None
    said: str = ""


async def _page(request: Request, visitor: Visitor, desk: Desk, asked: Asked) -> Response:
    def names(tx: Connection) -> list[str]:
        return [one.name for one in accounts.customers(tx)]

    customers = await desk.store.query(names)
    known = asked.customer in customers
    counts = (await suppressing.counts(visitor, desk, asked.customer)).counts if known else {}
    return render(
        request,
        visitor,
        "suppressions.html",
        customers=customers,
        asked=asked,
        known=known,
        counts=counts,
        may_change=May.SUPPRESS in visitor.may,
    )


@router.get("/suppressions")
async def suppressions_page(
    request: Request, visitor: Staff, desk: DeskOf, customer: Annotated[str, Query(max_length=200)] = ""
) -> Response:
    """Show how many recipients of a customer are refused, and ask for one."""
    visitor.needs(May.READ)
    return await _page(request, visitor, desk, Asked(customer))


@router.post("/suppressions")
async def suppression_deed(  # noqa: PLR0913, PLR0917 - one argument a field of the form
    request: Request,
    visitor: Staff,
    desk: DeskOf,
    deed: Annotated[str, Form(max_length=20)] = "find",
    customer: Annotated[str, Form(max_length=200)] = "",
    address: Annotated[str, Form(max_length=320)] = "",
    span: Annotated[str, Form(alias="for", max_length=20)] = "",
    csrf: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """Say what is known of an address, refuse it, or let it go; the address travels in no URL."""
    check_form(request, visitor.csrf, csrf)
    visitor.needs(May.READ)
    try:
        wish = shapes.SuppressionWish(customer=customer, address=address.strip(), **{"for": span.strip()})
    except ValidationError:
        raise Refused(422, "Write one whole address, and a time as 6h or 30d.") from None
    match deed:
        case "find":
            found = await suppressing.find(wish, visitor, desk)
        case "add":
            found = await suppressing.add(wish, visitor, desk)
        case "clear":
            found = await suppressing.clear(wish, visitor, desk)
        case _:
            raise Refused(422, "Choose what to do.")
    asked = Asked(customer, wish.address, found.suppressions, _SAID[deed])
    return await _page(request, visitor, desk, asked)
