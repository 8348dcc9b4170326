"""What the console and the API read of complaints, decisions and the audit log; nothing here writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from relay.clock import moment
from relay.model import Level
from relay.store.listing import narrow, older
from relay.store.rows import moment_or_none
from relay.store.schema import account, audit, complaint, customer, decision, server
from relay.store.viewed import MOST_ROWS, AuditRow, CaseRow, ComplaintRow, Sought

if TYPE_CHECKING:
    from sqlalchemy import Connection


def _complaint_query() -> Select[Any]:
    return (
        select(complaint, account.c.login, customer.c.name.label("customer"))
        .outerjoin(account, account.c.id == complaint.c.account_id)
        .outerjoin(customer, customer.c.id == complaint.c.customer_id)
        .order_by(complaint.c.at_us.desc(), complaint.c.id.desc())
    )


def _complaints(tx: Connection, query: Select[Any]) -> list[ComplaintRow]:
    return [
        ComplaintRow(
            row["id"],
            moment(row["at_us"]),
            row["feedback_type"],
            row["grade"],
            row["reporter"],
            row["login"] or "",
            row["customer"] or "",
            row["message_id"] or "",
            moment_or_none(row["sent_us"]),
            row["counted"],
            row["why"],
        )
        for row in tx.execute(query).mappings()
    ]


def complaints(
    tx: Connection,
    sought: Sought,
    *,
    limit: int = 50,
    cursor: tuple[int, str] | None = None,
    only: int | None = None,
) -> list[ComplaintRow]:
    """Return complaints, newest first; `login`, `grade`, `counted` and `reporter` narrow them."""
    query = narrow(
        _complaint_query().limit(min(limit, MOST_ROWS)),
        older(complaint, complaint.c.id, cursor),
        # a customer's name alone may differ from the account's in rows that nobody could attribute
        or_(account.c.customer_id == only, and_(account.c.id.is_(None), complaint.c.customer_id == only))
        if only is not None
        else None,
        account.c.login_key == sought.login.lower() if sought.login else None,
        complaint.c.grade == sought.grade if sought.grade else None,
        complaint.c.counted.is_(sought.counted) if sought.counted is not None else None,
        complaint.c.reporter == sought.reporter.lower() if sought.reporter else None,
    )
    return _complaints(tx, query)


def complaints_about(tx: Connection, message_id: str) -> list[ComplaintRow]:
    """Return the complaints about one message, newest first."""
    return _complaints(tx, _complaint_query().where(complaint.c.message_id == message_id).limit(50))


def _case_query() -> Select[Any]:
    """Select decisions with the name of their subject and the customer it belongs to, whatever the level."""
    of_account = and_(decision.c.level == Level.ACCOUNT, account.c.id == decision.c.subject_id)
    of_server = and_(decision.c.level == Level.SERVER, server.c.id == decision.c.subject_id)
    of_customer = and_(decision.c.level == Level.CUSTOMER, customer.c.id == decision.c.subject_id)
    return (
        select(
            decision,
            func.coalesce(account.c.login, server.c.name, customer.c.name, "").label("subject"),
            func.coalesce(account.c.customer_id, server.c.customer_id, customer.c.id).label("owner_id"),
        )
        .outerjoin(account, of_account)
        .outerjoin(server, of_server)
        .outerjoin(customer, of_customer)
    )


def _case(row: Any) -> CaseRow:
    return CaseRow(
        row["case_id"],
        moment(row["at_us"]),
        Level(row["level"]),
        row["subject"],
        row["step"],
        row["from_state"],
        row["to_state"],
        moment_or_none(row["until_us"]),
        row["reason"],
        row["set_by"],
        row["evidence"] or {},
    )


def _owned(only: int | None) -> ColumnElement[bool] | None:
    if only is None:
        return None
    return func.coalesce(account.c.customer_id, server.c.customer_id, customer.c.id) == only


def cases(
    tx: Connection,
    sought: Sought,
    *,
    limit: int = 50,
    cursor: tuple[int, str] | None = None,
    only: int | None = None,
    subject: tuple[Level, int] | None = None,
) -> list[CaseRow]:
    """Return decisions, newest first, by the state decided on, by who decided, or of one subject."""
    by_policy = decision.c.set_by.like("policy%")
    query = narrow(
        _case_query(),
        older(decision, decision.c.case_id, cursor),
        _owned(only),
        decision.c.to_state == sought.state if sought.state else None,
        (by_policy if sought.set_by == "policy" else ~by_policy) if sought.set_by else None,
        and_(decision.c.level == subject[0], decision.c.subject_id == subject[1]) if subject else None,
    )
    query = query.order_by(decision.c.at_us.desc(), decision.c.case_id.desc()).limit(min(limit, MOST_ROWS))
    return [_case(row) for row in tx.execute(query).mappings()]


def case_by_id(tx: Connection, case_id: str, *, only: int | None = None) -> CaseRow | None:
    """Return one decision, or None where there is none for the one who asks."""
    query = narrow(_case_query().where(decision.c.case_id == case_id), _owned(only))
    row = tx.execute(query).mappings().first()
    return None if row is None else _case(row)


def audit_entries(
    tx: Connection, sought: Sought, *, limit: int = 50, before: int | None = None
) -> list[AuditRow]:
    """Return the audit log, newest first, from below the number `before`."""
    query = narrow(
        select(audit).order_by(audit.c.seq.desc()).limit(min(limit, MOST_ROWS)),
        audit.c.seq < before if before is not None else None,
        audit.c.who == sought.who if sought.who else None,
        audit.c.action == sought.action if sought.action else None,
        audit.c.object == sought.object if sought.object else None,
    )
    return [
        AuditRow(
            row["seq"],
            moment(row["at_us"]),
            row["who"],
            row["action"],
            row["object"],
            row["reason"],
            row["details"],
        )
        for row in tx.execute(query).mappings()
    ]
