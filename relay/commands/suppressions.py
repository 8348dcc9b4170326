"""`suppression`: recipients to whom a customer's mail is no longer sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from relay import clock
from relay.commands.context import (
    Context,
    Group,
    audited,
    emit,
    json_option,
    pass_context,
    reporting_errors,
    table,
)
from relay.commands.standings import Span
from relay.feedback.parts import address_in
from relay.store import accounts, suppression

if TYPE_CHECKING:
    from datetime import timedelta

    from relay.store.suppression import Suppression

_customer = click.option("--customer", "customer_name", required=True, metavar="NAME", help="Whose mail.")


@click.group("suppression", cls=Group)
def suppressions() -> None:
    """Recipients that are refused at RCPT: kept as keyed hashes, so ask about one address at a time."""


def _address(text: str) -> str:
    found = address_in(text)
    if not found:
        raise click.UsageError(f"{text!r} is no address")
    return found


def _as_json(one: Suppression) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "events": one.events,
        "first_at": one.first_at.isoformat(),
        "last_at": one.last_at.isoformat(),
        "refused": one.holds(clock.now()),
        "from": one.from_at.isoformat() if one.from_at else None,
        "until": one.until.isoformat() if one.until else None,
    }


@suppressions.command("show")
@click.argument("address")
@_customer
@json_option
@pass_context
@reporting_errors
def show_suppression(context: Context, address: str, customer_name: str, as_json: bool) -> None:
    """Say what is known of an address: why mail to it is refused, how often, since and until when."""
    with context.read() as tx:
        customer_id = accounts.customer(tx, customer_name).id
        found = suppression.about(
            tx, customer_id, context.keyring.recipient_hash(customer_id, _address(address))
        )
    rows = [_as_json(one) for one in found]
    if as_json:
        emit({"address": address, "customer": customer_name, "suppressions": rows})
        return
    lines = [
        (
            row["kind"],
            "refused" if row["refused"] else "noted",
            str(row["events"]),
            row["last_at"],
            row["until"] or "",
        )
        for row in rows
    ]
    click.echo("\n".join(table(lines, ("kind", "mail is", "events", "last", "until"))))


@suppressions.command("add")
@click.argument("address")
@_customer
@click.option("--for", "span", type=Span(), default=None, help="Until then; left out: until it is cleared.")
@pass_context
@reporting_errors
def add_suppression(context: Context, address: str, customer_name: str, span: timedelta | None) -> None:
    """Refuse mail to an address from now on, within a second."""
    now, plain = clock.now(), _address(address)
    with context.begin() as tx:
        customer_id = accounts.customer(tx, customer_name).id
        hashed = context.keyring.recipient_hash(customer_id, plain)
        until = None if span is None else now + span
        suppression.add(tx, now, customer_id, hashed, until=until)
        audited(
            tx,
            "suppression added",
            f"customer {customer_name}",
            recipient=hashed.hex(),
            until=str(until or ""),
        )
    click.echo(
        f"mail of {customer_name} to {plain} is refused" + (f" until {until:%Y-%m-%d %H:%M}" if until else "")
    )


@suppressions.command("clear")
@click.argument("address")
@_customer
@pass_context
@reporting_errors
def clear_suppression(context: Context, address: str, customer_name: str) -> None:
    """Let mail to an address go again and forget its counts."""
    now, plain = clock.now(), _address(address)
    with context.begin() as tx:
        customer_id = accounts.customer(tx, customer_name).id
        hashed = context.keyring.recipient_hash(customer_id, plain)
        gone = suppression.clear(tx, now, customer_id, hashed)
        audited(tx, "suppression cleared", f"customer {customer_name}", recipient=hashed.hex(), entries=gone)
    click.echo(f"{gone} entries about {plain} cleared")


@suppressions.command("count")
@_customer
@json_option
@pass_context
@reporting_errors
def count_suppressions(context: Context, customer_name: str, as_json: bool) -> None:
    """Count a customer's refused recipients by reason."""
    with context.read() as tx:
        found = suppression.counts(tx, clock.now(), accounts.customer(tx, customer_name).id)
    if as_json:
        emit(found)
        return
    click.echo(
        "\n".join(table([(kind, str(number)) for kind, number in found.items()], ("kind", "recipients")))
    )
