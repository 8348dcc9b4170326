"""`held`: mail that waits for staff, who release it, delete it and may teach the classifier with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from relay import screens
from relay.commands.context import Context, Group, fail, json_option, pass_context, reporting_errors
from relay.commands.outbox import (
    all_option,
    chosen_groups,
    deed_of,
    filters,
    ids_option,
    in_groups,
    limit_option,
    print_list,
    print_one,
    reason_option,
    reports_of,
)
from relay.outbox import hold
from relay.store.outbox import State
from screening.classify import training
from screening.classify.model import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.commands.outbox import Learn


_learn = click.option(
    "--learn",
    type=click.Choice(["spam", "ham"]),
    default=None,
    help="Teach the classifier that these are good (ham) or bad (spam); a running daemon takes it up.",
)


def _teacher(context: Context, kind: str | None) -> Learn | None:
    """Return what learns from messages of a kind; it keeps hashed features only, no text."""
    if kind is None:
        return None
    path = screens.model_path(context.config)

    def learn(bodies: Sequence[bytes]) -> None:
        try:
            learned = training.learn(path, ((training.mail_of(body), kind == "spam") for body in bodies))
        except (ModelError, OSError) as error:
            fail(f"done, but nothing was learned: {error}")
            return
        context.hand_over(*path.parent.glob(f"{path.name}*"))
        click.echo(
            f"learned as {kind}: {learned.new} new, {learned.corrected} corrected, {learned.known} known",
            err=True,
        )

    return learn


@click.group(cls=Group)
def held() -> None:
    """Mail that waits for staff."""


@held.command("list")
@filters
@limit_option
@json_option
@pass_context
@reporting_errors
def list_held(context: Context, /, limit: int, as_json: bool, **given: Any) -> None:
    """List held mail, oldest first; --json prints a line each."""
    print_list(context, State.HELD, limit, as_json, given)


@held.command("show")
@click.argument("number", metavar="ID")
@click.option("--content", is_flag=True, help="Print the message itself; needs --reason, and is audited.")
@reason_option
@json_option
@pass_context
@reporting_errors
def show_held(context: Context, number: str, content: bool, reason: str, as_json: bool) -> None:
    """Show why a message is held; its content only for a reason."""
    if not content:
        print_one(context, number, as_json, reason.strip())
        return
    if not reason.strip():
        fail(
            "looking at content needs --reason; it is written to the audit log, and the customer can see it",
            2,
        )
    with context.begin() as tx:
        body = hold.look(tx, deed_of(reason), reports_of(context), number)
    click.echo(body, nl=False)


@held.command("release")
@ids_option
@all_option
@filters
@reason_option
@_learn
@json_option
@pass_context
@reporting_errors
def release_held(
    context: Context, /, ids: tuple[str, ...], everything: bool, reason: str, learn: str | None,
    as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Let held mail go; standing and suppressed recipients are asked again."""
    reports = reports_of(context)
    groups = chosen_groups(context, ids, State.HELD, everything, given)
    in_groups(
        context, groups, lambda tx, some: hold.release(tx, deed_of(reason), reports, some), as_json,
        learn=_teacher(context, learn),
    )  # fmt: skip


@held.command("delete")
@ids_option
@all_option
@filters
@reason_option
@click.option("--digest", is_flag=True, help="Send each account one note about all of them.")
@_learn
@json_option
@pass_context
@reporting_errors
def delete_held(
    context: Context, /, ids: tuple[str, ...], everything: bool, reason: str, digest: bool,
    learn: str | None, as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Delete held mail; senders are not told unless asked for."""
    groups = chosen_groups(context, ids, State.HELD, everything, given)
    deed = deed_of(reason)
    in_groups(
        context, groups, lambda tx, some: hold.delete(tx, deed, some), as_json, reason if digest else None,
        _teacher(context, learn),
    )  # fmt: skip
