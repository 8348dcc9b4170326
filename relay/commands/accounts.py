"""Accounts and their credentials."""

from __future__ import annotations

import dataclasses
import re
import secrets
import sys
from typing import TYPE_CHECKING, Any

import click

from relay import clock
from relay.commands import erasure, standings
from relay.commands.context import (
    Context,
    Group,
    audited,
    emit,
    fail,
    json_option,
    numbers,
    pass_context,
    reporting_errors,
    show,
    table,
)
from relay.commands.kinds import Line, Sender
from relay.errors import NotFound
from relay.model import AccountClass, Level
from relay.smtp.auth import Passwords
from relay.store import accounts, decisions, logins, tallies

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from relay.keyring import Keyring

_WEAK_PASSWORD_LENGTH = 10


@click.group(cls=Group)
def account() -> None:
    """Accounts: the logins that send."""


def _chosen_password(from_stdin: bool) -> str:
    if not from_stdin:
        return secrets.token_urlsafe(15)
    line = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not line:
        fail("no password on standard input", 2)
    if len(line) < _WEAK_PASSWORD_LENGTH:
        click.echo(f"warning: a password of {len(line)} characters is weak", err=True)
    return line


@account.command("add")
@click.argument("login", type=Line())
@click.option("--customer", "customer_name", required=True, metavar="NAME", help="Who it belongs to.")
@click.option(
    "--sender",
    "senders",
    type=Sender(),
    multiple=True,
    help="May send as: exact address, @domain or *. [default: LOGIN]",
)
@click.option(
    "--class",
    "klass",
    type=click.Choice([str(value) for value in AccountClass]),
    default="app",
    show_default=True,
    help="Sets caps and budgets.",
)
@click.option("--password-stdin", is_flag=True, help="Take the password from one line of standard input.")
@json_option
@pass_context
@reporting_errors
def add_account(
    context: Context,
    login: str,
    customer_name: str,
    senders: tuple[str, ...],
    klass: str,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Add a login that may send; without --password-stdin a password is made and shown once."""
    if not senders and "@" not in login:
        raise click.UsageError(
            f"{login} is no address: say with --sender what it may send as (ADDRESS, @DOMAIN or *)"
        )
    password = _chosen_password(password_stdin)
    hashed, fingerprint = Passwords.hash(password), context.keyring.fingerprint(login, password)
    with context.begin() as tx:
        accounts.add_account(
            tx, clock.now(), login, customer=customer_name, password_hash=hashed, fingerprint=fingerprint,
            senders=senders, klass=AccountClass(klass),
        )  # fmt: skip
        audited(
            tx,
            "account added",
            f"account {login}",
            customer=customer_name,
            senders=senders,
            **{"class": klass},
        )
    if as_json:
        emit({"login": login, "password": password})
    elif password_stdin:
        click.echo(f"account {login} added")
    else:
        click.echo(f"account {login} added, password {password}   (shown once)")


@account.command("password")
@click.argument("login")
@click.option("--password-stdin", is_flag=True, help="Take the password from one line of standard input.")
@json_option
@pass_context
@reporting_errors
def set_password(context: Context, login: str, password_stdin: bool, as_json: bool) -> None:
    """Give an account a new password; the old one dies, the new one works at once."""
    password = _chosen_password(password_stdin)
    with context.begin() as tx:
        accounts.set_password(
            tx, clock.now(), login, Passwords.hash(password), context.keyring.fingerprint(login, password)
        )
        audited(tx, "password changed", f"account {login}")
    if as_json:
        emit({"login": login, "password": password})
    else:
        click.echo(f"new password of {login}" + ("" if password_stdin else f": {password}   (shown once)"))


@account.command("change")
@click.argument("login")
@click.option("--sender", "senders", type=Sender(), multiple=True, help="May send as these, and no others.")
@click.option(
    "--class", "klass", type=click.Choice([str(value) for value in AccountClass]), help="Its class."
)
@pass_context
@reporting_errors
def change_account(context: Context, login: str, senders: tuple[str, ...], klass: str | None) -> None:
    """Change whom an account may send as, or its class."""
    if not senders and klass is None:
        raise click.UsageError("give --sender or --class")
    with context.begin() as tx:
        before = accounts.account(tx, login)
        if senders:
            accounts.set_senders(tx, clock.now(), login, senders)
        if klass is not None:
            accounts.set_class(tx, clock.now(), login, AccountClass(klass))
        after = accounts.account(tx, login)
        audited(
            tx,
            "account changed",
            f"account {login}",
            before={"senders": before.senders, "class": str(before.klass)},
            after={"senders": after.senders, "class": str(after.klass)},
        )
    click.echo(f"account {login} changed")


@account.command("list")
@click.option("--customer", "customer_name", default=None, metavar="NAME", help="Only this one's.")
@json_option
@pass_context
@reporting_errors
def list_accounts(context: Context, customer_name: str | None, as_json: bool) -> None:
    """List accounts with class and effective standing."""
    with context.read() as tx:
        found = accounts.accounts(tx, customer_name)
    if as_json:
        emit(
            [
                {
                    "login": a.login,
                    "customer": a.customer.name,
                    "class": str(a.klass),
                    **standings.as_json(a.effective),
                }
                for a in found
            ]
        )
        return
    rows = [
        (a.login, a.customer.name, str(a.klass), str(a.effective.state), a.effective.reason) for a in found
    ]
    click.echo("\n".join(table(rows, ("login", "customer", "class", "standing", "reason"))))


def _account_json(tx: Connection, keyring: Keyring, login: str) -> dict[str, Any]:
    found = accounts.account(tx, login)
    standing = found.effective
    evidence: dict[str, Any] = {}
    if standing.case_id:
        try:
            evidence = {"case_id": standing.case_id, **decisions.case(tx, standing.case_id).evidence}
        except NotFound:
            evidence = {"case_id": standing.case_id}
    tally = dataclasses.asdict(tallies.tally_of(tx, keyring, found, clock.now()))
    return {
        "login": found.login,
        "customer": found.customer.name,
        "class": str(found.klass),
        "senders": list(found.senders),
        **standings.as_json(standing),
        "evidence": evidence,
        "tally": tally,
    }


@account.command("show")
@click.argument("login")
@json_option
@pass_context
@reporting_errors
def show_account(context: Context, login: str, as_json: bool) -> None:
    """Show an account's standing, the evidence for it and the numbers that it is judged by."""
    with context.read() as tx:
        data = _account_json(tx, context.keyring, login)
    data |= {key: numbers(data[key], as_json) for key in ("evidence", "tally")}
    show(data, as_json)


standings.add_commands(account, Level.ACCOUNT)
account.add_command(erasure.erase)
account.add_command(erasure.pack_store)


@account.command("logins")
@click.argument("login")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000), help="Newest first.")
@json_option
@pass_context
@reporting_errors
def login_history(context: Context, login: str, limit: int, as_json: bool) -> None:
    """Show when, from where and how an account logged in or failed to; kept as long as retention says."""
    with context.read() as tx:
        found = logins.history(tx, accounts.account(tx, login).id, limit)
    if as_json:
        emit([
            {"at": one.at.isoformat(), "from": one.ip, "how": one.mechanism, "ok": one.ok} for one in found
        ])  # fmt: skip
        return
    rows = [
        (f"{one.at:%Y-%m-%d %H:%M:%S}", one.ip, one.mechanism, "good" if one.ok else "wrong") for one in found
    ]
    click.echo("\n".join(table(rows, ("at (UTC)", "from", "how", "result"))))


