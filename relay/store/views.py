"""What the console and the API read: lists with bounded length, and counts for charts. Nothing here writes.

`only` is a customer's id: outside of it no row exists for the one who asks (None: staff).
No view knows recipients or subjects; the store does not either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Select, case, func, or_, select

from relay.clock import micros, moment
from relay.model import Level, State
from relay.store.listing import like, narrow, older
from relay.store.rows import moment_or_none
from relay.store.schema import (
    account,
    complaint,
    customer,
    message,
    server,
    waiting_report,
)
from relay.store.viewed import (
    MOST_ROWS,
    AccountRow,
    GroupRow,
    MessageRow,
    Situation,
    Sought,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection


#: everything that binds an account: each level's switch, and its owner's own
_SWITCHES = ("state", "own_state", "server_state", "server_own", "customer_state", "customer_own")


def _strictest(*states: str) -> State:
    return max((State(state) for state in states), key=lambda state: state.severity)


# --- accounts, servers, customers


def accounts(
    tx: Connection, sought: Sought, *, limit: int = 50, after: str = "", only: int | None = None
) -> list[AccountRow]:
    """Return accounts by login, from behind the login `after`; `q` finds parts of login or customer."""
    query = (
        select(
            account,
            customer.c.name.label("customer"),
            server.c.name.label("server"),
            server.c.state.label("server_state"),
            customer.c.state.label("customer_state"),
            server.c.own_state.label("server_own"),
            customer.c.own_state.label("customer_own"),
        )
        .join(customer, customer.c.id == account.c.customer_id)
        .join(server, server.c.id == account.c.server_id)
        .order_by(account.c.login_key)
        .limit(min(limit, MOST_ROWS))
    )
    pattern = like(sought.q.strip().lower())
    query = narrow(
        query,
        account.c.customer_id == only if only is not None else None,
        account.c.login_key > after.lower() if after else None,
        or_(
            account.c.login_key.like(pattern, escape="!"),
            func.lower(customer.c.name).like(pattern, escape="!"),
        )
        if sought.q.strip()
        else None,
        _in_state(sought.state),
        account.c.klass == sought.klass if sought.klass else None,
        customer.c.name == sought.customer if sought.customer else None,
    )
    return [
        AccountRow(
            row["id"],
            row["login"],
            row["customer"],
            row["server"],
            row["klass"],
            State(row["state"]),
            _strictest(*(row[name] for name in _SWITCHES)),
            moment(row["since_us"]),
            moment_or_none(row["until_us"]),
            row["reason"],
            row["case_id"],
            row["set_by"],
        )
        for row in tx.execute(query).mappings()
    ]


def _in_state(state: str) -> ColumnElement[bool] | None:
    """Return what finds accounts by their own state; `stopped` means every one but active."""
    if not state:
        return None
    return account.c.state != State.ACTIVE if state == "stopped" else account.c.state == state


def groups(
    tx: Connection, level: Level, *, q: str = "", limit: int = 50, only: int | None = None
) -> list[GroupRow]:
    """Return customers or servers by name, each with its number of accounts, and of those not active."""
    table = customer if level is Level.CUSTOMER else server
    link = account.c.customer_id if level is Level.CUSTOMER else account.c.server_id
    counted = (
        select(
            link.label("id"),
            func.count().label("accounts"),
            func.sum(case((account.c.state != State.ACTIVE, 1), else_=0)).label("stopped"),
        )
        .group_by(link)
        .subquery()
    )
    query = select(table, customer.c.name.label("customer"), counted.c.accounts, counted.c.stopped)
    query = query.select_from(table).outerjoin(counted, counted.c.id == table.c.id)
    if level is Level.SERVER:
        query = query.join(customer, customer.c.id == server.c.customer_id)
    mine = customer.c.id == only if only is not None else None
    wanted = func.lower(table.c.name).like(like(q.strip().lower()), escape="!") if q.strip() else None
    query = narrow(query.order_by(table.c.name).limit(min(limit, MOST_ROWS)), mine, wanted)
    return [
        GroupRow(
            row["id"],
            row["name"],
            row["customer"],
            State(row["state"]),
            moment(row["since_us"]),
            moment_or_none(row["until_us"]),
            row["reason"],
            row["case_id"],
            row["set_by"],
            row["standing_version"],
            int(row["accounts"] or 0),
            int(row["stopped"] or 0),
        )
        for row in tx.execute(query).mappings()
    ]


# --- journal


def _message_query() -> Select[Any]:
    return (
        select(message, account.c.login, customer.c.name.label("customer"))
        .outerjoin(account, account.c.id == message.c.account_id)
        .outerjoin(customer, customer.c.id == message.c.customer_id)
    )


def _message(row: Any) -> MessageRow:
    return MessageRow(
        row["id"],
        moment(row["at_us"]),
        row["login"] or "",
        row["customer"] or "",
        row["action"],
        row["outcome"],
        row["score"],
        tuple(row["hits"] or ()),
        row["malformed"],
        row["reply_code"],
        row["reply_text"],
        row["size"],
        row["recipient_count"],
        row["client_network"],
        tuple(row["unanswered"] or ()),
        row["ruleset"],
        dict(row["stages"] or {}),
    )


def messages(
    tx: Connection,
    account_id: int,
    *,
    limit: int = 50,
    cursor: tuple[int, str] | None = None,
    action: str = "",
) -> list[MessageRow]:
    """Return an account's messages, newest first, from behind the cursor (at_us, id)."""
    query = _message_query().where(message.c.account_id == account_id)
    query = narrow(
        query, older(message, message.c.id, cursor), message.c.action == action if action else None
    )
    query = query.order_by(message.c.at_us.desc(), message.c.id.desc()).limit(min(limit, MOST_ROWS))
    return [_message(row) for row in tx.execute(query).mappings()]


