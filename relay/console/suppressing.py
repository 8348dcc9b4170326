"""/api/v1/suppressions: whom a customer's mail is no longer sent to; one address at a time, never a list.

Addresses are kept as keyed hashes. Complaints and unsubscriptions are both called a wish: nobody learns here
who complained.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Query
from pydantic_core import PydanticCustomError

from relay.console import shapes
from relay.console.api import FAULTS
from relay.console.desk import Desk, Refused, Visitor
from relay.console.login import api_visitor, desk_of
from relay.console.roles import May
from relay.errors import NotFound
from relay.store import accounts, audit, suppression
from relay.values import parse_duration

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from relay.model import Customer

router = APIRouter(prefix="/api/v1/suppressions", tags=["suppressions"], responses=FAULTS)
Asker = Annotated[Visitor, Depends(api_visitor)]
DeskOf = Annotated[Desk, Depends(desk_of)]
WISH = "wish"


def _customer(tx: Connection, asker: Visitor, name: str) -> Customer:
    """Return the customer that is named, or the asker's own; NotFound for another's."""
    if asker.only is None:
        return accounts.customer(tx, name)
    own = next((one for one in accounts.customers(tx) if one.id == asker.only), None)
    if own is None or name not in ("", own.name):
        raise NotFound(name)
    return own


def _shown(kind: str) -> str:
    return WISH if kind in suppression.WISHES else kind


@router.post("/find")
async def find(question: shapes.RecipientQuestion, asker: Asker, desk: DeskOf) -> shapes.Suppressions:
    """Say what is known of one recipient: why mail is refused, how often, since and until when."""
    asker.needs(May.READ)
    now = desk.now()

    def work(tx: Connection) -> list[suppression.Suppression]:
        customer_id = _customer(tx, asker, question.customer).id
        return suppression.about(tx, customer_id, desk.keyring.recipient_hash(customer_id, question.address))

    lines = [
        shapes.SuppressionLine(
            kind=_shown(one.kind),
            events=one.events,
            first_at=one.first_at,
            last_at=one.last_at,
            refused=one.holds(now),
            from_at=one.from_at,
            until=one.until,
        )
        for one in await desk.store.query(work)
    ]
    return shapes.Suppressions(suppressions=lines)


@router.post("")
async def add(wish: shapes.SuppressionWish, asker: Asker, desk: DeskOf) -> shapes.Suppressions:
    """Refuse mail to a recipient from now on; it holds in all sessions within a second."""
    asker.needs(May.SUPPRESS)
    now = desk.now()
    until = _until(wish.span, now)

    def work(tx: Connection) -> None:
        customer = _customer(tx, asker, wish.customer)
        hashed = desk.keyring.recipient_hash(customer.id, wish.address)
        suppression.add(tx, now, customer.id, hashed, until=until)
        details = {"recipient": hashed.hex(), "until": str(until or "")}
        audit.append(tx, now, asker.mark, "suppression added", f"customer {customer.name}", "", details)

    await desk.store.write(work)
    return await find(shapes.RecipientQuestion(customer=wish.customer, address=wish.address), asker, desk)


def _until(span: str, now: datetime) -> datetime | None:
    if not span:
        return None
    try:
        return now + parse_duration(span)
    except PydanticCustomError:
        raise Refused(422, f"{span!r} is no length of time: write 6h or 30d.") from None


@router.post("/clear")
async def clear(question: shapes.RecipientQuestion, asker: Asker, desk: DeskOf) -> shapes.Suppressions:
    """Let mail to a recipient go again and forget its counts."""
    asker.needs(May.SUPPRESS)
    now = desk.now()

    def work(tx: Connection) -> None:
        customer = _customer(tx, asker, question.customer)
        hashed = desk.keyring.recipient_hash(customer.id, question.address)
        gone = suppression.clear(tx, now, customer.id, hashed)
        details = {"recipient": hashed.hex(), "entries": gone}
        audit.append(tx, now, asker.mark, "suppression cleared", f"customer {customer.name}", "", details)

    await desk.store.write(work)
    return await find(question, asker, desk)


@router.get("/counts")
async def counts(
    asker: Asker, desk: DeskOf, customer: Annotated[str, Query(max_length=200)] = ""
) -> shapes.SuppressionCounts:
    """Count the recipients that are refused now, by kind."""
    asker.needs(May.READ)
    now = desk.now()
    found = await desk.store.query(lambda tx: suppression.counts(tx, now, _customer(tx, asker, customer).id))
    shown: Counter[str] = Counter()
    for kind, number in found.items():
        shown[_shown(kind)] += number
    return shapes.SuppressionCounts(counts=dict(shown))
