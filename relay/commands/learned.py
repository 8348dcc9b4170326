"""`campaigns` and `habits`: what was learned from complaints, staff and accounts; to look at and to erase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from policies.habits import abstains
from relay import clock
from relay.commands.context import (
    Context,
    Group,
    audited,
    emit,
    fail,
    json_option,
    pass_context,
    reporting_errors,
    show,
    table,
)
from relay.store import accounts, campaigns, habits

if TYPE_CHECKING:
    from policies.habits import Profile
    from relay.store.campaigns import Campaign


@click.group("campaigns", cls=Group)
def campaigns_group() -> None:
    """Texts that people complained about or staff deleted as spam; mail like them is marked."""


@campaigns_group.command("list")
@json_option
@pass_context
@reporting_errors
def list_campaigns(context: Context, as_json: bool) -> None:
    """Show what is known, the newest first; only fingerprints are kept, no text."""
    with context.read() as tx:
        found = campaigns.known(tx)
    rows = [_facts(one) for one in found]
    if as_json:
        for row in rows:
            emit(row)
        return
    header = ("fingerprint", "source", "reports", "in_force", "message", "login", "last")
    for line in table([tuple(str(row[name]) for name in header) for row in rows], header):
        click.echo(line)


def _facts(one: Campaign) -> dict[str, Any]:
    return {
        "fingerprint": f"{one.fingerprint:016x}", "source": one.source, "reports": one.reports,
        "in_force": one.in_force, "message": one.message_id, "login": one.login,
        "first": one.first.isoformat(timespec="seconds"), "last": one.last.isoformat(timespec="seconds"),
    }  # fmt: skip


@campaigns_group.command("forget")
@click.argument("fingerprints", nargs=-1, required=True, metavar="FINGERPRINT…")
@pass_context
@reporting_errors
def forget_campaigns(context: Context, fingerprints: tuple[str, ...]) -> None:
    """Let mail like these be ordinary mail again."""
    unknown = []
    with context.begin() as tx:
        for text in fingerprints:
            value = int(text, 16) if len(text) == 16 and set(text) <= set("0123456789abcdef") else 0
            if not campaigns.forget(tx, clock.now(), value):
                unknown.append(text)
                continue
            audited(tx, "campaign.forget", f"campaign {text}")
    if unknown:
        fail(f"not known: {', '.join(unknown)}")


@click.group("habits", cls=Group)
def habits_group() -> None:
    """What was learned of an account: hours, volumes, networks, mail programs; no recipient, no word."""


@habits_group.command("show")
@click.argument("login")
@json_option
@pass_context
@reporting_errors
def show_habits(context: Context, login: str, as_json: bool) -> None:
    """Show the profile that messages of an account are compared with."""
    now = clock.now()
    with context.read() as tx:
        found = habits.profile(tx, accounts.account(tx, login).id, now)
    show({"login": login, **_profile(found), "abstains": abstains(found, now)}, as_json)


def _profile(found: Profile) -> dict[str, Any]:
    return {
        "since": found.since.isoformat(timespec="seconds") if found.since else None,
        "days": found.days,
        "messages": found.messages,
        "busiest_day": found.busiest_day,
        "largest_message": found.largest,
        "hours_utc": {f"{hour:02d}": number for hour, number in enumerate(found.hours) if number},
        "networks": {name: first.isoformat(timespec="seconds") for name, first in found.networks.items()},
        "programs": {name: first.isoformat(timespec="seconds") for name, first in found.programs.items()},
    }


@habits_group.command("forget")
@click.argument("login")
@pass_context
@reporting_errors
def forget_habits(context: Context, login: str) -> None:
    """Erase what was learned of an account; it has no habits for the next 14 days."""
    with context.begin() as tx:
        habits.forget(tx, clock.now(), accounts.account(tx, login).id)
        audited(tx, "account.forget-habits", f"account {login}")
