"""`outbox` and `held`: mail that waits, for its server or for staff."""

from __future__ import annotations

import getpass
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from relay import clock
from relay.clock import micros, moment
from relay.commands.context import (
    Context,
    emit,
    fail,
    json_option,
    pass_context,
    reporting_errors,
    show,
    table,
)
from relay.errors import NotFound
from relay.outbox import hold
from relay.outbox.envelope import WaitingEnvelope
from relay.outbox.queue import reports_of
from relay.store import accounts
from relay.store import outbox as rows
from relay.store.outbox import Filter, Row, State
from relay.values import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection

    from relay.outbox.report import Reports

F = TypeVar("F", bound="Callable[..., object]")
CHUNK = 100


def _reports(context: Context) -> Reports:
    return reports_of(context.config, context.keyring)


def _filters(command: F) -> F:
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


def _json(tx: Connection, found: Sequence[Row]) -> list[dict[str, Any]]:
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
            "next": "now" if row.next_us == rows.URGENT else moment(row.next_us).isoformat(),
            "deadline": moment(row.deadline_us).isoformat(),
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


def _print_list(
    context: Context, state: str | None, limit: int, as_json: bool, given: dict[str, Any]
) -> None:
    with context.read() as tx:
        found = _json(tx, rows.page(tx, _filter(tx, state, given), limit=limit))
    if as_json:
        for item in found:
            emit(item)
        return
    columns = ("id", "state", "reason", "login", "at", "attempts", "recipients", "score", "last")
    cells = [tuple(str(item[column])[:60] for column in columns) for item in found]
    click.echo("\n".join(table(cells, columns)))


def _print_one(context: Context, number: str, as_json: bool) -> None:
    with context.read() as tx:
        row = rows.get(tx, number)
        if row is None:
            raise NotFound(f"no waiting message {number}")
        facts = _json(tx, [row])[0]
    envelope = WaitingEnvelope.unseal(context.keyring, row.id, row.envelope)
    facts["sender"] = envelope.sender
    facts["hits"] = list(row.hits)
    people = [
        {"address": o.address, "fate": str(o.fate), "status": o.status, "reply": o.reply}
        for o in envelope.recipients
    ]
    facts["recipients"] = people if as_json else "\n".join(
        f"{'' if not n else ' ' * 13}{o['address']}  {o['fate']}  {o['reply']}" for n, o in enumerate(people)
    )  # fmt: skip
    show(facts, as_json)


def _chosen(
    context: Context, ids: Sequence[str], state: str | None, everything: bool, given: dict[str, Any]
) -> Iterator[list[str]]:
    """Yield the named messages, or those that the options choose, in groups of one transaction each."""
    if ids:
        yield from ([*ids[start : start + CHUNK]] for start in range(0, len(ids), CHUNK))
        return
    if not everything and not any(value is not None for value in given.values()):
        fail("name messages, or choose them by options, or say --all", 2)
    with context.read() as tx:
        chosen = _filter(tx, state, given)
    after = ""
    while True:
        with context.read() as tx:
            found = rows.page(tx, chosen, after, CHUNK)
        if not found:
            return
        after = found[-1].id
        yield [row.id for row in found]


def _in_groups(
    context: Context,
    groups: Iterator[list[str]],
    deed: Callable[[Connection, list[str]], hold.Done],
    as_json: bool,
    digest: str | None = None,
) -> None:
    """Do it group by group, saying how far it is; a message that is gone meanwhile is named, not an error.

    `digest`: the reason to name where each account is told once of all its deleted mail.
    """
    total = hold.Done()
    reports = _reports(context)
    for group in groups:
        with context.begin() as tx:
            done = deed(tx, group)
        for number in done.files:
            reports.spool.remove(number)
        total.ids += done.ids
        total.skipped += done.skipped
        total.deleted += done.deleted
        if len(total.ids) > CHUNK:
            click.echo(f"{len(total.ids)} done", err=True)
    if digest is not None:
        with context.begin() as tx:
            hold.digest(tx, _deed(digest), reports, total.deleted)
    if as_json:
        emit({"done": total.ids, "skipped": total.skipped})
    else:
        click.echo(
            f"{len(total.ids)} done" + (f", not there: {', '.join(total.skipped)}" if total.skipped else "")
        )
    if total.skipped and not total.ids:
        fail("", 1)


