"""/api/v1: what the console shows and does, for programs; a customer's token sees that customer alone."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query

from relay.console import actions, health, read, shapes
from relay.console.desk import Desk, Refused, Visitor
from relay.console.login import api_visitor, desk_of
from relay.console.roles import May
from relay.console.series import WINDOWS
from relay.errors import NotFound
from relay.feedback import explain
from relay.model import Level, Standing, State
from relay.store import accounts as store_accounts
from relay.store import audit as audits
from relay.store import findings, views
from relay.store.viewed import CaseRow, Sought

T = TypeVar("T")

FAULTS: dict[int | str, dict[str, Any]] = {
    400: {"model": shapes.Fault, "description": "the token was in the URL"},
    401: {"model": shapes.Fault, "description": "no token, or one that is unknown, ended or revoked"},
    403: {
        "model": shapes.Fault,
        "description": "the token's scopes, or the role, do not reach this; audited",
    },
    404: {"model": shapes.Fault, "description": "there is none, or it is not yours"},
    409: {"model": shapes.Fault, "description": "somebody else changed it after you looked"},
    413: {"model": shapes.Fault, "description": "the body is too long"},
    422: {"model": shapes.Fault, "description": "the request is not understood"},
    503: {"model": shapes.Fault, "description": "the store cannot be reached"},
}

router = APIRouter(prefix="/api/v1", responses=FAULTS)
Asker = Annotated[Visitor, Depends(api_visitor)]
DeskOf = Annotated[Desk, Depends(desk_of)]


def _fields(row: Any) -> dict[str, Any]:
    """Return a row as the models read it; enums and tuples become what JSON has."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in ((field.name, getattr(row, field.name)) for field in dataclasses.fields(row))
    }


def _seen(asker: Visitor, case: CaseRow) -> CaseRow:
    """Return a decision as the one who asks may see it: a customer hears of no reporter."""
    if asker.only is None:
        return case
    evidence = explain.redacted_evidence(case.evidence, case.subject)
    return dataclasses.replace(case, reason=explain.nameless(case.reason, case.subject), evidence=evidence)


def _standing(standing: Standing) -> shapes.StandingAnswer:
    return shapes.StandingAnswer.model_validate(standing)


def _next(rows: list[Any], limit: int, identity: str) -> str | None:
    return shapes.cursor(rows[-1].at, getattr(rows[-1], identity)) if len(rows) == limit else None


@router.get("/stats", tags=["numbers"])
async def stats(
    asker: Asker, desk: DeskOf, question: Annotated[shapes.StatsQuestion, Query()]
) -> shapes.Stats:
    """Return messages by decision over a window, as the overview draws them."""
    asker.needs(May.READ)
    account_id = None
    if question.account:
        login = question.account
        account_id = (await desk.store.query(lambda tx: read.account(tx, asker, login))).id
    counts = await desk.series.counts(question.window, desk.now(), account_id=account_id, only=asker.only)
    return shapes.Stats(
        window=question.window,
        step_seconds=WINDOWS[question.window][1],
        at=list(counts.at),
        series={action: list(values) for action, values in counts.series.items()},
        totals=counts.totals,
    )


@router.get("/health", tags=["numbers"])
async def how_it_is(asker: Asker, desk: DeskOf) -> health.Health:
    """Return whether anything is wrong with this node: the provider's to know, not a customer's."""
    asker.needs(May.READ)
    if asker.only is not None:
        raise NotFound("there is none")
    return await health.health(desk, desk.now())


@router.get("/accounts", tags=["accounts"])
async def accounts(
    asker: Asker, desk: DeskOf, question: Annotated[shapes.AccountsQuestion, Query()]
) -> shapes.Accounts:
    """List accounts by login; `next` is the cursor of the page behind."""
    asker.needs(May.READ)
    sought = Sought(q=question.q, state=question.standing, klass=question.klass, customer=question.customer)
    rows = await desk.store.query(
        lambda tx: views.accounts(tx, sought, limit=question.limit, after=question.cursor, only=asker.only)
    )
    lines = [shapes.AccountLine.model_validate(row) for row in rows]
    return shapes.Accounts(accounts=lines, next=rows[-1].login if len(rows) == question.limit else None)


