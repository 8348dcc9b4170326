"""The console's pages: every one works without scripts, and explains what it shows."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from relay.console import actions, health, read, shapes
from relay.console.desk import Desk, Visitor
from relay.console.evidence import CASE, MESSAGE
from relay.console.frame import behind, older, render, subject_path
from relay.console.login import Staff, check_form, desk_of
from relay.console.roles import SWITCH, May
from relay.model import AccountClass, Level, State
from relay.store import accounts, findings, logins, views
from relay.store.viewed import MOST_ROWS, Sought

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

T = TypeVar("T")
router = APIRouter(include_in_schema=False)
DeskOf = Annotated[Desk, Depends(desk_of)]

WINDOWS = (("1h", "1 hour"), ("24h", "24 hours"), ("7d", "7 days"))
_CLASSES = [str(klass) for klass in AccountClass]


# --- overview and finding


def _now(tx: Connection, now: datetime) -> dict[str, Any]:
    return {
        "situation": views.situation(tx, now - timedelta(hours=24)),
        "cases": findings.cases(tx, Sought(), limit=8),
        "complaints": findings.complaints(tx, Sought(), limit=8),
    }


@router.get("/")
async def overview(request: Request, visitor: Staff, desk: DeskOf) -> Response:
    """Show what is going on now."""
    visitor.needs(May.READ)
    now = desk.now()
    counts = await desk.series.counts("1h", now)
    values = await desk.store.query(lambda tx: _now(tx, now))
    values |= {"totals": counts.totals, "windows": WINDOWS, "health": await health.health(desk, now)}
    return render(request, visitor, "overview.html", **values)


@router.get("/health")
async def health_now(request: Request, visitor: Staff, desk: DeskOf) -> Response:
    """Return whether anything is wrong; the overview asks for it every few seconds."""
    visitor.needs(May.READ)
    return render(request, visitor, "health.html", health=await health.health(desk, desk.now()))


@router.get("/now")
async def lists_now(request: Request, visitor: Staff, desk: DeskOf) -> Response:
    """Return the overview's lists alone; the page asks for them every few seconds."""
    visitor.needs(May.READ)
    now = desk.now()
    return render(request, visitor, "now.html", **await desk.store.query(lambda tx: _now(tx, now)))