def message_by_id(tx: Connection, message_id: str, *, only: int | None = None) -> MessageRow | None:
    """Return one message, or None where there is none for the one who asks."""
    query = _message_query().where(message.c.id == message_id)
    row = (
        tx.execute(narrow(query, message.c.customer_id == only if only is not None else None))
        .mappings()
        .first()
    )
    return None if row is None else _message(row)


def series(
    tx: Connection,
    start: datetime,
    end: datetime,
    step_seconds: int,
    *,
    account_id: int | None = None,
    only: int | None = None,
) -> dict[tuple[int, str], int]:
    """Return how many messages had which decision, by the start of each step (whole seconds since 1970)."""
    step_us = step_seconds * 1_000_000
    bucket = (message.c.at_us - message.c.at_us % step_us).label("bucket")
    query = (
        select(bucket, message.c.action, func.count())
        .where(message.c.at_us >= micros(start), message.c.at_us < micros(end))
        .group_by(bucket, message.c.action)
    )
    query = narrow(
        query,
        message.c.account_id == account_id if account_id is not None else None,
        message.c.customer_id == only if only is not None else None,
    )
    return {(start_us // 1_000_000, action): count for start_us, action, count in tx.execute(query)}


def situation(tx: Connection, since: datetime, *, only: int | None = None) -> Situation:
    """Count what the overview shows beside the chart."""
    mine = account.c.customer_id == only if only is not None else None
    states = tx.execute(narrow(select(account.c.state, func.count()), mine).group_by(account.c.state))
    recent = complaint.c.at_us >= micros(since)
    theirs = complaint.c.customer_id == only if only is not None else None
    grades = narrow(select(complaint.c.grade, complaint.c.counted, func.count()).where(recent), theirs)
    rows: Sequence[Any] = tx.execute(grades.group_by(complaint.c.grade, complaint.c.counted)).all()
    by_grade: dict[str, int] = {}
    for grade, _, count in rows:
        by_grade[grade] = by_grade.get(grade, 0) + count
    waiting = (
        0 if only is not None else tx.execute(select(func.count()).select_from(waiting_report)).scalar_one()
    )
    return Situation(
        {row[0]: row[1] for row in states},
        by_grade,
        sum(count for _, counted, count in rows if counted),
        waiting,
    )
