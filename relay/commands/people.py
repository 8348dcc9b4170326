"""`staff` and `token`: who may use the console, and which programs the API."""

from __future__ import annotations

import secrets
from datetime import timedelta
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
from relay.commands.kinds import Line, StaffName
from relay.commands.standings import Span
from relay.console.roles import CUSTOMERS, Role, Scope
from relay.store import accounts, staff, tokens

if TYPE_CHECKING:
    from relay.store.tokens import ApiToken

_roles = click.Choice([str(role) for role in Role])


@click.group("staff", cls=Group)
def people() -> None:
    """People who log in to the console."""


def _say(name: str, password: str, as_json: bool) -> None:
    if as_json:
        emit({"login": name, "password": password})
    else:
        click.echo(f"staff login {name}, password {password}   (shown once)")


@people.command("add")
@click.argument("name", type=StaffName())
@click.option(
    "--role", type=_roles, required=True, help="What they may do; each role may all of those before."
)
@json_option
@pass_context
@reporting_errors
def add_person(context: Context, name: str, role: str, as_json: bool) -> None:
    """Add a person and show their first password once."""
    password = secrets.token_urlsafe(15)
    with context.begin() as tx:
        staff.add(tx, clock.now(), name, password, role=role)
        audited(tx, "staff added", f"staff {name}", role=role)
    _say(name, password, as_json)


@people.command("password")
@click.argument("name")
@json_option
@pass_context
@reporting_errors
def renew_password(context: Context, name: str, as_json: bool) -> None:
    """Give a person a new password and take the second factor away; their sessions end."""
    password, now = secrets.token_urlsafe(15), clock.now()
    with context.begin() as tx:
        staff.set_password(tx, now, name, password)
        staff.set_totp(tx, now, name, None)
        audited(tx, "staff password and second factor reset", f"staff {name}")
    _say(name, password, as_json)


@people.command("change")
@click.argument("name")
@click.option("--role", type=_roles, help="What they may do from now on.")
@click.option("--disable/--enable", "disabled", default=None, help="Lock them out, or let them in again.")
@pass_context
@reporting_errors
def change_person(context: Context, name: str, role: str | None, disabled: bool | None) -> None:
    """Change a person's role, lock them out or let them in; their sessions end."""
    if role is None and disabled is None:
        raise click.UsageError("give --role, --disable or --enable")
    now = clock.now()
    with context.begin() as tx:
        if role is not None:
            staff.set_role(tx, now, name, role)
        if disabled is not None:
            staff.disable(tx, now, name, disabled=disabled)
        facts: dict[str, Any] = {"role": role, "disabled": disabled}
        audited(
            tx,
            "staff changed",
            f"staff {name}",
            **{key: one for key, one in facts.items() if one is not None},
        )
    click.echo(f"staff {name} changed")


@people.command("list")
@json_option
@pass_context
@reporting_errors
def list_people(context: Context, as_json: bool) -> None:
    """List who may log in."""
    with context.read() as tx:
        found = staff.everyone(tx)
    if as_json:
        emit(
            [
                {"name": one.name, "role": one.role, "second_factor": one.totp is not None,
                 "disabled": one.disabled_at is not None}
                for one in found
            ]
        )  # fmt: skip
        return
    rows = [
        (one.name, one.role, "yes" if one.totp else "no", "locked out" if one.disabled_at else "")
        for one in found
    ]
    click.echo("\n".join(table(rows, ("name", "role", "second factor", ""))))


# --- tokens


@click.group(cls=Group)
def token() -> None:
    """Tokens by which programs use the API."""


@token.command("add")
@click.argument("name", type=Line())
@click.option(
    "--scope", "scopes", multiple=True, required=True, type=click.Choice([str(one) for one in Scope]),
    help="What it may do; again for another.",
)  # fmt: skip
@click.option("--customer", "customer_name", metavar="NAME", help="It reads this customer's rows alone.")
@click.option("--for", "span", type=Span(), default="90d", show_default=True, help="How long.")
@json_option
@pass_context
@reporting_errors
def add_token(
    context: Context,
    name: str,
    scopes: tuple[str, ...],
    customer_name: str | None,
    span: timedelta,
    as_json: bool,
) -> None:
    """Make a token and show it once."""
    if customer_name and not set(scopes) <= CUSTOMERS:
        raise click.UsageError(
            "a customer's token reads, suppresses and pauses; it switches nothing else, sees no audit log"
        )
    now = clock.now()
    with context.begin() as tx:
        owner = accounts.customer(tx, customer_name).id if customer_name else None
        text = tokens.make(
            tx,
            now,
            name,
            scopes=scopes,
            made_by="staff:command-line",
            customer_id=owner,
            expires_at=now + span,
        )
        audited(
            tx,
            "token made",
            f"token:{text[:11]}",
            name=name,
            scopes=sorted(scopes),
            customer=customer_name or "",
        )
    if as_json:
        emit({"token": text, "expires_at": (now + span).isoformat()})
    else:
        click.echo(f"{text}   (shown once)")


@token.command("list")
@json_option
@pass_context
@reporting_errors
def list_tokens(context: Context, as_json: bool) -> None:
    """List the tokens by their first characters."""
    with context.read() as tx:
        found = tokens.tokens(tx)
    if as_json:
        emit([_as_json(one) for one in found])
        return
    rows = [tuple(str(value) for value in _as_json(one).values()) for one in found]
    click.echo("\n".join(table(rows, ("prefix", "name", "scopes", "customer", "expires", "revoked"))))


def _as_json(one: ApiToken) -> dict[str, Any]:
    return {
        "prefix": one.prefix,
        "name": one.name,
        "scopes": " ".join(sorted(one.scopes)),
        "customer": one.customer or "",
        "expires_at": one.expires_at.isoformat() if one.expires_at else "",
        "revoked_at": one.revoked_at.isoformat() if one.revoked_at else "",
    }


@token.command("revoke")
@click.argument("prefix")
@pass_context
@reporting_errors
def revoke_token(context: Context, prefix: str) -> None:
    """End a token at once; PREFIX is what `token list` shows."""
    with context.begin() as tx:
        tokens.revoke(tx, clock.now(), prefix)
        audited(tx, "token revoked", f"token:{prefix}")
    click.echo(f"token {prefix} revoked")