@click.group(cls=Group)
def credential() -> None:
    """Passwords of accounts: a compromise blocks the credential, not the account."""


@credential.command("list")
@click.argument("login")
@json_option
@pass_context
@reporting_errors
def list_credentials(context: Context, login: str, as_json: bool) -> None:
    """List an account's credentials by number."""
    with context.read() as tx:
        found = accounts.credentials(tx, login)
    if as_json:
        emit([{"id": c.id, "blocked": c.blocked, "own": bool(c.hash)} for c in found])
        return
    rows = [(str(c.id), "blocked" if c.blocked else "good", "own" if c.hash else "server's") for c in found]
    click.echo("\n".join(table(rows, ("id", "state", "kind"))))


def _block(context: Context, which: str, password_stdin: bool, blocked: bool) -> None:
    now, deed = clock.now(), "credential blocked" if blocked else "credential unblocked"
    if password_stdin:
        password = _chosen_password(from_stdin=True)
        fingerprint = context.keyring.fingerprint(which, password)
        with context.begin() as tx:
            number = accounts.block_fingerprint(tx, now, which, fingerprint).id
            if not blocked:
                accounts.block_credential(tx, now, number, blocked)
            audited(tx, deed, f"credential {number}", account=which)
    else:
        if not re.fullmatch("[0-9]{1,18}", which):
            raise click.UsageError("give the ID that `credential list` shows, or LOGIN with --password-stdin")
        number = int(which)
        with context.begin() as tx:
            accounts.block_credential(tx, now, number, blocked)
            audited(tx, deed, f"credential {number}")
    click.echo(f"credential {number} is {'blocked' if blocked else 'good again'}")


_which = click.argument("which", metavar="ID|LOGIN")
_by_password = click.option(
    "--password-stdin", is_flag=True, help="LOGIN is given; the password is one line of standard input."
)


@credential.command("block")
@_which
@_by_password
@pass_context
@reporting_errors
def block(context: Context, which: str, password_stdin: bool) -> None:
    """Refuse a password from now on, even if the customer's server would take it."""
    _block(context, which, password_stdin, blocked=True)


@credential.command("unblock")
@_which
@_by_password
@pass_context
@reporting_errors
def unblock(context: Context, which: str, password_stdin: bool) -> None:
    """Take a password again."""
    _block(context, which, password_stdin, blocked=False)
