"""Pages of evidence: complaints, decisions, the audit log, and why a message or a case came out as it did."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from relay.console import shapes
from relay.console.desk import Desk, Visitor
from relay.console.frame import behind, older, render
from relay.console.login import Staff, desk_of
from relay.console.roles import May
from relay.errors import NotFound
from relay.feedback import explain
from relay.store import audit, findings, views
from relay.store.viewed import MessageRow, Sought

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

router = APIRouter(include_in_schema=False)
DeskOf = Annotated[Desk, Depends(desk_of)]

CASE = re.compile(r"[0-9a-z]{4}-[0-9a-z]{4}")
MESSAGE = re.compile(r"[0-9a-z]{16}")


def sought_complaints(
    login: Annotated[str, Query(max_length=320)] = "",
    grade: Annotated[str, Query(pattern="^[ABC]?$")] = "",
    counted: Annotated[str, Query(pattern="^(true|false)?$")] = "",
    reporter: Annotated[str, Query(max_length=253)] = "",
) -> Sought:
    """Return what a list of complaints is narrowed to."""
    either = {"true": True, "false": False}.get(counted)
    return Sought(login=login.strip(), grade=grade, counted=either, reporter=reporter.strip())


@router.get("/complaints")
async def complaint_list(
    request: Request,
    visitor: Staff,
    desk: DeskOf,
    sought: Annotated[Sought, Depends(sought_complaints)],
    cursor: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """List complaints."""
    visitor.needs(May.READ)
    place = shapes.Page(cursor=cursor).place()
    rows = await desk.store.query(lambda tx: findings.complaints(tx, sought, limit=50, cursor=place))
    return render(
        request,
        visitor,
        "complaints.html",
        rows=rows,
        sought=sought,
        may_export=May.EXPORT in visitor.may,
        query=request.url.query,
        older=older(request, rows, 50, cursor=behind(rows, "id")),
    )


@router.get("/cases")
async def case_list(
    request: Request,
    visitor: Staff,
    desk: DeskOf,
    standing: Annotated[str, Query(pattern="^(active|throttled|deactivated|suspended|closed)?$")] = "",
    set_by: Literal["", "policy", "staff"] = "",
    cursor: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """List decisions."""
    visitor.needs(May.READ)
    place = shapes.Page(cursor=cursor).place()
    sought = Sought(state=standing, set_by=set_by)
    rows = await desk.store.query(lambda tx: findings.cases(tx, sought, limit=50, cursor=place))
    page_behind = older(request, rows, 50, cursor=behind(rows, "case_id"))
    return render(request, visitor, "cases.html", rows=rows, sought=sought, older=page_behind)


@router.get("/audit")
async def audit_page(
    request: Request,
    visitor: Staff,
    desk: DeskOf,
    question: Annotated[shapes.AuditQuestion, Query()],
) -> Response:
    """Show the audit log and whether its chain is whole."""
    visitor.needs(May.AUDIT)
    sought = Sought(who=question.who, action=question.action, object=question.object)
    rows = await desk.store.query(
        lambda tx: findings.audit_entries(tx, sought, limit=question.limit, before=question.before)
    )
    behind_page = older(request, rows, question.limit, before=str(rows[-1].seq)) if rows else ""
    return render(request, visitor, "audit.html", rows=rows, sought=sought, older=behind_page)


@router.get("/audit/chain")
async def audit_chain(request: Request, visitor: Staff, desk: DeskOf) -> Response:
    """Read the whole audit log and tell whether anything in it was altered, removed or put in."""
    visitor.needs(May.AUDIT)
    broken = await desk.store.query(lambda tx: audit.verify(tx, desk.keyring))
    return render(request, visitor, "chain.html", broken=broken)


# --- explaining


@router.get("/explain/{identity}")
async def explain_page(request: Request, identity: str, visitor: Staff, desk: DeskOf) -> Response:
    """Explain a decision about a standing or about a message, by its id."""
    visitor.needs(May.READ)
    name = identity.strip().lower()
    if CASE.fullmatch(name):
        return await _case_page(request, visitor, desk, name)
    return await _message_page(request, visitor, desk, name)


async def _case_page(request: Request, visitor: Visitor, desk: Desk, case_id: str) -> Response:
    def work(tx: Connection) -> tuple[Any, dict[str, Any]]:
        case = findings.case_by_id(tx, case_id)
        if case is None:
            raise NotFound(case_id)
        return case, explain.explain(tx, case_id)

    case, explained = await desk.store.query(work)
    return render(request, visitor, "case.html", case=case, **_explained(case.evidence, explained))


def _explained(evidence: Mapping[str, Any], explained: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page shows of a decision and of its being computed again."""
    numbers = evidence.get("numbers") or {}
    again = explained.get("recomputed") or {}
    return {
        "numbers": numbers if isinstance(numbers, dict) else {},
        "lifts": str(evidence.get("lifts") or ""),
        "held_back": str(evidence.get("held_back") or ""),
        "same": explained.get("same"),
        "differences": [str(one) for one in explained.get("differences") or ()],
        "again": again if isinstance(again, dict) else {},
    }


async def _message_page(request: Request, visitor: Visitor, desk: Desk, message_id: str) -> Response:
    message, complaints = await desk.store.query(
        lambda tx: (views.message_by_id(tx, message_id), findings.complaints_about(tx, message_id))
    )
    if message is None:
        raise NotFound(message_id)
    limits = desk.config.screening
    return render(
        request,
        visitor,
        "message.html",
        message=visitor.sees(message),
        complaints=complaints,
        sentence=sentence(message),
        thresholds={"tag": limits.tag, "hold": limits.hold, "refuse": limits.refuse},
        top=max([hit.get("score", 0) for hit in message.hits] + [limits.refuse]),
    )


def sentence(message: MessageRow) -> str:
    """Say in one sentence what became of a message, and why."""
    if message.malformed:
        return f"Refused for its form: {message.malformed}."
    strongest = sorted(message.hits, key=lambda hit: -hit.get("score", 0))[:3]
    because = ", ".join(str(hit.get("rule", "")) for hit in strongest if hit.get("score", 0) > 0)
    score = f"{message.score:.1f} points" + (f", above all for {because}" if because else "")
    passed = message.action in ("deliver", "tag")
    mark = " with a mark" if message.action == "tag" else ""
    match message.outcome:
        case "forwarded":
            return f"Handed to the customer's server{mark}: {score}."
        case "queued":
            return f"Taken, and waiting in the outbox for the customer's server{mark}: {score}."
        case "held":
            return f"Held for staff to look at: {score}."
        case "refused" if passed:
            return f"Passed screening ({score}), but the customer's server refused it."
        case "refused":
            return f"Refused: {score}."
        case _ if passed:
            return f"Passed screening ({score}), but the customer's server put it off; it is tried again."
        case _:
            return f"Put off, the sender tries again: {score}."