@router.get("/accounts/{login:path}/messages", tags=["accounts"])
async def messages(
    login: str, asker: Asker, desk: DeskOf, question: Annotated[shapes.MessagesQuestion, Query()]
) -> shapes.Messages:
    """List an account's messages, newest first."""
    asker.needs(May.READ)
    place = question.place()
    rows = await desk.store.query(
        lambda tx: views.messages(
            tx,
            read.account(tx, asker, login).id,
            limit=question.limit,
            cursor=place,
            action=question.action,
        )
    )
    lines = [shapes.MessageLine.model_validate(_fields(asker.sees(row))) for row in rows]
    return shapes.Messages(messages=lines, next=_next(rows, question.limit, "id"))


@router.post("/accounts/{login:path}/standing", tags=["accounts"])
async def set_account_standing(
    login: str, wish: shapes.StandingWish, asker: Asker, desk: DeskOf
) -> shapes.StandingAnswer:
    """Suspend, deactivate or reinstate an account; it holds in all sessions within a second."""
    return await _change(desk, asker, Level.ACCOUNT, login, wish)


@router.get("/accounts/{login:path}", tags=["accounts"])
async def account(login: str, asker: Asker, desk: DeskOf) -> shapes.AccountAnswer:
    """Return one account, its standing on all three levels, the evidence for it, and its numbers now."""
    asker.needs(May.READ)
    now = desk.now()
    file = await desk.store.query(lambda tx: read.account_file(tx, desk.keyring, asker, login, now))
    found = file.account
    return shapes.AccountAnswer(
        login=found.login,
        customer=found.customer.name,
        server=found.server.name,
        klass=str(found.klass),
        senders=list(found.senders),
        created_at=found.created_at,
        standing=_standing(found.standing),
        effective=_standing(found.effective),
        server_standing=_standing(found.server.standing),
        customer_standing=_standing(found.customer.standing),
        evidence=_seen(asker, file.case).evidence if file.case else {},
        tally=file.tally,
    )


@router.get("/customers", tags=["customers and servers"])
async def customers(
    asker: Asker, desk: DeskOf, question: Annotated[shapes.GroupsQuestion, Query()]
) -> shapes.Customers:
    """List customers by name."""
    lines = await _groups(desk, asker, Level.CUSTOMER, question)
    return shapes.Customers(customers=lines)


@router.post("/customers/{name:path}/standing", tags=["customers and servers"])
async def set_customer_standing(
    name: str, wish: shapes.StandingWish, asker: Asker, desk: DeskOf
) -> shapes.StandingAnswer:
    """Suspend, deactivate or reinstate a customer with all its servers and accounts."""
    return await _change(desk, asker, Level.CUSTOMER, name, wish)


@router.get("/servers", tags=["customers and servers"])
async def servers(
    asker: Asker, desk: DeskOf, question: Annotated[shapes.GroupsQuestion, Query()]
) -> shapes.Servers:
    """List customers' mail servers by name."""
    lines = await _groups(desk, asker, Level.SERVER, question)
    return shapes.Servers(servers=lines)


@router.post("/servers/{name:path}/standing", tags=["customers and servers"])
async def set_server_standing(
    name: str, wish: shapes.StandingWish, asker: Asker, desk: DeskOf
) -> shapes.StandingAnswer:
    """Suspend, deactivate or reinstate a server with all its accounts."""
    return await _change(desk, asker, Level.SERVER, name, wish)


@router.post("/accounts/{login:path}/pause", tags=["accounts"])
async def pause_account(
    login: str, wish: shapes.PauseWish, asker: Asker, desk: DeskOf
) -> shapes.StandingAnswer:
    """Pause or resume an account for its owner, beside the provider's own switch: the stricter holds."""
    return _standing(await actions.pause(desk, asker, login, paused=wish.paused, reason=wish.reason))


async def _groups(
    desk: Desk, asker: Visitor, level: Level, question: shapes.GroupsQuestion
) -> list[shapes.GroupLine]:
    asker.needs(May.READ)
    rows = await desk.store.query(
        lambda tx: views.groups(tx, level, q=question.q, limit=question.limit, only=asker.only)
    )
    return [shapes.GroupLine.model_validate(row) for row in rows]


async def _change(
    desk: Desk, asker: Visitor, level: Level, name: str, wish: shapes.StandingWish
) -> shapes.StandingAnswer:
    wanted = actions.Wish(level, name, State(wish.state), wish.reason, wish.span, wish.version)
    return _standing(await actions.change(desk, asker, wanted))


