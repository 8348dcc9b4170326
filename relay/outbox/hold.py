"""What staff do with waiting and held mail: release, delete, retry, look. Each leaves an audit entry.

Synchronous, in the caller's transaction: the command line and the console use the same. Files of deleted mail
are removed by the caller after the commit (`Done.files`).
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from relay.clock import micros
from relay.errors import NotFound, StoreError
from relay.model import AccountClass
from relay.outbox.bounce import Kind
from relay.outbox.envelope import Fate, WaitingEnvelope
from relay.outbox.parcel import Why
from relay.outbox.spool import BodyLost
from relay.store import accounts, audit, campaigns, journal, paces, suppression
from relay.store import outbox as rows
from relay.store.outbox import Row, State

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from relay.outbox.report import Reports

#: One field of those that we write, with its folded lines.
_OURS = re.compile(
    rb"(?:received|dkim-signature|cfbl-address|cfbl-feedback-id|feedback-id|x-gatepost-[^:]*|x-spam-[^:]*)"
    rb":[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*",
    re.IGNORECASE,
)
SUPPRESSED = "Mail to this address is suppressed"
CANCELLED = "Your provider cancelled the delivery"


@dataclass(slots=True)
class Done:
    """What a deed came to, message by message."""

    ids: list[str] = field(default_factory=list)
    #: not (any more) in the state that the deed needs, or damaged
    skipped: list[str] = field(default_factory=list)
    #: bodies to remove after the commit
    files: list[str] = field(default_factory=list)
    #: what was deleted, for a digest
    deleted: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Deed:
    """Who acts, when and why."""

    who: str
    now: datetime
    reason: str


def release(tx: Connection, deed: Deed, reports: Reports, ids: Sequence[str]) -> Done:
    """Let held mail go: it is delivered at once, with a full lifetime from now.

    Recipients that are suppressed by now are given up, and the sender is told; the sender's standing is asked
    at delivery. Mail that was set aside is let go too.
    """
    done = Done()
    schedule = reports.schedule
    for number in ids:
        row = rows.take_over(tx, number, State.HELD) or rows.take_over(tx, number, State.POISON)
        if row is None:
            done.skipped.append(number)
            continue
        try:
            envelope = _without_suppressed(tx, deed.now, reports, row)
        except StoreError:  # damaged, or its key is not here: the others go on
            done.skipped.append(number)
            continue
        done.ids.append(number)
        campaigns.acquit(tx, deed.now, number)
        if not envelope.waiting:
            rows.finish(tx, row)
            done.files += [number] if row.in_file else []
            continue
        rows.settle(
            tx,
            row,
            state=State.WAITING,
            reason=Why.QUEUE,
            at_us=micros(deed.now),
            next_us=micros(deed.now),
            deadline_us=micros(deed.now + min(schedule.delay_notice, schedule.lifetime)),
            envelope=envelope.seal(reports.keyring, number),
            recipients=len(envelope.waiting),
            deaths=0,
        )
        journal.amend(tx, number, outcome="queued")
    _note(tx, deed, "held.release", done.ids)
    return done


def let_go(tx: Connection, deed: Deed, ids: Sequence[str]) -> Done:
    """Let waiting mail go whatever its sender's standing is: staff know it to be good."""
    done = Done()
    for number in ids:
        row = rows.take_over(tx, number, State.WAITING, idle_us=micros(deed.now))
        if row is None or row.reason in (Why.REPORT, Why.RETURNED):
            done.skipped.append(number)
            continue
        rows.settle(tx, row, reason=Why.RELEASED, next_us=micros(deed.now))
        done.ids.append(number)
    _note(tx, deed, "outbox.release", done.ids)
    return done


def lesson(body: bytes) -> bytes:
    """Return a message as its sender wrote it, without the lines that we put on top: for teaching."""
    start = 0
    while ours := _OURS.match(body, start):
        start = ours.end()
    return body[start:]


def lessons(tx: Connection, reports: Reports, ids: Sequence[str]) -> dict[str, bytes]:
    """Return messages as their senders wrote them, by id; one whose body is lost teaches nothing."""
    found: dict[str, bytes] = {}
    for number in ids:
        row = rows.get(tx, number)
        if row is not None:
            with suppress(BodyLost):
                found[number] = lesson(content(tx, reports, row))
    return found


def _without_suppressed(tx: Connection, now: datetime, reports: Reports, row: Row) -> WaitingEnvelope:
    """Return the envelope without those who may not be written to any more; the sender is told of them."""
    envelope = WaitingEnvelope.unseal(reports.keyring, row.id, row.envelope)
    hashes = {one: reports.keyring.recipient_hash(row.customer_id, one.address) for one in envelope.waiting}
    refused = _suppressed(tx, now, row, list(hashes.values())) if hashes else {}
    if not refused:
        return envelope
    fates = [
        one.became(Fate.FAILED, "5.7.1", SUPPRESSED) if hashes[one] in refused else one for one in hashes
    ]
    failed = replace(envelope, recipients=tuple(one for one in fates if not one.waits))
    for report, body in reports.about(row, failed, content(tx, reports, row), (Kind.FAILURE,), now):
        rows.add(tx, report, body)
    return envelope.with_fates(fates)


