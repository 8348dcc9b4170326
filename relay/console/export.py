"""Lists as CSV (RFC 4180) for spreadsheets, in which no cell is ever a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import Response, StreamingResponse

from relay.console import shapes
from relay.console.desk import Desk, Visitor
from relay.console.evidence import sought_complaints
from relay.console.login import Staff, desk_of
from relay.console.pages import sought_accounts
from relay.console.roles import May
from relay.console.words import iso
from relay.store import audit, findings, views
from relay.store.viewed import MOST_ROWS, AccountRow, ComplaintRow, Sought

if TYPE_CHECKING:
    from sqlalchemy import Connection

router = APIRouter(include_in_schema=False)
DeskOf = Annotated[Desk, Depends(desk_of)]
#: A file that a spreadsheet still opens; what is beyond it belongs to the API.
MOST_LINES = 100_000

_ACCOUNT = ("login", "customer", "server", "class", "state", "effective", "since", "until", "reason", "case")
_COMPLAINT = (
    "id",
    "at",
    "type",
    "grade",
    "counted",
    "login",
    "customer",
    "reporter",
    "message",
    "sent",
    "why",
)


def cell(value: str) -> str:
    """Return a cell that a spreadsheet takes as text: what would begin a formula gets an apostrophe first."""
    if value.lstrip(" \u00a0\n").startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return value


def line(values: Sequence[str]) -> str:
    """Return one CSV line, quoted where it must be, ended by CRLF."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow([cell(value) for value in values])
    return out.getvalue()


def _account(row: AccountRow) -> tuple[str, ...]:
    facts = (row.login, row.customer, row.server, row.klass, str(row.state), str(row.effective))
    return (*facts, iso(row.since), iso(row.until), row.reason, row.case_id or "")


def _complaint(row: ComplaintRow) -> tuple[str, ...]:
    counted = "yes" if row.counted else "no"
    facts = (
        row.id,
        iso(row.at),
        row.feedback_type,
        row.grade,
        counted,
        row.login,
        row.customer,
        row.reporter,
    )
    return (*facts, row.message_id, iso(row.sent_at), row.why)


async def _lines(
    desk: Desk, header: Sequence[str], page: Callable[[Connection, Any], tuple[list[Any], Any]], row: Any
) -> AsyncIterator[str]:
    """Yield the file; the store is read a page at a time, so that a long list costs little memory."""
    yield line(header)
    place, written = None, 0
    while written < MOST_LINES:
        at = place
        rows, place = await desk.store.query(lambda tx: page(tx, at))  # noqa: B023 - awaited at once
        yield "".join(line(row(one)) for one in rows)
        written += len(rows)
        if len(rows) < MOST_ROWS:
            return


async def _file(desk: Desk, visitor: Visitor, name: str, lines: AsyncIterator[str]) -> Response:
    now = desk.now()
    await desk.store.write(lambda tx: audit.append(tx, now, visitor.mark, "exported", f"{name}.csv"))
    headers = {"content-disposition": f'attachment; filename="gatepost-{name}.csv"'}
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/accounts.csv")
async def accounts_file(
    visitor: Staff, desk: DeskOf, sought: Annotated[Sought, Depends(sought_accounts)]
) -> Response:
    """Return the accounts that the list shows, all pages."""
    visitor.needs(May.EXPORT)

    def page(tx: Connection, after: str | None) -> tuple[list[AccountRow], str]:
        rows = views.accounts(tx, sought, limit=MOST_ROWS, after=after or "")
        return rows, rows[-1].login if rows else ""

    return await _file(desk, visitor, "accounts", _lines(desk, _ACCOUNT, page, _account))


@router.get("/complaints.csv")
async def complaints_file(
    visitor: Staff, desk: DeskOf, sought: Annotated[Sought, Depends(sought_complaints)]
) -> Response:
    """Return the complaints that the list shows, all pages."""
    visitor.needs(May.EXPORT)

    def page(
        tx: Connection, cursor: tuple[int, str] | None
    ) -> tuple[list[ComplaintRow], tuple[int, str] | None]:
        rows = findings.complaints(tx, sought, limit=MOST_ROWS, cursor=cursor)
        behind = shapes.Page(cursor=shapes.cursor(rows[-1].at, rows[-1].id)).place() if rows else None
        return rows, behind

    return await _file(desk, visitor, "complaints", _lines(desk, _COMPLAINT, page, _complaint))
