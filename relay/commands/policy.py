"""`policy`: the ladder and the transmission policy as they are, and what another ladder would have done."""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from policies import ladder as ladders
from policies import transmission
from policies.replay import replay as run
from relay import building, clock
from relay.commands.context import Context, Group, emit, json_option, pass_context, reporting_errors
from relay.errors import ConfigError, Fault
from relay.store import accounts, history, observed
from relay.values import plural

if TYPE_CHECKING:
    from policies.replay import Change, Moved
    from relay.store.observed import Would


@click.group(cls=Group)
def policy() -> None:
    """Why accounts are warned, slowed down and switched off."""


@policy.command("replay")
@click.option(
    "--ladder",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The changed ladder; default: the one in use.",
)
@click.option("--days", type=click.IntRange(1, 366), default=30, show_default=True, help="How far back.")
@json_option
@pass_context
@reporting_errors
def replay(context: Context, path: Path | None, days: int, as_json: bool) -> None:
    """Run a ladder over what happened, and say whom it would have moved, when and why.

    Changes nothing. What really happened stands beside it. Numbers of unknown and first-time recipients are
    not replayed; mail that the ladder would have stopped is taken out, but what its sender would have done
    instead nobody knows. --json prints a line per account: {"login","would":[{"at","state","until","step",
    "reason"}],"really":[{"at","state","set_by","reason"}],"stopped_messages"}.
    """
    try:
        ladder = ladders.load(path) if path else building.ladder(context.config)
    except ladders.LadderError as error:
        raise ConfigError([Fault("ladder", str(path), text) for text in error.faults]) from error
    now = clock.now()
    with context.read() as tx:
        events = history.events(tx, context.keyring, now - timedelta(days=days), now)
        outcomes = run(ladder, events, history.classes(tx))
        logins = accounts.logins(tx, [one.account for one in outcomes])
    for one in outcomes:
        login = logins.get(one.account, f"account {one.account}")
        would, really = [_change(item) for item in one.would], [_moved(item) for item in one.really]
        if as_json:
            stopped = one.stopped_messages
            emit({"login": login, "would": would, "really": really, "stopped_messages": stopped})
            continue
        click.echo(f"{login}: {plural(one.stopped_messages, 'message')} stopped")
        for item in would:
            click.echo(f"  would  {item['at'][:19]}  {item['state']:<12} {item['step']}: {item['reason']}")
        for item in really:
            click.echo(f"  really {item['at'][:19]}  {item['state']:<12} {item['set_by']}: {item['reason']}")
    if not as_json:
        click.echo(f"{plural(len(outcomes), 'account')} in {plural(days, 'day')}, ladder {ladder.hash[:12]}")


@policy.command("observed")
@click.option("--days", type=click.IntRange(1, 366), default=7, show_default=True, help="How far back.")
@click.option("--customer", metavar="NAME", help="Only this customer's accounts.")
@json_option
@pass_context
@reporting_errors
def what_was_observed(context: Context, days: int, customer: str | None, as_json: bool) -> None:
    """Say what would have happened to customers in `--mode observe`: to whom, by which rule, when and why.

    Steps of the ladder are told once a day, refusals at RCPT once an hour, messages one by one. --json prints
    a line per account: {"login","would":[{"by","action","times","first","last","reason"}]}.
    """
    now = clock.now()
    with context.read() as tx:
        found = observed.report(tx, now - timedelta(days=days), now, customer)
        logins = accounts.logins(tx, {one.account_id for one in found})
    for number, group in groupby(found, key=lambda one: one.account_id):
        login, would = logins.get(number, f"account {number}"), [_would(one) for one in group]
        if as_json:
            emit({"login": login, "would": would})
            continue
        click.echo(login)
        for item in would:
            span = f"{item['first'][:16]} to {item['last'][:16]}"
            click.echo(f"  {item['action']:<12} {item['by']}, {item['times']} x, {span}: {item['reason']}")
    if not as_json:
        click.echo(f"{plural(len({one.account_id for one in found}), 'account')} in {plural(days, 'day')}")


@policy.command("page")
def page() -> None:
    """Print the transmission policy as the page that senders read (Markdown)."""
    click.echo(transmission.page(transmission.load()))


def _change(one: Change) -> dict[str, Any]:
    step = one.decision.action
    return {
        "at": one.at.isoformat(),
        "state": one.state.value,
        "until": one.until.isoformat() if one.until else None,
        "step": step.name,
        "reason": one.decision.reason,
    }


def _moved(one: Moved) -> dict[str, Any]:
    return {"at": one.at.isoformat(), "state": one.state, "set_by": one.set_by, "reason": one.reason}


def _would(one: Would) -> dict[str, Any]:
    return {
        "by": one.by,
        "action": one.action,
        "times": one.times,
        "first": one.first.isoformat(),
        "last": one.last.isoformat(),
        "reason": one.reason,
    }