@router.get("/find")
async def find(visitor: Staff, desk: DeskOf, q: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Go to the message, case or account of this name; to the list of accounts for part of one."""
    visitor.needs(May.READ)
    text = q.strip()
    lower = text.lower()
    if CASE.fullmatch(lower) or MESSAGE.fullmatch(lower):
        found = await desk.store.query(
            lambda tx: findings.case_by_id(tx, lower) or views.message_by_id(tx, lower)
        )
        if found is not None:
            return RedirectResponse(f"/explain/{lower}", 303)
    rows = await desk.store.query(lambda tx: views.accounts(tx, Sought(q=text), limit=2)) if text else []
    if len(rows) == 1 or any(row.login.lower() == lower for row in rows):
        exact = next((row for row in rows if row.login.lower() == lower), rows[0])
        return RedirectResponse(subject_path(Level.ACCOUNT, exact.login), 303)
    return RedirectResponse(f"/accounts?q={quote(text, safe='')}", 303)


# --- accounts


def sought_accounts(
    q: Annotated[str, Query(max_length=200)] = "",
    standing: Annotated[
        str, Query(pattern="^(active|throttled|deactivated|suspended|closed|stopped)?$")
    ] = "",
    klass: Annotated[str, Query(alias="class", pattern="^(person|app|bulk|list)?$")] = "",
    customer: Annotated[str, Query(max_length=200)] = "",
) -> Sought:
    """Return what a list of accounts is narrowed to."""
    return Sought(q=q, state=standing, klass=klass, customer=customer)


@router.get("/accounts")
async def account_list(
    request: Request,
    visitor: Staff,
    desk: DeskOf,
    sought: Annotated[Sought, Depends(sought_accounts)],
    after: Annotated[str, Query(max_length=320)] = "",
) -> Response:
    """List accounts."""
    visitor.needs(May.READ)
    rows = await desk.store.query(lambda tx: views.accounts(tx, sought, limit=50, after=after))
    return render(
        request,
        visitor,
        "accounts.html",
        rows=rows,
        sought=sought,
        classes=_CLASSES,
        may_export=May.EXPORT in visitor.may,
        query=request.url.query,
        older=older(request, rows, 50, after=rows[-1].login) if rows else "",
    )


@router.get("/accounts/{login:path}")
async def account_page(
    request: Request,
    login: str,
    visitor: Staff,
    desk: DeskOf,
    cursor: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """Show one account: standing and why, numbers, messages, complaints, timeline, and what staff may do."""
    visitor.needs(May.READ)
    now, place = desk.now(), shapes.Page(cursor=cursor).place()

    def work(tx: Connection) -> dict[str, Any]:
        file = read.account_file(tx, desk.keyring, visitor, login, now)
        number = file.account.id
        return {
            "account": file.account,
            "case": file.case,
            "tally": file.tally,
            "rates": file.rates,
            "messages": [visitor.sees(row) for row in views.messages(tx, number, limit=20, cursor=place)],
            "complaints": findings.complaints(tx, Sought(login=file.account.login), limit=10),
            "timeline": findings.cases(tx, Sought(), limit=20, subject=(Level.ACCOUNT, number)),
            "logins": logins.history(tx, number, limit=8),
        }

    values = await desk.store.query(work)
    messages = values["messages"]
    return render(
        request,
        visitor,
        "account.html",
        **values,
        older=older(request, messages, 20, cursor=behind(messages, "id")),
        windows=WINDOWS,
        may_switch=May.SWITCH_ACCOUNTS in visitor.may,
    )


# --- customers and servers


async def _group_list(request: Request, visitor: Visitor, desk: Desk, level: Level, q: str) -> Response:
    visitor.needs(May.READ)
    rows = await desk.store.query(lambda tx: views.groups(tx, level, q=q, limit=MOST_ROWS))
    return render(
        request, visitor, "groups.html", rows=rows, level=level, q=q, title=f"{level}s".capitalize()
    )


@router.get("/customers")
async def customer_list(
    request: Request, visitor: Staff, desk: DeskOf, q: Annotated[str, Query(max_length=200)] = ""
) -> Response:
    """List customers."""
    return await _group_list(request, visitor, desk, Level.CUSTOMER, q)


@router.get("/servers")
async def server_list(
    request: Request, visitor: Staff, desk: DeskOf, q: Annotated[str, Query(max_length=200)] = ""
) -> Response:
    """List customers' mail servers."""
    return await _group_list(request, visitor, desk, Level.SERVER, q)


async def _group_page(request: Request, visitor: Visitor, desk: Desk, level: Level, name: str) -> Response:
    visitor.needs(May.READ)

    def work(tx: Connection) -> dict[str, Any]:
        subject: Any = accounts.customer(tx, name) if level is Level.CUSTOMER else accounts.server(tx, name)
        customer = subject if level is Level.CUSTOMER else accounts.customer_by_id(tx, subject.customer_id)
        stopped = views.accounts(tx, Sought(customer=customer.name, state="stopped"), limit=50)
        return {
            "subject": subject,
            "customer": customer,
            "servers": [one for one in accounts.servers(tx) if one.customer_id == customer.id],
            "stopped": [row for row in stopped if level is Level.CUSTOMER or row.server == subject.name],
            "timeline": findings.cases(tx, Sought(), limit=20, subject=(level, subject.id)),
        }

    values = await desk.store.query(work)
    may = SWITCH[level] in visitor.may
    return render(request, visitor, "group.html", level=level, may_switch=may, **values)


@router.get("/customers/{name:path}")
async def customer_page(request: Request, name: str, visitor: Staff, desk: DeskOf) -> Response:
    """Show one customer."""
    return await _group_page(request, visitor, desk, Level.CUSTOMER, name)


@router.get("/servers/{name:path}")
async def server_page(request: Request, name: str, visitor: Staff, desk: DeskOf) -> Response:
    """Show one server."""
    return await _group_page(request, visitor, desk, Level.SERVER, name)


# --- changing a standing


@dataclasses.dataclass(frozen=True, slots=True)
class StandingForm:
    """The form of parts.html."""

    state: str
    reason: str
    span: str
    version: int | None
    csrf: str


def standing_form(
    state: Annotated[str, Form(pattern="^(active|deactivated|suspended)$")],
    reason: Annotated[str, Form(max_length=2000)] = "",
    span: Annotated[str, Form(alias="for", max_length=20)] = "",
    version: Annotated[int | None, Form(ge=0, le=2**62)] = None,
    csrf: Annotated[str, Form(max_length=100)] = "",
) -> StandingForm:
    """Read the form."""
    return StandingForm(state, reason, span, version, csrf)


async def _switch(
    request: Request, visitor: Visitor, desk: Desk, level: Level, name: str, form: StandingForm
) -> Response:
    check_form(request, visitor.csrf, form.csrf)
    wish = actions.Wish(level, name, State(form.state), form.reason, form.span, form.version)
    await actions.change(desk, visitor, wish)
    return RedirectResponse(f"{subject_path(level, name)}?done={form.state}", 303)


FormOf = Annotated[StandingForm, Depends(standing_form)]


@router.post("/accounts/{login:path}/standing")
async def switch_account(
    request: Request, login: str, visitor: Staff, desk: DeskOf, form: FormOf
) -> Response:
    """Suspend, deactivate or reinstate an account."""
    return await _switch(request, visitor, desk, Level.ACCOUNT, login, form)


@router.post("/servers/{name:path}/standing")
async def switch_server(request: Request, name: str, visitor: Staff, desk: DeskOf, form: FormOf) -> Response:
    """Suspend, deactivate or reinstate a server."""
    return await _switch(request, visitor, desk, Level.SERVER, name, form)


@router.post("/customers/{name:path}/standing")
async def switch_customer(
    request: Request, name: str, visitor: Staff, desk: DeskOf, form: FormOf
) -> Response:
    """Suspend, deactivate or reinstate a customer."""
    return await _switch(request, visitor, desk, Level.CUSTOMER, name, form)
