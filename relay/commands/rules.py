"""`rules`: what the screening rules are, and what changed ones would have done to past traffic."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from relay import building, clock
from relay import config as configuration
from relay.commands.context import Context, emit, json_option, pass_context, reporting_errors, table
from relay.store import accounts, journal
from screening.tuning.quality import Judged, quality
from screening.tuning.replay import Past, Thresholds
from screening.tuning.replay import replay as run
from screening.verdict import Hit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

_days = click.option(
    "--days", type=click.IntRange(1, 366), default=30, show_default=True, help="How far back."
)


@click.group()
def rules() -> None:
    """The screening rules: what they look for, and how good they are."""


@rules.command("list")
@json_option
@pass_context
@reporting_errors
def list_rules(context: Context, as_json: bool) -> None:
    """List every rule in force with its score, mode and reason."""
    found = building.screener(context.config).ruleset.rules
    if as_json:
        for rule in found:
            emit(
                {
                    "rule": rule.id,
                    "score": rule.score,
                    "mode": str(rule.mode),
                    "group": rule.group,
                    "why": rule.why,
                }
            )
        return
    rows = [(rule.id, f"{rule.score:g}", str(rule.mode), rule.why) for rule in found]
    click.echo("\n".join(table(rows, ("rule", "score", "mode", "why"))))


@rules.command("test")
@pass_context
@reporting_errors
def test_rules(context: Context) -> None:
    """Load all rules and run their examples; every fault at once, exit 2."""
    found = building.screener(context.config).ruleset.rules
    examples = sum(len(rule.hits) + len(rule.misses) for rule in found)
    click.echo(f"{len(found)} rules, {examples} examples hold")


@rules.command("replay")
@click.option(
    "--with", "changed", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=None,
    help="A changed gatepost.toml; default: the one in use.",
)  # fmt: skip
@_days
@json_option
@pass_context
@reporting_errors
def replay(context: Context, changed: Path | None, days: int, as_json: bool) -> None:
    """Decide past traffic again from the stored hits, and say which messages would go another way.

    Changes nothing and needs no content; rules that did not exist then cannot be found now. --json prints a
    line per message: {"id","login","before","after","rules"}.
    """
    config = configuration.load(changed) if changed else context.config
    settings = config.screening
    with context.read() as tx:
        past = list(_past(tx, days))
    found = run(
        past, building.screener(config).ruleset, Thresholds(settings.tag, settings.hold, settings.refuse)
    )
    if as_json:
        for change in found.changes:
            emit({
                "id": change.id, "login": change.account, "before": change.before, "after": change.after,
                "rules": list(change.rules),
            })  # fmt: skip
        return
    click.echo(f"{found.seen} messages, {len(found.changes)} would go another way")
    for title, counts in (("by account", found.by_account), ("by rule", found.by_rule)):
        click.echo(f"{title}:")
        for name, count in list(counts.items())[:20]:
            click.echo(f"    {count:6}  {name}")


@rules.command("quality")
@_days
@json_option
@pass_context
@reporting_errors
def show_quality(context: Context, days: int, as_json: bool) -> None:
    """Show each rule's record by what people said later: mail with complaints is spam, the rest is ham."""
    config = context.config
    with context.read() as tx:
        judged = list(_judged(tx, days))
    scores = {rule.id: rule.score for rule in building.screener(config).ruleset.rules}
    found = [one for one in quality(judged, scores, config.screening.hold) if one.spam or one.ham]
    if as_json:
        for one in found:
            emit({
                "rule": one.rule, "spam": one.spam, "ham": one.ham, "precision": round(one.precision_rate, 4),
                "recall": round(one.recall_rate, 4), "decisive": one.decisive,
            })  # fmt: skip
        return
    rows = [
        (one.rule, str(one.ham), str(one.spam), f"{one.precision_rate:.1%}", str(one.decisive))
        for one in found
    ]
    click.echo("\n".join(table(rows, ("rule", "ham", "spam", "precision", "decisive"))))


def _past(tx: Connection, days: int) -> Iterator[Past]:
    logins = {account.id: account.login for account in accounts.accounts(tx)}
    for row in journal.since(tx, clock.now() - timedelta(days=days)):
        hits = tuple(Hit(hit["rule"], hit["score"], hit.get("evidence", "")) for hit in row.hits)
        yield Past(row.id, logins.get(row.account_id, str(row.account_id)), row.action, hits, row.malformed)


def _judged(tx: Connection, days: int) -> Iterator[Judged]:
    complained = journal.complained(tx)
    for row in journal.since(tx, clock.now() - timedelta(days=days)):
        if row.relayed:
            yield Judged([hit["rule"] for hit in row.hits], row.score, row.id in complained)
