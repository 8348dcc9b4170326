"""Customers and the mail servers that are theirs."""

from __future__ import annotations

from typing import Any

import click

from relay import clock
from relay.commands import standings
from relay.commands.context import (
    Context,
    audited,
    emit,
    json_option,
    pass_context,
    reporting_errors,
    show,
    table,
)
from relay.model import Level, Mode, Tls, UpstreamAuth
from relay.store import accounts
from relay.values import split_address


class HostPort(click.ParamType[str, str]):
    """HOST:PORT on the command line."""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text if it is one."""
        try:
            split_address(value)
        except ValueError:
            self.fail(f"{value!r} is not HOST:PORT", param, ctx)
        return str(value)


@click.group()
def customer() -> None:
    """Customers: who pays, and which mail server is theirs."""


@customer.command("add")
@click.argument("name")
@click.option(
    "--server",
    "hosts",
    type=HostPort(),
    multiple=True,
    required=True,
    help="The customer's mail server; again for a second one.",
)
@click.option(
    "--tls",
    type=click.Choice([str(value) for value in Tls]),
    default="none",
    show_default=True,
    help="How it is reached.",
)
@click.option(
    "--auth",
    default="none",
    show_default=True,
    metavar="none|passthrough|LOGIN:SECRETFILE",
    help="How Gatepost logs in there.",
)
@click.option(
    "--mode",
    type=click.Choice([str(value) for value in Mode]),
    default="enforce",
    show_default=True,
    help="observe: judge and record, never bite.",
)
@click.option("--contact", default="", help="Address for notices.")
@click.option("--brand", default="", help="Name that mail of this customer may carry.")
@click.option("--phone", default="")
@click.option("--parent", default=None, help="The reseller it belongs to.")
@click.option("--domain", "domains", multiple=True, help="Domain whose logins may be provisioned.")
@click.option(
    "--provision",
    type=click.Choice(["on-login"]),
    default=None,
    help="Create accounts at their first good login (--auth passthrough).",
)
@pass_context
@reporting_errors
def add_customer(
    context: Context, /, name: str, hosts: tuple[str, ...], tls: str, auth: str, mode: str, **facts: Any
) -> None:
    """Add a customer with the mail server that its mail is handed on to."""
    login, secret = "", ""
    how = UpstreamAuth.NONE
    if auth == "passthrough":
        how = UpstreamAuth.PASSTHROUGH
    elif auth != "none":
        login, separator, secret = auth.rpartition(":")
        if not separator or not login or not secret:
            raise click.UsageError("--auth takes none, passthrough or LOGIN:SECRETFILE")
        how = UpstreamAuth.RELAY
    domains, provision = facts.pop("domains"), facts.pop("provision")
    if provision and (how is not UpstreamAuth.PASSTHROUGH or not domains):
        raise click.UsageError("--provision on-login needs --auth passthrough and --domain")
    facts |= {
        "relay_login": login,
        "relay_secret_file": secret,
        "provision_domains": domains if provision else (),
    }
    with context.begin() as tx:
        accounts.add_customer(
            tx, clock.now(), name, hosts=hosts, tls=Tls(tls), auth=how, mode=Mode(mode), **facts
        )
        audited(tx, "customer added", f"customer {name}", hosts=hosts, tls=tls, auth=str(how), mode=mode)
    click.echo(f"customer {name} added; its server: {', '.join(hosts)}")


@customer.command("change")
@click.argument("name")
@click.option(
    "--mode", type=click.Choice([str(value) for value in Mode]), required=True, help="Whether decisions bite."
)
@pass_context
@reporting_errors
def change_customer(context: Context, name: str, mode: str) -> None:
    """Change whether decisions about a customer's mail bite (enforce) or are only recorded (observe)."""
    with context.begin() as tx:
        before = accounts.customer(tx, name).mode
        accounts.set_mode(tx, clock.now(), name, Mode(mode))
        audited(tx, "customer changed", f"customer {name}", before=str(before), after=mode)
    click.echo(f"customer {name}: {mode}")


@customer.command("list")
@json_option
@pass_context
@reporting_errors
def list_customers(context: Context, as_json: bool) -> None:
    """List customers with mode and standing."""
    with context.read() as tx:
        found = accounts.customers(tx)
    if as_json:
        emit([{"customer": c.name, "mode": str(c.mode), **standings.as_json(c.standing)} for c in found])
        return
    rows = [(c.name, str(c.mode), str(c.standing.state), c.contact) for c in found]
    click.echo("\n".join(table(rows, ("customer", "mode", "standing", "contact"))))


@customer.command("show")
@click.argument("name")
@json_option
@pass_context
@reporting_errors
def show_customer(context: Context, name: str, as_json: bool) -> None:
    """Show one customer."""
    with context.read() as tx:
        found = accounts.customer(tx, name)
    data = {
        "customer": found.name,
        "mode": str(found.mode),
        "contact": found.contact,
        "brand": found.brand,
        "phone": found.phone,
    }
    show({**data, **standings.as_json(found.standing)}, as_json)


@click.group()
def server() -> None:
    """The customers' mail servers."""


@server.command("list")
@json_option
@pass_context
@reporting_errors
def list_servers(context: Context, as_json: bool) -> None:
    """List servers with their addresses and standing."""
    with context.read() as tx:
        found = accounts.servers(tx)
    if as_json:
        emit(
            [
                {
                    "server": s.name,
                    "hosts": list(s.hosts),
                    "tls": str(s.tls),
                    "auth": str(s.auth),
                    **standings.as_json(s.standing),
                }
                for s in found
            ]
        )
        return
    rows = [(s.name, " ".join(s.hosts), str(s.tls), str(s.auth), str(s.standing.state)) for s in found]
    click.echo("\n".join(table(rows, ("server", "hosts", "tls", "auth", "standing"))))


@server.command("show")
@click.argument("name")
@json_option
@pass_context
@reporting_errors
def show_server(context: Context, name: str, as_json: bool) -> None:
    """Show one server."""
    with context.read() as tx:
        found = accounts.server(tx, name)
    data = {"server": found.name, "hosts": list(found.hosts), "tls": str(found.tls), "auth": str(found.auth)}
    show({**data, **standings.as_json(found.standing)}, as_json)


standings.add_commands(customer, Level.CUSTOMER)
standings.add_commands(server, Level.SERVER)
