"""`feedback`, `reporter`, `dkim`, `explain` and `audit`: complaints and what follows from them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from relay import clock
from relay.commands import unread
from relay.commands.context import (
    Context,
    Group,
    audited,
    content_of,
    emit,
    fail,
    json_option,
    pass_context,
    reporting_errors,
    table,
)
from relay.commands.kinds import Domain
from relay.errors import NotFound
from relay.feedback.intake import Intake
from relay.feedback.report import Kind, Report
from relay.feedback.steps import Outcome, is_puzzle
from relay.model import Grade
from relay.signing import dkim as signing
from relay.store import accounts, audit, dkim_keys, reporters
from relay.values import plural

_MOST_BYTES = 32 << 20
#: characters of what was done, on one line of `audit list`
_DETAILS = 100


@click.group(cls=Group)
def feedback() -> None:
    """Complaints and bounces that came back."""


feedback.add_command(unread.waiting)
feedback.add_command(unread.record_by_hand)


@feedback.command("import")
@click.argument("paths", nargs=-1, required=True, metavar="FILE…", type=click.Path(path_type=Path))
@click.option("--trusted", is_flag=True, help="You vouch for the reporter: its signature is not asked for.")
@json_option
@pass_context
@reporting_errors
def import_reports(context: Context, paths: tuple[Path, ...], trusted: bool, as_json: bool) -> None:
    """Parse and record reports; a running daemon judges them within a second.

    Exits 0 when each file got its row, in order. --json prints a line per file: {"file","kind",
    "feedback_type","reporter","recipients","original","attributed_to","counted","why"}.
    """
    intake = Intake.for_import(context.config, context.store, context.keyring)
    missing = 0
    for path in paths:
        try:
            raw = content_of(path, _MOST_BYTES)
        except OSError as error:
            missing += 1
            unread = Report(kind=Kind.UNKNOWN, faults=(error.strerror or "unreadable",))
            outcome = Outcome("", unread, why=f"the file cannot be read: {error.strerror}")
            kept = ""
        else:
            outcome = intake.record(raw, clock.now(), trusted=trusted)
            kept = "; kept for staff, see `feedback waiting list`" if is_puzzle(outcome.report) else ""
        row: dict[str, Any] = {"file": str(path), **outcome.as_json()}
        if as_json:
            emit(row)
        else:
            counted = "counted" if row["counted"] else "not counted"
            if outcome.grade is Grade.B and outcome.counted:
                counted = "noted for staff, no vote"
            about = " ".join(filter(None, (row["kind"], row["feedback_type"], row["attributed_to"])))
            click.echo(f"{path}: {about} {counted}: {row['why']}{kept}")
    if missing:
        fail(f"{plural(missing, 'file')} could not be read")


@click.group(cls=Group)
def reporter() -> None:
    """Who may report, how it proves itself, and which recipient domains it speaks for."""


_trust = click.option(
    "--trust",
    type=click.Choice(["full", "watch"]),
    default="full",
    show_default=True,
    help="watch: its complaints are grade B until you trust it.",
)
_cap = click.option(
    "--cap",
    type=click.IntRange(1, 1_000_000),
    default=None,
    help="Votes an hour that count at most; else ten times its usual. Staff hear of more.",
)


@reporter.command("add")
@click.argument("domain", type=Domain())
@click.option(
    "--covers",
    type=Domain(),
    multiple=True,
    required=True,
    help="Recipient domain; its votes are divided by our mail to these.",
)
@click.option(
    "--dkim-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Pin its public key (PEM or the p= value); else DNS is asked.",
)
@_trust
@_cap
@pass_context
@reporting_errors
def add_reporter(
    context: Context,
    domain: str,
    covers: tuple[str, ...],
    dkim_key: Path | None,
    trust: str,
    cap: int | None,
) -> None:
    """List a reporter: complaints that DOMAIN signs count as grade A."""
    key = signing.public_key(dkim_key.read_bytes()) if dkim_key else None
    watched = trust == "watch"
    with context.begin() as tx:
        reporters.add(tx, clock.now(), domain, covers=covers, dkim_key=key, watched=watched, cap=cap)
        facts = {"covers": covers, "pinned": key is not None, "trust": trust, "cap": cap}
        audited(tx, "reporter added", f"reporter {domain}", **facts)
    click.echo(
        f"reporter {domain} covers {', '.join(covers)}" + (", key pinned" if key else ", key from DNS")
    )


@reporter.command("change")
@click.argument("domain")
@_trust
@_cap
@pass_context
@reporting_errors
def change_reporter(context: Context, domain: str, trust: str, cap: int | None) -> None:
    """Change how far a reporter is believed from now on; votes that it gave stay."""
    with context.begin() as tx:
        reporters.trust(tx, clock.now(), domain, watched=trust == "watch", cap=cap)
        audited(tx, "reporter changed", f"reporter {domain}", trust=trust, cap=cap)
    click.echo(f"reporter {domain}: {trust}, " + (f"{cap} votes an hour" if cap else "ten times its usual"))


@reporter.command("list")
@json_option
@pass_context
@reporting_errors
def list_reporters(context: Context, as_json: bool) -> None:
    """List the reporters."""
    with context.read() as tx:
        found = reporters.reporters(tx)
    if as_json:
        emit(
            [
                {
                    "domain": r.domain,
                    "covers": list(r.covers),
                    "pinned": r.dkim_key is not None,
                    "trust": "watch" if r.watched else "full",
                    "cap": r.cap,
                }
                for r in found
            ]
        )
        return
    rows = [
        (
            r.domain,
            " ".join(r.covers),
            "pinned" if r.dkim_key else "DNS",
            "watch" if r.watched else "full",
            str(r.cap or "-"),
        )
        for r in found
    ]
    click.echo("\n".join(table(rows, ("domain", "covers", "key", "trust", "cap"))))


@reporter.command("remove")
@click.argument("domain")
@pass_context
@reporting_errors
def remove_reporter(context: Context, domain: str) -> None:
    """Strike a reporter off the list; votes that it gave stay."""
    with context.begin() as tx:
        reporters.remove(tx, clock.now(), domain)
        audited(tx, "reporter removed", f"reporter {domain}")
    click.echo(f"reporter {domain} removed")


@click.group(cls=Group)
def dkim() -> None:
    """DKIM keys of the customers' domains."""


