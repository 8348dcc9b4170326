"""`outbox`: mail that waits for its server, and what `held` shares with it."""

from __future__ import annotations

import getpass
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import click

from relay import clock
from relay.clock import micros, moment
from relay.commands.context import (
    REFUSED,
    Context,
    Group,
    emit,
    fail,
    json_option,
    pass_context,
    reporting_errors,
    show,
    table,
)
from relay.errors import NotFound
from relay.log import nameless
from relay.outbox import hold, queue
from relay.outbox.envelope import WaitingEnvelope
from relay.store import accounts
from relay.store import outbox as rows
from relay.store.outbox import Filter, Row, State
from relay.values import parse_duration, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from relay.outbox.report import Reports

    Learn = Callable[[Sequence[bytes]], None]

F = TypeVar("F", bound="Callable[..., object]")
CHUNK = 100


def reports_of(context: Context) -> Reports:
    """Return what deeds on waiting mail need."""
    return queue.reports_of(context.config, context.keyring)


def filters(command: F) -> F:
    """Add the options that choose messages; all given ones must hold."""
    options = (
        click.option("--account", metavar="LOGIN", help="Of this account."),
        click.option("--customer", metavar="NAME", help="Of this customer."),
        click.option("--server", metavar="NAME", help="For this customer's server (the destination)."),
        click.option("--older", metavar="AGE", help="Waiting for longer than this, as 6h or 2d."),
        click.option("--rule", metavar="RULE", help="On which this rule hit."),
        click.option("--campaign", metavar="HASH", help="With this body (see `show`)."),
        click.option("--score", type=float, metavar="POINTS", help="With at least this score."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _filter(tx: Connection, state: str | None, given: dict[str, Any]) -> Filter:
    """Return what the options choose; NotFound for unknown names."""
    chosen = Filter(state=state, campaign=given["campaign"], rule=given["rule"], least_score=given["score"])
    if given["account"]:
        chosen = replace(chosen, account_id=accounts.account(tx, given["account"]).id)
    if given["customer"]:
        chosen = replace(chosen, customer_id=accounts.customer(tx, given["customer"]).id)
    if given["server"]:
        if ":" in given["server"]:
            raise click.UsageError(
                "--server takes the name of a server (see `gatepost server list`), no HOST:PORT"
            )
        chosen = replace(chosen, server_id=accounts.server(tx, given["server"]).id)
    if given["older"]:
        chosen = replace(chosen, older_than_us=micros(clock.now() - _age(given["older"])))
    # what comes in while a command runs is not chosen: neither new mail nor the reports it makes
    return chosen if chosen.older_than_us else replace(chosen, older_than_us=micros(clock.now()))


def _age(text: str) -> Any:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--older") from None


def _json(context: Context, tx: Connection, found: Sequence[Row]) -> list[dict[str, Any]]:
    settings = context.config.outbox
    ends = {State.HELD: timedelta(days=settings.hold_days)}
    logins = accounts.logins(tx, {row.account_id for row in found})
    customers = {customer.id: customer.name for customer in accounts.customers(tx)}
    return [
        {
            "id": row.id,
            "state": row.state,
            "reason": row.reason,
            "login": logins.get(row.account_id, "-"),
            "customer": customers.get(row.customer_id, "-"),
            "at": moment(row.at_us).isoformat(),
            "next": _next(row),
            "ends": (moment(row.at_us) + ends.get(State(row.state), settings.lifetime)).isoformat(),
            "attempts": row.attempts,
            "size": row.size,
            "recipients": row.recipients,
            "last": row.last,
            "score": row.score,
            "rules": [hit.get("rule") for hit in row.hits],
            "campaign": row.campaign,
        }
        for row in found
    ]


#: what a list shows: of mail that staff decide about, and of mail that waits for a server
_HELD = ("id", "login", "at", "ends", "recipients", "score", "rules")
_WAITING = ("id", "state", "reason", "login", "at", "attempts", "recipients", "score", "last")


def _next(row: Row) -> str | None:
    """Say when a message is tried next: now, at a time, or only when staff say so."""
    if row.state != State.WAITING:
        return None
    return "now" if row.next_us == rows.URGENT else moment(row.next_us).isoformat()


def print_list(context: Context, state: str | None, limit: int, as_json: bool, given: dict[str, Any]) -> None:
    """Print the messages that the options choose, oldest first."""
    with context.read() as tx:
        found = _json(context, tx, rows.page(tx, _filter(tx, state, given), limit=limit))
    if as_json:
        for item in found:
            emit(item)
        return
    columns = _HELD if state == State.HELD else _WAITING
    for item in found:
        item["rules"] = " ".join(item["rules"])
    cells = [tuple(str(item[column])[:60] for column in columns) for item in found]
    click.echo("\n".join(table(cells, columns)))


def _hit(hit: Mapping[str, Any]) -> str:
    """Say what a rule added and what it saw, as `explain` does."""
    return f"{hit.get('score', 0.0):+.2f} {hit.get('rule')}: {hit.get('evidence', '')}"


def print_one(context: Context, number: str, as_json: bool, reason: str = "") -> None:
    """Print one message; whom it is for in full for a reason only, and that look is audited."""
    with context.begin() if reason else context.read() as tx:
        row = rows.get(tx, number)
        if row is None:
            raise NotFound(f"no waiting message {number}")
        facts = _json(context, tx, [row])[0]
        if reason:
            hold.note_look(tx, deed_of(reason), row)
    envelope = WaitingEnvelope.unseal(context.keyring, row.id, row.envelope)
    facts["sender"] = envelope.sender
    facts["hits"] = list(row.hits) if as_json else "\n".join(map(_hit, row.hits))
    people = [
        {
            "address": o.address if reason else f"…@{o.address.rpartition('@')[2]}",
            "fate": str(o.fate), "status": o.status, "reply": o.reply if reason else nameless(o.reply),
        }
        for o in envelope.recipients
    ]  # fmt: skip
    facts["recipients"] = people if as_json else "\n".join(
        f"{o['address']}  {o['fate']}  {o['reply']}" for o in people
    )  # fmt: skip
    show(facts, as_json)


def chosen_groups(
    context: Context, ids: Sequence[str], state: str | None, everything: bool, given: dict[str, Any]
) -> Iterator[list[str]]:
    """Yield the named messages, or those that the options choose, in groups of one transaction each.

    Says on stderr how many there are, where they are many.
    """
    if ids:
        yield from ([*ids[start : start + CHUNK]] for start in range(0, len(ids), CHUNK))
        return
    if not everything and not any(value is not None for value in given.values()):
        fail("name messages, or choose them by options, or say --all", 2)
    with context.read() as tx:
        chosen = _filter(tx, state, given)
        number = rows.count(tx, chosen)
    if number > CHUNK:
        click.echo(f"{plural(number, 'message')}{' at most' if chosen.rule else ''}", err=True)
    after = ""
    while True:
        with context.read() as tx:
            found = rows.page(tx, chosen, after, CHUNK)
        if not found:
            return
        after = found[-1].id
        yield [row.id for row in found]


def in_groups(
    context: Context,
    groups: Iterator[list[str]],
    deed: Callable[[Connection, list[str]], hold.Done],
    as_json: bool,
    digest: str | None = None,
    learn: Learn | None = None,
) -> None:
    """Do it group by group, saying how far it is; a message that is gone meanwhile is named, not an error.

    `digest`: the reason to name where each account is told once of all its deleted mail. `learn`: what takes
    the bodies, read before the deed, of the messages that it was done to.
    """
    total = hold.Done()
    reports = reports_of(context)
    for group in groups:
        with context.begin() as tx:
            lessons = hold.lessons(tx, reports, group) if learn else {}
            done = deed(tx, group)
        if learn:
            learn([lessons[number] for number in done.ids if number in lessons])
        for number in done.files:
            reports.spool.remove(number)
        total.ids += done.ids
        total.skipped += done.skipped
        total.deleted += done.deleted
        if len(total.ids) > CHUNK:
            click.echo(f"{len(total.ids)} done", err=True)
    if digest is not None:
        with context.begin() as tx:
            hold.digest(tx, deed_of(digest), reports, total.deleted)
    if as_json:
        emit({"done": total.ids, "skipped": total.skipped})
    else:
        click.echo(
            f"{len(total.ids)} done"
            + (f", gone or on its way: {', '.join(total.skipped)}" if total.skipped else "")
        )
    named = click.get_current_context().params["ids"]
    if named and not total.ids:  # what options choose may go its way before it is reached
        raise SystemExit(REFUSED)


def deed_of(reason: str) -> hold.Deed:
    """Return who acts now, for the audit log."""
    return hold.Deed(f"staff:{getpass.getuser()}", clock.now(), reason)


ids_option = click.argument("ids", nargs=-1, metavar="[ID…]")
all_option = click.option("--all", "everything", is_flag=True, help="All of them.")
reason_option = click.option("--reason", default="", metavar="TEXT", help="Why, for the audit log.")
limit_option = click.option(
    "--limit", default=200, show_default=True, type=click.IntRange(1, 100_000), help="At most so many."
)


@click.group(cls=Group)
def outbox() -> None:
    """Mail that waits for its server."""


@outbox.command("list")
@click.option("--state", type=click.Choice([str(state) for state in State]), help="Only in this state.")
@filters
@limit_option
@json_option
@pass_context
@reporting_errors
def list_waiting(context: Context, /, state: str | None, limit: int, as_json: bool, **given: Any) -> None:
    """List waiting, held and set-aside mail, oldest first; --json prints a line each."""
    print_list(context, state, limit, as_json, given)


@outbox.command("show")
@click.argument("number", metavar="ID")
@reason_option
@json_option
@pass_context
@reporting_errors
def show_waiting(context: Context, number: str, reason: str, as_json: bool) -> None:
    """Show one message and what became of each recipient; their addresses for a --reason only (audited)."""
    print_one(context, number, as_json, reason.strip())


@outbox.command("retry")
@ids_option
@all_option
@filters
@reason_option
@json_option
@pass_context
@reporting_errors
def retry_waiting(
    context: Context, /, ids: tuple[str, ...], everything: bool, reason: str, as_json: bool, **given: Any
) -> None:
    """Try mail now, whatever back-off and breakers say."""
    groups = chain.from_iterable(
        chosen_groups(context, ids, state, everything, given)
        for state in ((None,) if ids else (State.WAITING, State.POISON))
    )
    in_groups(context, groups, lambda tx, some: hold.retry(tx, deed_of(reason), some), as_json)


@outbox.command("release")
@ids_option
@all_option
@filters
@reason_option
@json_option
@pass_context
@reporting_errors
def release_waiting(
    context: Context, /, ids: tuple[str, ...], everything: bool, reason: str, as_json: bool, **given: Any
) -> None:
    """Let mail go now although its sender is throttled or may not send: you know it to be good."""
    groups = chosen_groups(context, ids, State.WAITING, everything, given)
    in_groups(context, groups, lambda tx, some: hold.let_go(tx, deed_of(reason), some), as_json)


@outbox.command("cancel")
@ids_option
@all_option
@filters
@reason_option
@click.option("--bounce", is_flag=True, help="Report each message to its sender.")
@click.option("--digest", is_flag=True, help="Send each account one note about all of them.")
@json_option
@pass_context
@reporting_errors
def cancel_waiting(
    context: Context, /, ids: tuple[str, ...], everything: bool, reason: str, bounce: bool, digest: bool,
    as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Delete mail; senders are not told unless asked for."""
    reports = reports_of(context)
    groups = chosen_groups(context, ids, None, everything, given)

    def deed(tx: Connection, some: list[str]) -> hold.Done:
        if bounce:
            return hold.bounce(tx, deed_of(reason), reports, some)
        return hold.delete(tx, deed_of(reason), some)

    in_groups(context, groups, deed, as_json, reason if digest else None)
