"""API tokens and one's own password and second factor: how people and programs get in."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from relay.console.desk import Desk, Refused
from relay.console.frame import render
from relay.console.login import Staff, check_form, desk_of
from relay.console.roles import CUSTOMERS, May, Scope
from relay.store import accounts, audit, tokens

if TYPE_CHECKING:
    from sqlalchemy import Connection

router = APIRouter(include_in_schema=False)
DeskOf = Annotated[Desk, Depends(desk_of)]
#: How long a token may live, as the form offers it; none lives for ever.
LIVES = {"7": "a week", "90": "90 days", "365": "a year"}


async def _tokens_page(request: Request, visitor: Staff, desk: Desk, made: str = "") -> Response:
    rows, customers = await desk.store.query(lambda tx: (tokens.tokens(tx), accounts.customers(tx)))
    return render(
        request,
        visitor,
        "tokens.html",
        rows=rows,
        customers=[customer.name for customer in customers],
        scopes=[str(scope) for scope in Scope],
        lives=LIVES,
        made=made,
        moment=desk.now(),
    )


@router.get("/tokens")
async def token_list(request: Request, visitor: Staff, desk: DeskOf) -> Response:
    """Show the tokens; never a token itself."""
    visitor.needs(May.TOKENS)
    return await _tokens_page(request, visitor, desk)


@router.post("/tokens")
async def make_token(  # noqa: PLR0913, PLR0917 - one argument a field of the form
    request: Request,
    visitor: Staff,
    desk: DeskOf,
    name: Annotated[str, Form(max_length=100)] = "",
    scope: Annotated[list[str], Form(max_length=10)] = [],  # noqa: B006 - FastAPI copies it
    customer: Annotated[str, Form(max_length=200)] = "",
    days: Annotated[str, Form(max_length=4)] = "90",
    csrf: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """Make a token and show it once."""
    check_form(request, visitor.csrf, csrf)
    visitor.needs(May.TOKENS)
    now, called = desk.now(), " ".join(name.split())
    if not called or not scope or not set(scope) <= set(Scope) or days not in LIVES:
        raise Refused(422, "Give the token a name, at least one scope and an end.")
    if customer and not set(scope) <= CUSTOMERS:
        raise Refused(422, "A customer's token reads and suppresses; it switches nothing, sees no audit log.")

    def work(tx: Connection) -> str:
        owner = accounts.customer(tx, customer).id if customer else None
        ends = now + timedelta(days=int(days))
        text = tokens.make(
            tx, now, called, scopes=scope, made_by=visitor.mark, customer_id=owner, expires_at=ends
        )
        details = {"scopes": sorted(scope), "customer": customer, "expires_at": ends.isoformat()}
        audit.append(tx, now, visitor.mark, "token made", f"token:{text[:11]}", called, details)
        return text

    return await _tokens_page(request, visitor, desk, await desk.store.write(work))


@router.post("/tokens/{prefix}/revoke")
async def revoke_token(
    request: Request,
    prefix: str,
    visitor: Staff,
    desk: DeskOf,
    csrf: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """End a token at once."""
    check_form(request, visitor.csrf, csrf)
    visitor.needs(May.TOKENS)
    now = desk.now()

    def work(tx: Connection) -> None:
        tokens.revoke(tx, now, prefix)
        audit.append(tx, now, visitor.mark, "token revoked", f"token:{prefix}")

    await desk.store.write(work)
    return RedirectResponse("/tokens?done=token", 303)