@router.get("/complaints", tags=["evidence"])
async def complaints(
    asker: Asker, desk: DeskOf, question: Annotated[shapes.ComplaintsQuestion, Query()]
) -> shapes.Complaints:
    """List complaints, newest first: grade, reporter, whether each counted, and why.

    A customer's own token sees neither reporter nor why, and cannot search by reporter.
    """
    asker.needs(May.READ)
    place = question.place()
    if asker.only is not None and question.reporter:
        raise Refused(422, "reporter: a customer's token does not see it")
    sought = Sought(
        login=question.login, grade=question.grade, counted=question.counted, reporter=question.reporter
    )
    rows = await desk.store.query(
        lambda tx: findings.complaints(tx, sought, limit=question.limit, cursor=place, only=asker.only)
    )
    if asker.only is not None:
        rows = [dataclasses.replace(row, reporter="", why="") for row in rows]
    lines = [shapes.ComplaintLine.model_validate(row) for row in rows]
    return shapes.Complaints(complaints=lines, next=_next(rows, question.limit, "id"))


@router.get("/cases", tags=["evidence"])
async def cases(
    asker: Asker, desk: DeskOf, question: Annotated[shapes.CasesQuestion, Query()]
) -> shapes.Cases:
    """List decisions about standings, newest first, with the numbers they were made from."""
    asker.needs(May.READ)
    place = question.place()
    sought = Sought(state=question.standing, set_by=question.set_by)
    rows = await desk.store.query(
        lambda tx: findings.cases(tx, sought, limit=question.limit, cursor=place, only=asker.only)
    )
    lines = [shapes.CaseLine.model_validate(_fields(_seen(asker, row))) for row in rows]
    return shapes.Cases(cases=lines, next=_next(rows, question.limit, "case_id"))


@router.get("/cases/{case_id}", tags=["evidence"])
async def case(case_id: str, asker: Asker, desk: DeskOf) -> dict[str, Any]:
    """Explain a decision: its evidence, computed again, and whether it still comes out the same."""
    asker.needs(May.READ)

    def work(tx: Any) -> dict[str, Any]:
        if findings.case_by_id(tx, case_id, only=asker.only) is None:
            raise NotFound(case_id)
        found = explain.explain(tx, case_id)
        return explain.redacted(found) if asker.only is not None else dict(found)

    return await desk.store.query(work)


@router.get("/messages/{message_id}", tags=["evidence"])
async def message(message_id: str, asker: Asker, desk: DeskOf) -> shapes.MessageLine:
    """Return one message of the journal: what was found, decided and answered."""
    asker.needs(May.READ)
    row = await desk.store.query(lambda tx: views.message_by_id(tx, message_id, only=asker.only))
    if row is None:
        raise NotFound(message_id)
    return shapes.MessageLine.model_validate(_fields(asker.sees(row)))


@router.get("/audit", tags=["audit"])
async def audit(
    asker: Asker, desk: DeskOf, question: Annotated[shapes.AuditQuestion, Query()]
) -> shapes.AuditEntries:
    """List what staff and tokens did, newest first."""
    asker.needs(May.AUDIT)
    sought = Sought(who=question.who, action=question.action, object=question.object)
    rows = await desk.store.query(
        lambda tx: findings.audit_entries(tx, sought, limit=question.limit, before=question.before)
    )
    lines = [shapes.AuditLine.model_validate(row) for row in rows]
    return shapes.AuditEntries(entries=lines, next=rows[-1].seq if len(rows) == question.limit else None)


@router.get("/looks", tags=["audit"])
async def looks(
    asker: Asker, desk: DeskOf, question: Annotated[shapes.LooksQuestion, Query()]
) -> shapes.Looks:
    """List who of the provider's staff looked at a customer's waiting mail, and why; newest first."""
    asker.needs(May.READ)

    def work(tx: Any) -> list[audits.Entry]:
        number = store_accounts.customer(tx, question.customer).id if question.customer else asker.only
        if number is None or asker.only not in (None, number):
            raise NotFound(question.customer or "a customer must be named")
        return audits.looks(tx, number, limit=question.limit, before=question.before)

    rows = await desk.store.query(work)
    lines = [shapes.Look.model_validate(row) for row in rows]
    return shapes.Looks(looks=lines, next=rows[-1].seq if len(rows) == question.limit else None)