def _suppressed(tx: Connection, now: datetime, row: Row, hashes: Sequence[bytes]) -> dict[bytes, str]:
    try:
        listed = accounts.account_by_id(tx, row.account_id).klass in (AccountClass.BULK, AccountClass.LIST)
    except NotFound:
        listed = True  # the account is gone: the stricter way
    return suppression.held(tx, now, row.customer_id, hashes, listed=listed)


def content(tx: Connection, reports: Reports, row: Row) -> bytes:
    """Return the body of a message; BodyLost if it is gone. Who shows it to a person calls `look`."""
    if row.in_file:
        return reports.spool.load(row.id)
    return reports.spool.open(row.id, rows.body(tx, row.id) or b"")


def delete(tx: Connection, deed: Deed, ids: Sequence[str], *, as_spam: bool = True) -> Done:
    """Delete waiting or held mail without telling its senders one by one (see `digest`).

    Held mail teaches that its text is spam, unless it goes for another reason.
    """
    done = Done()
    for number in ids:
        row = _take(tx, number)
        if row is None or not rows.finish(tx, row):
            done.skipped.append(number)
            continue
        if as_spam and row.state == State.HELD:
            campaigns.condemn(tx, deed.now, number)
        done.ids.append(number)
        done.files += [number] if row.in_file else []
        done.deleted.append(row)
    paces.forget(tx, {row.account_id for row in done.deleted})
    _note(tx, deed, "outbox.delete", done.ids)
    return done


def digest(tx: Connection, deed: Deed, reports: Reports, deleted: Sequence[Row]) -> None:
    """Tell each account once about all its mail that was deleted."""
    by_account: dict[int, list[Row]] = {}
    for row in (row for row in deleted if row.reason not in (Why.REPORT, Why.RETURNED)):
        by_account.setdefault(row.account_id, []).append(row)
    for account_id, login in accounts.logins(tx, by_account).items():
        for row, body in reports.digest(by_account[account_id], login, deed.now):
            rows.add(tx, row, body)


def bounce(tx: Connection, deed: Deed, reports: Reports, ids: Sequence[str]) -> Done:
    """Give mail up and report it to its senders; what is on its way at this moment is left alone."""
    done = Done()
    for number in ids:
        row = _take(tx, number, idle_us=micros(deed.now))
        if row is None:
            done.skipped.append(number)
            continue
        try:
            envelope = WaitingEnvelope.unseal(reports.keyring, row.id, row.envelope)
            body = content(tx, reports, row)
        except StoreError:  # nobody can be told of it: it can only be deleted
            done.skipped.append(number)
            continue
        fates = tuple(one.became(Fate.FAILED, "5.7.1", one.reply or CANCELLED) for one in envelope.waiting)
        failed = replace(envelope, recipients=fates)
        for report, sealed in reports.about(row, failed, body, (Kind.FAILURE,), deed.now):
            rows.add(tx, report, sealed)
        rows.finish(tx, row)
        done.ids.append(number)
        done.files += [number] if row.in_file else []
    _note(tx, deed, "outbox.bounce", done.ids)
    return done


def _take(tx: Connection, number: str, idle_us: int | None = None) -> Row | None:
    found = (rows.take_over(tx, number, state, idle_us=idle_us) for state in State)
    return next((row for row in found if row is not None), None)


def retry(tx: Connection, deed: Deed, ids: Sequence[str]) -> Done:
    """Try waiting mail at once, whatever back-off and breakers say; set-aside mail gets three lives again."""
    done = Done()
    for number in ids:
        row = rows.take_over(tx, number, State.POISON)
        if row is not None:
            rows.settle(tx, row, state=State.WAITING, deaths=0)
        (done.ids if rows.hurry(tx, [number]) else done.skipped).append(number)
    _note(tx, deed, "outbox.retry", done.ids)
    return done


def _note(tx: Connection, deed: Deed, action: str, ids: Sequence[str]) -> None:
    if len(ids) == 1:
        audit.append(tx, deed.now, deed.who, action, f"message {ids[0]}", deed.reason)
    elif ids:
        details = {"messages": list(ids[:1000]), "count": len(ids)}
        audit.append(tx, deed.now, deed.who, action, f"{len(ids)} messages", deed.reason, details)


def look(tx: Connection, deed: Deed, reports: Reports, number: str) -> bytes:
    """Return the content of a message; who looked and why is audited, for the customer to see. NotFound."""
    row = rows.get(tx, number)
    if row is None:
        raise NotFound(f"no waiting message {number}")
    note_look(tx, deed, row)
    return content(tx, reports, row)


def note_look(tx: Connection, deed: Deed, row: Row) -> None:
    """Write down that somebody looks at a message or at whom it is for; its customer can see that."""
    audit.append_look(tx, deed.now, deed.who, f"message {row.id}", deed.reason, row.customer_id)
