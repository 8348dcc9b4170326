"""Customers and the mail servers that are theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from relay import clock
from relay.commands import standings
from relay.commands.context import (
    Context,
    Group,
    audited,
    emit,
    json_option,
    numbers,
    pass_context,
    reporting_errors,
    show,
    table,
)
from relay.commands.kinds import CustomerName, Domain, HostPort, LoginAndFile, Mailbox
from relay.model import Forward, Level, Mode, Tls, UpstreamAuth
from relay.store import accounts, sums

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from relay.model import Server


_AUTH = "none|passthrough|LOGIN:SECRETFILE"
_forward = click.option(
    "--forward",
    type=click.Choice([str(value) for value in Forward]),
    default=None,
    help="proxy (default): the server answers while the client waits; queue: Gatepost takes all at once.",
)
_relay = click.option(
    "--relay",
    type=LoginAndFile(),
    default=None,
    metavar="LOGIN:SECRETFILE",
    help="As whom mail that waits is delivered, where clients log in with their own passwords.",
)


def _facts(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say who a customer is."""
    for name, kind, text in (
        ("--phone", None, "Telephone number, for staff."),
        ("--brand", None, "Name that mail of this customer may carry."),
        ("--contact", Mailbox(), "Address for notices."),
    ):
        command = click.option(name, type=kind, default=None, help=text)(command)
    return command


@click.group(cls=Group)
def customer() -> None:
    """Customers: who pays, and which mail server is theirs."""


@customer.command("add")
@click.argument("name", type=CustomerName())
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
    metavar=_AUTH,
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
@_facts
@click.option("--parent", default=None, help="The reseller it belongs to.")
@click.option("--domain", "domains", type=Domain(), multiple=True, help="Whose logins may be provisioned.")
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
    if bool(provision) != bool(domains) or (provision and how is not UpstreamAuth.PASSTHROUGH):
        raise click.UsageError("--provision on-login, --domain and --auth passthrough go together")
    facts = {name: value for name, value in facts.items() if value is not None}
    facts |= {
        "relay_login": login,
        "relay_secret_file": secret,
        "provision_domains": domains,
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
@click.option(
    "--server",
    "hosts",
    type=HostPort(),
    multiple=True,
    help="Its mail server instead; again for a second one.",
)
@click.option(
    "--tls", type=click.Choice([str(value) for value in Tls]), default=None, help="How it is reached."
)
@click.option("--auth", default=None, metavar=_AUTH, help="How Gatepost logs in there.")
@_relay
@_forward
@click.option(
    "--domain", "domains", multiple=True, help="Logins there are provisioned, at no others; none: nowhere."
)
@click.option("--mode", type=click.Choice([str(value) for value in Mode]), help="Whether decisions bite.")
@_facts
@pass_context
@reporting_errors
def change_customer(context: Context, /, name: str, mode: str | None, **options: Any) -> None:
    """Change where and how its mail is handed on, who is told, and whether decisions bite.

    What is left out stays as it is. Open connections end with the message that they carry.
    """
    facts = {key: options[key] for key in ("contact", "brand", "phone") if options[key] is not None}
    with context.begin() as tx:
        before = accounts.customer(tx, name).mode
        way = _way(tx, name, **options)
        if mode is None and not facts and not way:
            raise click.UsageError("nothing to change: say what, by at least one option")
        if mode is not None:
            accounts.set_mode(tx, clock.now(), name, Mode(mode))
            audited(tx, "customer changed", f"customer {name}", before=str(before), after=mode)
        if facts:
            accounts.set_facts(tx, clock.now(), name, **facts)
        if way:
            accounts.set_server(tx, clock.now(), name, **way)
        said = facts | {key: value for key, value in way.items() if key != "relay"}
        if "relay" in way:
            said["relay_login"] = way["relay"][0]
        if said:
            audited(tx, "customer changed", f"customer {name}", **_plain(said))
    _warn_of_secret(context, way["relay"][1] if "relay" in way else "")
    words = [
        f"{key} {value or 'none'}"
        for key, value in _plain({"mode": mode} | said).items()
        if value is not None
    ]
    click.echo(f"customer {name}: {', '.join(words)}")


def _way(tx: Connection, name: str, **options: Any) -> dict[str, Any]:
    """Return what `set_server` is to change."""
    way: dict[str, Any] = {}
    now = accounts.server(tx, name)
    if options["hosts"]:
        way["hosts"] = options["hosts"]
    if options["tls"]:
        way["tls"] = Tls(options["tls"])
    if options["forward"]:
        way["forward"] = Forward(options["forward"])
    if options["auth"]:
        way["auth"], login, secret = _login(options["auth"], options["relay"])
        if way["auth"] is not UpstreamAuth.PASSTHROUGH:
            way["relay"] = (login, secret)
    if options["relay"] is not None:
        way["relay"] = options["relay"]
    if options["domains"]:
        way["provision_domains"] = () if options["domains"] == ("none",) else options["domains"]
        if way["provision_domains"] and way.get("auth", now.auth) is not UpstreamAuth.PASSTHROUGH:
            raise click.UsageError("--domain goes with --auth passthrough")
    return way


def _plain(facts: dict[str, Any]) -> dict[str, str | None]:
    """Return facts as people read them."""
    return {
        key.replace("_", " "): value
        if value is None
        else " ".join(value)
        if isinstance(value, tuple)
        else str(value)
        for key, value in facts.items()
    }


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
        theirs = accounts.servers_of(tx, found.id)
        tally = sums.of(tx, Level.CUSTOMER, found.id, clock.now())
    data = {
        "customer": found.name,
        "mode": str(found.mode),
        "contact": found.contact,
        "brand": found.brand,
        "phone": found.phone,
        "servers": {one.name: _route(one) for one in theirs},
    }
    show({**data, **standings.as_json(found.standing), "tally": numbers(tally, as_json)}, as_json)


def _route(server: Server) -> str:
    """Say how a server is reached, as `customer add` takes it."""
    said = [" ".join(server.hosts), f"tls {server.tls}", f"auth {server.auth}", f"forward {server.forward}"]
    said += [f"as {server.relay_login}"] if server.relay_login else []
    said += [f"provisions {' '.join(server.provision_domains)}"] if server.provision_domains else []
    return ", ".join(said)


@click.group(cls=Group)
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
    show({**data, **standings.as_json(found.standing), "tally": numbers(tally, as_json)}, as_json)


standings.add_commands(customer, Level.CUSTOMER)
standings.add_commands(server, Level.SERVER)
