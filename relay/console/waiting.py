"""Pages of waiting mail: held for staff, or in the outbox. Content is shown for a reason only."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Query, Request
from pydantic_core import PydanticCustomError
from starlette.responses import RedirectResponse, Response

from relay.clock import micros, moment
from relay.console import teaching
from relay.console.desk import Desk, Refused, Visitor
from relay.console.frame import older, render
from relay.console.login import Staff, check_form, desk_of
from relay.console.roles import May
from relay.errors import NotFound
from relay.outbox import hold
from relay.outbox.envelope import WaitingEnvelope
from relay.store import accounts
from relay.store import outbox as rows
from relay.store.outbox import Filter, Row, State
from relay.values import parse_duration
from screening.mail import Envelope, Mail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from relay.config import OutboxConfig
    from relay.outbox.report import Reports


router = APIRouter(include_in_schema=False)
DeskOf = Annotated[Desk, Depends(desk_of)]
Text = Annotated[str, Query(max_length=320)]
Reason = Annotated[str, Form(max_length=2000)]
Csrf = Annotated[str, Form(max_length=100)]

LIMIT = 50
#: Messages of one transaction, and of one click.
GROUP, MOST = 100, 5000
#: So much of a message is shown; staff decide by its beginning.
SHOWN_BYTES = 256 << 10
#: The header fields that say who writes to whom, about what.
_SHOWN = ("From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "List-Id", "X-Mailer", "User-Agent")
_SHELVES: dict[str, tuple[State, ...]] = {"held": (State.HELD,), "outbox": (State.WAITING, State.POISON)}


def _delete(tx: Connection, deed: hold.Deed, reports: Reports, ids: Sequence[str]) -> hold.Done:  # noqa: ARG001
    return hold.delete(tx, deed, ids)


def _let_go(tx: Connection, deed: hold.Deed, reports: Reports, ids: Sequence[str]) -> hold.Done:  # noqa: ARG001
    return hold.let_go(tx, deed, ids)


def _retry(tx: Connection, deed: hold.Deed, reports: Reports, ids: Sequence[str]) -> hold.Done:  # noqa: ARG001
    return hold.retry(tx, deed, ids)


#: What may be done with the mail of each page.
DEEDS: dict[str, dict[str, Callable[..., hold.Done]]] = {
    "held": {"release": hold.release, "delete": _delete, "digest": _delete},
    "outbox": {
        "retry": _retry,
        "let_go": _let_go,
        "bounce": hold.bounce,
        "delete": _delete,
        "digest": _delete,
    },
}


@dataclasses.dataclass(frozen=True, slots=True)
class Sought:
    """What a list is narrowed to, as the form has it."""

    login: str = ""
    customer: str = ""
    rule: str = ""
    campaign: str = ""
    score: float | None = None
    older: str = ""
    state: str = ""

    def filter(self, tx: Connection, shelf: str, now: datetime) -> Filter:
        """Return the filter of the store; NotFound for unknown names, Refused for what is no age."""
        states = _SHELVES[shelf]
        chosen = next((state for state in states if state == self.state), states[0])
        wanted = Filter(
            state=chosen, rule=self.rule or None, campaign=self.campaign or None, least_score=self.score
        )
        if self.login:
            wanted = dataclasses.replace(wanted, account_id=accounts.account(tx, self.login).id)
        if self.customer:
            wanted = dataclasses.replace(wanted, customer_id=accounts.customer(tx, self.customer).id)
        if self.older:
            wanted = dataclasses.replace(wanted, older_than_us=micros(now - _age(self.older)))
        return wanted


def _age(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except PydanticCustomError:
        raise Refused(422, f"{text[:40]!r} is no length of time: write 6h or 2d.") from None


def sought(  # noqa: PLR0913, PLR0917 - one argument a field of the form
    login: Text = "",
    customer: Text = "",
    rule: Text = "",
    campaign: Text = "",
    score: Annotated[str, Query(pattern=r"^\d{0,4}(\.\d{0,3})?$")] = "",
    older: Annotated[str, Query(max_length=20)] = "",
    state: Literal["", "waiting", "poison"] = "",
) -> Sought:
    """Read what the list is narrowed to; the same query narrows what `all of them` does."""
    least = float(score) if score.strip(".") else None
    return Sought(
        login.strip(), customer.strip(), rule.strip(), campaign.strip(), least, older.strip(), state
    )


SoughtOf = Annotated[Sought, Depends(sought)]


@dataclasses.dataclass(frozen=True, slots=True)
class Waiting:
    """One waiting message as the pages show it: nothing of its content, no recipient."""

    row: Row
    login: str
    customer: str
    #: when it is given up, or was held for long enough; the row's own deadline may be that of a notice before
    ends_at: datetime

    @property
    def at(self) -> datetime:
        """Return when it came in."""
        return moment(self.row.at_us)

    @property
    def next_at(self) -> datetime | None:
        """Return when it is tried next; None: at once."""
        return None if self.row.next_us == rows.URGENT else moment(self.row.next_us)


def _named(tx: Connection, found: Sequence[Row], settings: OutboxConfig) -> list[Waiting]:
    logins = accounts.logins(tx, {row.account_id for row in found})
    customers = {one.id: one.name for one in accounts.customers(tx)}
    held_for = timedelta(days=settings.hold_days)
    return [
        Waiting(
            row,
            logins.get(row.account_id, ""),
            customers.get(row.customer_id, ""),
            moment(row.at_us) + (held_for if row.state == State.HELD else settings.lifetime),
        )
        for row in found
    ]


# --- lists


async def _list_page(
    request: Request, visitor: Visitor, desk: Desk, narrowed: Sought, cursor: str
) -> Response:
    visitor.needs(May.READ)
    shelf, now = request.url.path.strip("/"), desk.now()

    def work(tx: Connection) -> list[Waiting]:
        try:
            wanted = narrowed.filter(tx, shelf, now)
        except NotFound:  # half a login is typed
            return []
        return _named(
            tx, [visitor.sees(row) for row in rows.page(tx, wanted, cursor, LIMIT)], desk.config.outbox
        )

    found = await desk.store.query(work)
    return render(
        request,
        visitor,
        "waiting.html",
        rows=found,
        sought=narrowed,
        shelf=shelf,
        deeds=DEEDS[shelf],
        most=MOST,
        query=request.url.query,
        may_decide=May.MAIL in visitor.may,
        older=older(request, found, LIMIT, cursor=found[-1].row.id) if found else "",
    )


Cursor = Annotated[str, Query(pattern="^[0-9a-z]{0,32}$")]


@router.get("/held")
async def held_list(
    request: Request, visitor: Staff, desk: DeskOf, narrowed: SoughtOf, cursor: Cursor = ""
) -> Response:
    """List the mail that waits for staff, oldest first."""
    return await _list_page(request, visitor, desk, narrowed, cursor)


@router.get("/outbox")
async def outbox_list(
    request: Request, visitor: Staff, desk: DeskOf, narrowed: SoughtOf, cursor: Cursor = ""
) -> Response:
    """List the mail that waits for its server, oldest first."""
    return await _list_page(request, visitor, desk, narrowed, cursor)


# --- deeds


@dataclasses.dataclass(frozen=True, slots=True)
class DeedForm:
    """What staff want done, with which messages, and why."""

    deed: str
    ids: tuple[str, ...]
    everything: bool
    reason: str
    csrf: str
    teach: bool = False


def deed_form(
    deed: Annotated[str, Form(max_length=20)] = "",
    chosen: Annotated[list[str], Form(alias="id", max_length=MOST)] = [],  # noqa: B006 - FastAPI copies it
    scope: Annotated[str, Form(max_length=20)] = "",
    reason: Reason = "",
    teach: Annotated[str, Form(max_length=10)] = "",
    csrf: Csrf = "",
) -> DeedForm:
    """Read the form."""
    return DeedForm(deed, tuple(chosen), scope == "all", reason, csrf, bool(teach))


def _because(text: str) -> str:
    reason = " ".join(text.split())[:500]
    if len(reason) < 3:
        raise Refused(422, "Say why: it is written down, and the customer can see it.")
    return reason


FormOf = Annotated[DeedForm, Depends(deed_form)]


async def _act(request: Request, visitor: Visitor, desk: Desk, narrowed: Sought, form: DeedForm) -> Response:
    """Do it in groups of one transaction each, so that mail goes on being taken meanwhile."""
    check_form(request, visitor.csrf, form.csrf)
    visitor.needs(May.MAIL)
    shelf = request.url.path.strip("/")
    act, deed = DEEDS[shelf].get(form.deed), hold.Deed(visitor.mark, desk.now(), _because(form.reason))
    if act is None:
        raise Refused(422, "Choose what to do.")
    chosen = await _chosen(desk, narrowed, shelf) if form.everything else form.ids
    if not chosen:
        raise Refused(422, "Choose messages, or all that the list shows.")
    total, read = hold.Done(), _lessons(desk, shelf, form)
    lessons: dict[str, bytes] = {}
    for start in range(0, len(chosen), GROUP):
        some = chosen[start : start + GROUP]
        if read is not None and len(lessons) < teaching.MOST:
            lessons |= await desk.store.query(partial(read, ids=some))
        done = await desk.store.write(partial(act, deed=deed, reports=desk.reports, ids=some))
        await asyncio.to_thread(_remove, desk.reports, done.files)
        total.ids += done.ids
        total.deleted += done.deleted
    if form.deed == "digest":
        await desk.store.write(lambda tx: hold.digest(tx, deed, desk.reports, total.deleted))
    taught = {number: body for number, body in lessons.items() if number in set(total.ids)}
    learned = not taught or await teaching.teach(desk, deed, teaching.KINDS[form.deed], taught)
    done_as = form.deed if learned and not taught else "taught" if learned else "untaught"
    return RedirectResponse(f"/{shelf}?done={done_as}&count={len(total.ids)}", 303)


def _lessons(desk: Desk, shelf: str, form: DeedForm) -> Callable[..., dict[str, bytes]] | None:
    """Return what reads messages before they go, where the classifier shall learn from them."""
    if shelf != "held" or not form.teach or form.deed not in teaching.KINDS:
        return None
    return partial(hold.lessons, reports=desk.reports)


async def _chosen(desk: Desk, narrowed: Sought, shelf: str) -> Sequence[str]:
    """Return what the list shows, all pages of it; not what comes in from now on."""
    now = desk.now()

    def work(tx: Connection) -> list[str]:
        wanted = narrowed.filter(tx, shelf, now)
        if wanted.older_than_us is None:
            wanted = dataclasses.replace(wanted, older_than_us=micros(now))
        return [row.id for row in rows.page(tx, wanted, "", MOST)]

    return await desk.store.query(work)


def _remove(reports: Reports, numbers: Sequence[str]) -> None:
    for number in numbers:
        reports.spool.remove(number)


@router.post("/held")
async def decide_held(
    request: Request, visitor: Staff, desk: DeskOf, narrowed: SoughtOf, form: FormOf
) -> Response:
    """Release or delete held mail."""
    return await _act(request, visitor, desk, narrowed, form)


@router.post("/outbox")
async def decide_waiting(
    request: Request, visitor: Staff, desk: DeskOf, narrowed: SoughtOf, form: FormOf
) -> Response:
    """Try waiting mail now, give it up, or delete it."""
    return await _act(request, visitor, desk, narrowed, form)


# --- one message


async def _one_page(
    request: Request, visitor: Visitor, desk: Desk, number: str, looked: dict[str, Any] | None = None
) -> Response:
    def work(tx: Connection) -> Waiting:
        row = rows.get(tx, number)
        if row is None:
            raise NotFound(number)
        return _named(tx, [visitor.sees(row)], desk.config.outbox)[0]

    one = await desk.store.query(work)
    shelf = "held" if one.row.state == State.HELD else "outbox"
    top = max([hit.get("score", 0) for hit in one.row.hits] + [desk.config.screening.refuse])
    return render(
        request,
        visitor,
        "waiting_one.html",
        one=one,
        shelf=shelf,
        deeds=DEEDS[shelf],
        top=top,
        looked=looked,
        may_decide=May.MAIL in visitor.may,
    )


@router.get("/waiting/{number}")
async def waiting_page(request: Request, number: str, visitor: Staff, desk: DeskOf) -> Response:
    """Show why one message waits; nothing of its content."""
    visitor.needs(May.READ)
    return await _one_page(request, visitor, desk, number)


@router.post("/waiting/{number}/look")
async def look(
    request: Request, number: str, visitor: Staff, desk: DeskOf, reason: Reason = "", csrf: Csrf = ""
) -> Response:
    """Show the content and the recipients of a message, once; who looked and why is audited (PR-08)."""
    check_form(request, visitor.csrf, csrf)
    visitor.needs(May.MAIL)
    deed = hold.Deed(visitor.mark, desk.now(), _because(reason))

    def work(tx: Connection) -> tuple[bytes, Row | None]:
        return hold.look(tx, deed, desk.reports, number), rows.get(tx, number)

    raw, row = await desk.store.write(work)
    if row is None:
        raise NotFound(number)
    envelope = WaitingEnvelope.unseal(desk.keyring, number, row.envelope)
    return await _one_page(
        request, visitor, desk, number, await asyncio.to_thread(_content, raw, envelope, row)
    )


def _content(raw: bytes, envelope: WaitingEnvelope, row: Row) -> dict[str, Any]:
    """Return what a person needs to judge a message: decoded, bounded, nothing of it active."""
    people = tuple(one.address for one in envelope.recipients)
    mail = Mail(Envelope("", "", "", "", None, envelope.sender, people, moment(row.at_us)), raw)
    return {
        "envelope": envelope,
        "header": [(name, mail.header(name.lower())) for name in _SHOWN if mail.has(name.lower())],
        "text": (mail.plain or mail.view.text)[:SHOWN_BYTES],
        "links": sorted({link.href for link in mail.links})[:100],
        "files": [(one.filename, one.media_type, one.size) for one in mail.attachments][:100],
        "source": raw[:SHOWN_BYTES].decode("utf-8", "replace"),
    }
