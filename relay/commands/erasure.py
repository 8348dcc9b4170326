"""`account erase`: everything that is kept of one account goes; the audit log keeps a pseudonym."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from relay import clock
from relay.commands.context import Context, emit, fail, json_option, pass_context, reporting_errors
from relay.commands.outbox import CHUNK, deed_of, reports_of
from relay.errors import Conflict
from relay.model import Level, State
from relay.outbox import hold
from relay.outbox.parcel import Why
from relay.store import accounts, compact, erasure, switch
from relay.store import outbox as rows
from relay.store.outbox import Filter
from relay.values import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.store.erasure import Names
    from relay.store.outbox import Row

#: After this every process knows that the account is closed, and what it had in hand is written down.
SETTLE_SECONDS = 2.0
#: How long reports of mail that is given up may take to leave.
REPORT_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 0.5


@click.command("erase")
@click.argument("login")
@click.option("--reason", required=True, help="For the audit log: name nobody in it.")
@click.option(
    "--waiting",
    type=click.Choice(["delete", "bounce"]),
    help="What becomes of mail of the account that still waits or is held; needed if there is any.",
)
@click.option(
    "--pack/--no-pack",
    default=True,
    help="Pack the database anew: writers wait about a second for 100 MB. Without it deleted bytes may stay.",
)
@json_option
@pass_context
@reporting_errors
def erase(context: Context, login: str, reason: str, waiting: str | None, pack: bool, as_json: bool) -> None:
    """Erase an account and everything kept of it, for good; its number is never given out again.

    The login is dead at once. Logins made at their first use (`--provision`) come back by it: delete the
    mailbox at the customer's server first. Backups keep what they hold until they are thrown away.
    """
    with context.read() as tx:
        account = accounts.account(tx, login)
        number = rows.count(tx, Filter(account_id=account.id))
    if number and waiting is None:
        fail(
            f"{plural(number, 'message')} of {login} still waiting: say --waiting delete or --waiting bounce"
        )
    deed = deed_of(reason)
    with context.begin() as tx:
        switch.set_by_staff(tx, deed.now, Level.ACCOUNT, login, State.CLOSED, reason=reason, who=deed.who)
    time.sleep(SETTLE_SECONDS)
    gone = _clear(context, account.id, reason, waiting)
    with context.read() as tx:
        names = erasure.names_of(tx, login)
    deleted = _forget(context, names)
    with context.begin() as tx:
        erasure.finish(
            tx, clock.now(), names, context.keyring,
            who=deed.who, reason=reason, waiting=f"{gone} {waiting or 'none'}",
        )  # fmt: skip
        left = erasure.left(tx, names)
    if pack:
        compact.pack(context.store.url)
    left += [str(path) for path in compact.found_in(context.store.url, names.names)]
    _tell(names, deleted, gone, left, as_json=as_json)


@click.command("pack")
@pass_context
@reporting_errors
def pack_store(context: Context) -> None:
    """Pack the database anew, so that nothing of deleted rows stays in its files; writers wait meanwhile."""
    compact.pack(context.store.url)
    click.echo("packed")


def _forget(context: Context, names: Names) -> int:
    """Delete what grew with the account's mail, a little at a time, and clean what others' rows say."""
    deleted = 0
    while True:
        with context.begin() as tx:
            some = erasure.forget_some(tx, names.number)
        if not some:
            break
        deleted += some
    with context.begin() as tx:
        return deleted + erasure.clean_words(tx, names)


def _clear(context: Context, number: int, reason: str, waiting: str | None) -> int:
    """Take away the mail of an account that waits and return how many; Conflict while some is left.

    To bounce is to tell its owner, and to wait until that has left.
    """
    reports, gone, bounced = reports_of(context), 0, waiting == "bounce"
    for some in _waiting(context, number, reported=bounced) if waiting else ():
        ids = [row.id for row in some]
        with context.begin() as tx:
            if bounced:
                done = hold.bounce(tx, deed_of(reason), reports, ids)
            else:
                done = hold.delete(tx, deed_of(reason), ids, as_spam=False)
        for file in done.files:
            reports.spool.remove(file)
        gone += len(done.ids)
    until = clock.monotonic() + (REPORT_SECONDS if bounced else 0.0)
    while left := _count(context, number):
        if clock.monotonic() > until:
            raise Conflict(
                f"{plural(left, 'message')} still waiting, though the account is closed: do it again later,"
                " or with --waiting delete"
            )
        time.sleep(_LOOK_AGAIN_SECONDS)
    return gone


def _count(context: Context, number: int) -> int:
    with context.read() as tx:
        return rows.count(tx, Filter(account_id=number))


def _waiting(context: Context, number: int, *, reported: bool) -> Iterator[list[Row]]:
    """Yield an account's waiting mail in groups; without our own reports where those are to leave."""
    after = ""
    while True:
        with context.read() as tx:
            found = rows.page(tx, Filter(account_id=number), after, CHUNK)
        if not found:
            return
        after = found[-1].id
        yield [row for row in found if not reported or row.reason not in (Why.REPORT, Why.RETURNED)]


def _tell(names: Names, deleted: int, gone: int, left: list[str], *, as_json: bool) -> None:
    if as_json:
        emit({"erased": names.pseudonym, "rows": deleted, "mail": gone, "left": left})
        return
    click.echo(
        f"erased; the audit log calls it {names.pseudonym}: "
        f"{plural(deleted, 'row')}, {plural(gone, 'waiting message')}"
    )
    for place in left:
        click.echo(f"still named in {place}", err=True)