def _deed(reason: str) -> hold.Deed:
    return hold.Deed(f"staff:{getpass.getuser()}", clock.now(), reason)


_ids = click.argument("ids", nargs=-1, metavar="[ID…]")
_all = click.option("--all", "everything", is_flag=True, help="All of them.")
_reason = click.option("--reason", default="", metavar="TEXT", help="Why, for the audit log.")
_limit = click.option("--limit", default=200, show_default=True, help="At most so many.")


@click.group()
def outbox() -> None:
    """Mail that waits for its server."""


@outbox.command("list")
@click.option("--state", type=click.Choice([str(state) for state in State]), help="Only in this state.")
@_filters
@_limit
@json_option
@pass_context
@reporting_errors
def list_waiting(context: Context, /, state: str | None, limit: int, as_json: bool, **given: Any) -> None:
    """List waiting, held and set-aside mail, oldest first; --json prints a line each."""
    _print_list(context, state, limit, as_json, given)


@outbox.command("show")
@click.argument("number", metavar="ID")
@json_option
@pass_context
@reporting_errors
def show_waiting(context: Context, number: str, as_json: bool) -> None:
    """Show one message with its recipients and what became of each."""
    _print_one(context, number, as_json)


@outbox.command("retry")
@_ids
@_all
@_filters
@_reason
@json_option
@pass_context
@reporting_errors
def retry_waiting(
    context: Context, /, ids: tuple[str, ...], everything: bool, reason: str, as_json: bool, **given: Any
) -> None:
    """Try mail now, whatever back-off and breakers say."""
    groups = _chosen(context, ids, None, everything, given)
    _in_groups(context, groups, lambda tx, some: hold.retry(tx, _deed(reason), some), as_json)


@outbox.command("cancel")
@_ids
@_all
@_filters
@_reason
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
    reports = _reports(context)
    groups = _chosen(context, ids, None, everything, given)

    def deed(tx: Connection, some: list[str]) -> hold.Done:
        if bounce:
            return hold.bounce(tx, _deed(reason), reports, some)
        return hold.delete(tx, _deed(reason), some)

    _in_groups(context, groups, deed, as_json, reason if digest else None)


@click.group()
def held() -> None:
    """Mail that waits for staff."""


@held.command("list")
@_filters
@_limit
@json_option
@pass_context
@reporting_errors
def list_held(context: Context, /, limit: int, as_json: bool, **given: Any) -> None:
    """List held mail, oldest first; --json prints a line each."""
    _print_list(context, State.HELD, limit, as_json, given)


@held.command("show")
@click.argument("number", metavar="ID")
@click.option("--content", is_flag=True, help="Print the message itself; needs --reason, and is audited.")
@_reason
@json_option
@pass_context
@reporting_errors
def show_held(context: Context, number: str, content: bool, reason: str, as_json: bool) -> None:
    """Show why a message is held; its content only for a reason."""
    if not content:
        _print_one(context, number, as_json)
        return
    if not reason.strip():
        fail(
            "looking at content needs --reason; it is written to the audit log, and the customer can see it",
            2,
        )
    with context.begin() as tx:
        body = hold.look(tx, _deed(reason), _reports(context), number)
    click.echo(body, nl=False)


@held.command("release")
@_ids
@_all
@_filters
@_reason
@json_option
@pass_context
@reporting_errors
def release_held(
    context: Context, /, ids: tuple[str, ...], everything: bool, reason: str, as_json: bool, **given: Any
) -> None:
    """Let held mail go; standing and suppressed recipients are asked again."""
    reports = _reports(context)
    groups = _chosen(context, ids, State.HELD, everything, given)
    _in_groups(context, groups, lambda tx, some: hold.release(tx, _deed(reason), reports, some), as_json)


@held.command("delete")
@_ids
@_all
@_filters
@_reason
@click.option("--digest", is_flag=True, help="Send each account one note about all of them.")
@json_option
@pass_context
@reporting_errors
def delete_held(
    context: Context, /, ids: tuple[str, ...], everything: bool, reason: str, digest: bool, as_json: bool,
    **given: Any,
) -> None:  # fmt: skip
    """Delete held mail; senders are not told unless asked for."""
    groups = _chosen(context, ids, State.HELD, everything, given)
    deed = _deed(reason)
    _in_groups(
        context, groups, lambda tx, some: hold.delete(tx, deed, some), as_json, reason if digest else None
    )
