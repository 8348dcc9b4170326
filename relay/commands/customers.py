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
from relay.model import Forward, Level, Mode, Tls, UpstreamAuth
from relay.store import accounts, sums
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


class Credential(click.ParamType[tuple[str, str], str]):
    """LOGIN:SECRETFILE on the command line."""

    name = "LOGIN:SECRETFILE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Return both, or two empty texts for `none`."""
        if isinstance(value, tuple):
            return value
        if value == "none":
            return "", ""
        login, _, secret = str(value).rpartition(":")
        if not login or not secret:
            self.fail(f"{value!r} is not LOGIN:SECRETFILE", param, ctx)
        return login, secret


_forward = click.option(
    "--forward",
    type=click.Choice([str(value) for value in Forward]),
    default=None,
    help="proxy (default): the server answers while the client waits; queue: Gatepost takes all at once.",
)
_relay = click.option(
    "--relay",
    type=Credential(),
    default=None,
    metavar="LOGIN:SECRETFILE",
    help="As whom mail that waits is delivered, where clients log in with their own passwords.",
)


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
@_relay
@_forward
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
    how, login, secret = _login(auth, facts.pop("relay"))
    forward = Forward(facts.pop("forward") or Forward.PROXY)
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
            tx, clock.now(), name, hosts=hosts, tls=Tls(tls), auth=how, mode=Mode(mode), forward=forward,
            **facts,
        )  # fmt: skip
        audited(
            tx, "customer added", f"customer {name}",
            hosts=hosts, tls=tls, auth=str(how), mode=mode, forward=str(forward),
        )  # fmt: skip
    _warn_of_secret(context, secret)
    click.echo(f"customer {name} added; its server: {', '.join(hosts)}")


def _warn_of_secret(context: Context, secret: str) -> None:
    """Say at once what would stop the customer's mail later."""
    path = context.config.folder / secret
    if secret and not path.is_file():
        click.echo(f"{path} is not there yet: it must hold the password, on one line", err=True)


def _login(auth: str, relay: tuple[str, str] | None) -> tuple[UpstreamAuth, str, str]:
    """Return how Gatepost logs in at the customer's server, and as whom where it is not the client."""
    login, secret = relay or ("", "")
    if auth == "passthrough":
        return UpstreamAuth.PASSTHROUGH, login, secret
    if relay:
        raise click.UsageError("--relay goes with --auth passthrough; otherwise give --auth LOGIN:SECRETFILE")
    if auth == "none":
        return UpstreamAuth.NONE, "", ""
    login, _, secret = auth.rpartition(":")
    if not login or not secret:
        raise click.UsageError("--auth takes none, passthrough or LOGIN:SECRETFILE")
    return UpstreamAuth.RELAY, login, secret


@customer.command("change")
@click.argument("name")
@click.option("--mode", type=click.Choice([str(value) for value in Mode]), help="Whether decisions bite.")
@_forward
@_relay
@pass_context
@reporting_errors
def change_customer(
    context: Context, name: str, mode: str | None, forward: str | None, relay: tuple[str, str] | None
) -> None:
    """Change whether decisions bite (enforce) or are only recorded (observe), and how mail is handed on."""
    if mode is None and forward is None and relay is None:
        raise click.UsageError("nothing to change: give --mode, --forward or --relay")
    now, said = clock.now(), []
    with context.begin() as tx:
        before = accounts.customer(tx, name).mode
        if mode is not None:
            accounts.set_mode(tx, now, name, Mode(mode))
            audited(tx, "customer changed", f"customer {name}", before=str(before), after=mode)
            said.append(mode)
        if forward is not None or relay is not None:
            how = None if forward is None else Forward(forward)
            accounts.set_forwarding(tx, now, name, forward=how, relay=relay)
            login = None if relay is None else relay[0]
            audited(tx, "customer changed", f"customer {name}", forward=forward, relay_login=login)
            _warn_of_secret(context, relay[1] if relay else "")
            said += [f"forward {forward}"] if forward else []
            said += [f"waiting mail goes out as {login or 'nobody'}"] if relay is not None else []
    click.echo(f"customer {name}: {', '.join(said)}")


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
    """Show one customer: standing, and what its accounts did together."""
    with context.read() as tx:
        found = accounts.customer(tx, name)
        tally = sums.of(tx, Level.CUSTOMER, found.id, clock.now())
    data = {
        "customer": found.name,
        "mode": str(found.mode),
        "contact": found.contact,
        "brand": found.brand,
        "phone": found.phone,
    }
    show({**data, **standings.as_json(found.standing), "tally": tally}, as_json)


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
                    "forward": str(s.forward),
                    **standings.as_json(s.standing),
                }
                for s in found
            ]
        )
        return
    rows = [
        (s.name, " ".join(s.hosts), str(s.tls), str(s.auth), str(s.forward), str(s.standing.state))
        for s in found
    ]
    click.echo("\n".join(table(rows, ("server", "hosts", "tls", "auth", "forward", "standing"))))


@server.command("show")
@click.argument("name")
@json_option
@pass_context
@reporting_errors
def show_server(context: Context, name: str, as_json: bool) -> None:
    """Show one server: standing, and what its accounts did together."""
    with context.read() as tx:
        found = accounts.server(tx, name)
        tally = sums.of(tx, Level.SERVER, found.id, clock.now())
    data = {
        "server": found.name,
        "hosts": list(found.hosts),
        "tls": str(found.tls),
        "auth": str(found.auth),
        "relay_login": found.relay_login,
        "forward": str(found.forward),
    }
    show({**data, **standings.as_json(found.standing), "tally": tally}, as_json)


standings.add_commands(customer, Level.CUSTOMER)
standings.add_commands(server, Level.SERVER)