@dkim.command("add")
@click.argument("domain", type=Domain())
@click.option("--selector", default=None, help="Name of the key in DNS. [default: the provider's]")
@click.option(
    "--customer",
    "customer_name",
    default=None,
    metavar="NAME",
    help="Sign only this customer's mail with it.",
)
@pass_context
@reporting_errors
def add_key(context: Context, domain: str, selector: str | None, customer_name: str | None) -> None:
    """Make a key for DOMAIN and print the DNS record to publish; mail from it is signed at once."""
    config = context.config
    name = selector or config.signing.selector
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", name):
        raise click.UsageError(f"--selector {name!r} is no name: letters, digits and dashes")
    folder = config.path(Path("keys/dkim"))
    file = folder / f"{domain}.{name}.pem"
    with context.begin() as tx:
        owner = accounts.customer(tx, customer_name).id if customer_name else None
        if file.exists():
            fail(f"{file} exists already; another key for the domain needs another --selector")
        dkim_keys.add(
            tx,
            clock.now(),
            domain,
            selector=name,
            key_file=str(file.relative_to(config.folder)),
            customer_id=owner,
        )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(0o600)
        file.write_bytes(signing.new_key())
        context.hand_over(folder, file)
        audited(tx, "DKIM key added", f"domain {domain}", selector=name, customer=customer_name)
    click.echo(f"{name}._domainkey.{domain}. TXT {signing.dns_record(file.read_bytes())}")


@click.command()
@click.argument("identifier", metavar="ID")
@click.option(
    "--redacted", is_flag=True, help="As its customer may see it: nobody who complained or was written to."
)
@json_option
@pass_context
@reporting_errors
def explain(context: Context, identifier: str, redacted: bool, as_json: bool) -> None:
    """Say why: recompute a decision (case id) or show a message (message id) from what is stored.

    Exits 1 if the stored numbers no longer lead to the stored decision.
    """
    from relay.feedback import explain as explaining

    with context.read() as tx:
        found = explaining.explain(tx, identifier)
    shown = explaining.redacted(found) if redacted else found
    say = explaining.redacted_lines if redacted else explaining.lines
    if as_json:
        emit(shown)
    else:
        click.echo("\n".join(say(shown)))
    if found.get("same") is False:
        raise SystemExit(1)


@click.group("audit", cls=Group)
def audit_log() -> None:
    """The log of what staff did; each entry is chained to the one before."""


@audit_log.command("list")
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 10000), help="At most so many."
)
@click.option("--customer", default=None, metavar="NAME", help="Only who looked at this customer's mail.")
@json_option
@pass_context
@reporting_errors
def list_audit(context: Context, limit: int, customer: str | None, as_json: bool) -> None:
    """List the newest entries."""
    with context.read() as tx:
        if customer is None:
            found = audit.entries(tx, limit=limit)
        else:
            found = audit.looks(tx, accounts.customer(tx, customer).id, limit=limit)
    if as_json:
        emit(
            [
                {
                    "seq": e.seq,
                    "at": e.at.isoformat(),
                    "who": e.who,
                    "action": e.action,
                    "object": e.object,
                    "reason": e.reason,
                    "details": dict(e.details),
                }
                for e in found
            ]
        )
        return
    rows = [(str(e.seq), e.at.isoformat(), e.who, e.action, e.object, e.reason, _details(e)) for e in found]
    click.echo("\n".join(table(rows, ("seq", "at", "who", "action", "object", "reason", "details"))))


def _details(entry: audit.Entry) -> str:
    """Say in one line what exactly was done; what vouches for an erasure is for `verify` alone."""
    if entry.action == audit.ERASED:
        return ""
    said = ", ".join(
        f"{key} {value}" for key, value in entry.details.items() if value not in (None, "", [], {})
    )
    return said if len(said) <= _DETAILS else said[:_DETAILS] + "…"


@audit_log.command("verify")
@pass_context
@reporting_errors
def verify_audit(context: Context) -> None:
    """Check the chain; exit 1 at the first entry that was altered."""
    with context.read() as tx:
        bad = audit.verify(tx, context.keyring)
    if bad is not None:
        raise NotFound(f"entry {bad} was altered or its predecessor is gone")
    click.echo("every entry is as it was written")
