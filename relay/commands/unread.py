"""`feedback waiting` and `feedback record`: reports that nobody could parse, and what people tell staff."""

from __future__ import annotations

import getpass

import click

from relay import clock
from relay.commands.context import Context, Group, emit, json_option, pass_context, reporting_errors, table
from relay.feedback import unread
from relay.feedback.intake import Intake
from relay.feedback.steps import Said
from relay.outbox.hold import Deed
from relay.store import complaints

TYPES = ("abuse", "fraud", "virus", "other", "not-spam", "opt-out")
_reason = click.option("--reason", required=True, help="Goes to the audit log, which the customer can see.")
_type = click.option(
    "--type", "kind", type=click.Choice(TYPES), default="abuse", show_default=True, help="What was reported."
)
_recipients = click.option(
    "--recipient",
    "recipients",
    multiple=True,
    metavar="ADDRESS",
    help="Who complained, if there were several.",
)


def _deed(reason: str) -> Deed:
    return Deed(f"staff:{getpass.getuser()}", clock.now(), reason)


@click.command("record")
@click.argument("message_id")
@_type
@_recipients
@_reason
@json_option
@pass_context
@reporting_errors
def record_by_hand(
    context: Context, message_id: str, kind: str, recipients: tuple[str, ...], reason: str, as_json: bool
) -> None:
    """Record a complaint about one of our messages that a person told you; you vouch for it."""
    intake = Intake.for_import(context.config, context.store, context.keyring)
    with context.begin() as tx:
        outcome = intake.by_hand(tx, Said(message_id, kind, recipients), _deed(reason))
    if as_json:
        emit(outcome.as_json())
    else:
        counted = "counted" if outcome.counted else "not counted"
        click.echo(f"{outcome.attributed_to}: {kind} {counted}: {outcome.why}")


@click.group("waiting", cls=Group)
def waiting() -> None:
    """Reports that nobody could parse: they are kept, sealed, until you decide."""


@waiting.command("list")
@click.option(
    "--limit",
    default=100,
    show_default=True,
    type=click.IntRange(1, complaints.MOST_WAITING),
    help="At most so many.",
)
@json_option
@pass_context
@reporting_errors
def list_waiting(context: Context, limit: int, as_json: bool) -> None:
    """List them, oldest first."""
    with context.read() as tx:
        found = complaints.waiting(tx, limit)
    if as_json:
        emit([{"id": number, "at": at.isoformat(), "why": why} for number, at, why in found])
        return
    rows = [(number, at.isoformat(timespec="seconds"), why) for number, at, why in found]
    click.echo("\n".join(table(rows, ("id", "arrived", "why it waits"))))


@waiting.command("show")
@click.argument("identifier", metavar="ID")
@_reason
@pass_context
@reporting_errors
def show_waiting(context: Context, identifier: str, reason: str) -> None:
    """Print one as it came; your look is written to the audit log."""
    with context.begin() as tx:
        raw = unread.look(tx, context.keyring, _deed(reason), identifier)
    text = raw.decode("utf-8", "replace").replace("\r\n", "\n")
    click.echo("".join(one if one.isprintable() or one in "\n\t" else "\ufffd" for one in text))


@waiting.command("assign")
@click.argument("identifier", metavar="ID")
@click.option("--message", "message_id", required=True, metavar="ID", help="Our message that it is about.")
@_type
@_recipients
@_reason
@pass_context
@reporting_errors
def assign_waiting(
    context: Context, identifier: str, message_id: str, kind: str, recipients: tuple[str, ...], reason: str
) -> None:
    """Say which message one is about: it is recorded as a complaint that you vouch for, and waits no more."""
    intake, deed = Intake.for_import(context.config, context.store, context.keyring), _deed(reason)
    with context.begin() as tx:
        outcome = intake.by_hand(tx, Said(message_id, kind, recipients), deed)
        unread.drop(tx, deed, identifier, "feedback.assign")
    click.echo(f"{outcome.attributed_to}: {'counted' if outcome.counted else 'not counted'}: {outcome.why}")


@waiting.command("drop")
@click.argument("identifiers", metavar="ID…", nargs=-1, required=True)
@_reason
@pass_context
@reporting_errors
def drop_waiting(context: Context, identifiers: tuple[str, ...], reason: str) -> None:
    """Delete what needs no more look."""
    deed = _deed(reason)
    with context.begin() as tx:
        for identifier in identifiers:
            unread.drop(tx, deed, identifier)
    click.echo(f"{len(identifiers)} dropped")
