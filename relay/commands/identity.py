"""`identity`: whether receivers will believe an account's senders, looked up now."""

from __future__ import annotations

import asyncio
import dataclasses
from functools import partial
from typing import TYPE_CHECKING

import click

from relay import building, clock, scanning
from relay.commands.context import Context, emit, fail, json_option, pass_context, reporting_errors
from relay.dns import Resolver
from relay.scanner_config import ScannerConfig
from relay.signing import keys as signing_keys
from relay.store import accounts
from screening.mail import Envelope, Mail
from screening.scanners.guard import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay.model import Account
    from relay.signing.stamp import Stamper
    from screening.scanners.identity import Outlook


@click.command()
@click.argument("login")
@click.option("--sender", default="", help="An address to look at, instead of those of the account.")
@json_option
@pass_context
@reporting_errors
def identity(context: Context, login: str, sender: str, as_json: bool) -> None:
    """Ask DNS whether receivers will believe mail of an account: SPF, DKIM and DMARC (RFC 9989).

    Mail is taken to leave from the addresses of the customer's server, or from those that the [[scanner]] of
    kind "identity" names. Domains are sent to DNS. Exit 1 if a sender will not be believed.
    """
    with context.read() as tx:
        account = accounts.account(tx, login)
    customers = signing_keys.Customers(context.config, context.store)
    customers.load()
    stamper = building.stamper(context.config, context.keyring, customers)
    senders = [sender] if sender else _senders(account)
    if not senders:
        fail("this account may send as anybody: name a --sender")
    faults = 0
    for address, outlook in asyncio.run(_look(context, account, stamper, senders)):
        faults += bool(outlook is None or outlook.fault)
        _print(address, outlook, as_json)
    if faults:
        fail(f"{faults} of {len(senders)} will not be believed, or could not be looked up")


def _senders(account: Account) -> list[str]:
    """Return one address for each domain that the account may use."""
    wanted = [one for one in account.senders if one != "*"]
    return list(
        {one.rpartition("@")[2]: one if one[0] != "@" else f"anybody{one}" for one in wanted}.values()
    )


async def _look(
    context: Context, account: Account, stamper: Stamper, senders: Iterable[str]
) -> list[tuple[str, Outlook | None]]:
    config = context.config
    settings = next((one for one in config.scanner if one.kind == "identity"), ScannerConfig(kind="identity"))
    check = scanning.identity(Resolver(servers=config.dns.servers), settings)
    found: list[tuple[str, Outlook | None]] = []
    for sender in senders:
        envelope = Envelope(
            id="", peer_ip="", helo="", tls="", login=account.login, sender=sender, recipients=(),
            received_at=clock.now(), signed_as=partial(stamper.signed_as, account),
            leaves_from=tuple(one.rpartition(":")[0].strip("[]") for one in account.server.hosts),
        )  # fmt: skip
        try:
            found.append((sender, await check.outlook(Mail(envelope, f"From: {sender}\r\n\r\n".encode()))))
        except Unavailable:
            found.append((sender, None))
    return found


def _print(address: str, outlook: Outlook | None, as_json: bool) -> None:
    if as_json:
        facts = None if outlook is None else {**dataclasses.asdict(outlook), "fault": outlook.fault}
        emit({"sender": address, "outlook": facts})
        return
    if outlook is None:
        click.echo(f"{address}: DNS gives no answer")
        return
    spf = ", ".join(f"{result} from {host}" for host, result in outlook.spf) or "unknown: no public address"
    click.echo(f"{address}: {'will not be believed' if outlook.fault else 'no fault found'}")
    click.echo(f"    DMARC  {outlook.policy or 'no record'}, {'passes' if outlook.passes else 'fails'}")
    click.echo(f"    SPF    {spf}")
    click.echo(f"    DKIM   {', '.join(outlook.signed) or 'no published key of ours'}")
    if outlook.fault:
        click.echo(f"    {outlook.fault}")
