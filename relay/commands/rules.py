"""`rules`: what the screening rules are, and what changed ones would have done to past traffic."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from relay import clock, screens
from relay import config as configuration
from relay.commands.context import Context, Group, emit, json_option, pass_context, reporting_errors, table
from relay.errors import ConfigError, Fault
from relay.store import accounts, audit, journal
from relay.values import plural
from screening.tuning.quality import Judged, quality, would_have_caught
from screening.tuning.replay import Past, Thresholds
from screening.tuning.replay import replay as run
from screening.verdict import Hit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from relay.config import Config

_days = click.option(
    "--days", type=click.IntRange(1, 366), default=30, show_default=True, help="How far back."
)


@click.group(cls=Group)
def rules() -> None:
    """The screening rules: what they look for, and how good they are."""


@rules.command("list")
@json_option
@pass_context
@reporting_errors
def list_rules(context: Context, as_json: bool) -> None:
    """List every rule in force with its score, mode and reason."""
    found = screens.screener(context.config).ruleset.rules
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
    ruleset = screens.screener(context.config).ruleset
    if faults := ruleset.example_faults():
        raise ConfigError([Fault("screening.rules", "rules", text) for text in faults])
    found = ruleset.rules
    examples = sum(len(rule.hits) + len(rule.misses) for rule in found)
    click.echo(f"{plural(len(found), 'rule')}, all of {plural(examples, 'example')} right")


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
    with context.read() as tx:
        past = list(_past(tx, days))
    found = run(past, screens.screener(config).ruleset, _thresholds(config), _thresholds(context.config))
    if as_json:
        for change in found.changes:
            emit({
                "id": change.id, "login": change.account, "before": change.before, "after": change.after,
                "rules": list(change.rules),
            })  # fmt: skip
        return
    click.echo(f"{plural(found.seen, 'message')}, {len(found.changes):,} would go another way")
    if found.otherwise:
        click.echo(
            f"{found.otherwise} were not decided by their points (policy, observed customers) and stay"
        )
    for title, counts in (("by account", found.by_account), ("by rule", found.by_rule)):
        if counts:
            click.echo(f"{title}:")
        for name, count in list(counts.items())[:20]:
            click.echo(f"    {count:6}  {name}")


@rules.command("quality")
@_days
@click.option("--missed", is_flag=True, help="Instead: bad mail that went out, and the rules that saw it.")
@json_option
@pass_context
@reporting_errors
def show_quality(context: Context, days: int, missed: bool, as_json: bool) -> None:
    """Show each rule's record by what people said later.

    Mail with complaints and held mail that staff deleted is spam; what went out without complaint is ham,
    `released` is ham that was held. --missed names, for each message that went out and was spam, the rules
    (in shadow too) with which it would have been held.
    """
    config = context.config
    with context.read() as tx:
        judged = dict(_judged(tx, days))
    scores = {rule.id: rule.score for rule in screens.screener(config).ruleset.rules}
    if missed:
        _show_missed(judged, scores, config.screening.hold, as_json)
        return
    found = [one for one in quality(judged.values(), scores, config.screening.hold) if one.spam or one.ham]
    if as_json:
        for one in found:
            emit({
                "rule": one.rule, "spam": one.spam, "ham": one.ham, "released": one.released,
                "precision": round(one.precision_rate, 4), "recall": round(one.recall_rate, 4),
                "decisive": one.decisive,
            })  # fmt: skip
        return
    rows = [
        (
            one.rule,
            str(one.ham),
            str(one.released),
            str(one.spam),
            f"{one.precision_rate:.1%}",
            f"{one.recall_rate:.1%}",
            str(one.decisive),
        )
        for one in found
    ]
    header = ("rule", "ham", "released", "spam", "precision", "recall", "decisive")
    click.echo("\n".join(table(rows, header)))


def _show_missed(judged: dict[str, Judged], scores: dict[str, float], hold: float, as_json: bool) -> None:
    rows = [
        (identifier, one.score, would_have_caught(one.rules, one.score, scores, hold), list(one.rules))
        for identifier, one in judged.items()
        if one.spam and one.score < hold
    ]
    if as_json:
        for identifier, score, caught, seen in rows:
            emit({"id": identifier, "score": score, "would_have_caught": caught, "rules": seen})
        return
    cells = [(name, f"{score:g}", ", ".join(caught), ", ".join(seen)) for name, score, caught, seen in rows]
    click.echo("\n".join(table(cells, ("message", "score", "would have caught it", "rules that saw it"))))


def _thresholds(config: Config) -> Thresholds:
    settings = config.screening
    return Thresholds(settings.tag, settings.hold, settings.refuse)


def _past(tx: Connection, days: int) -> Iterator[Past]:
    logins = {account.id: account.login for account in accounts.accounts(tx)}
    for row in journal.since(tx, clock.now() - timedelta(days=days)):
        hits = tuple(Hit(hit["rule"], hit["score"], hit.get("evidence", "")) for hit in row.hits)
        yield Past(row.id, logins.get(row.account_id, str(row.account_id)), row.action, hits, row.malformed)


def _judged(tx: Connection, days: int) -> Iterator[tuple[str, Judged]]:
    """Yield what people have judged by now: what went out, and what staff deleted unsent."""
    since = clock.now() - timedelta(days=days)
    complained = journal.complained(tx)
    deleted, released = (audit.messages(tx, actions, since) for actions in (_DELETED, _RELEASED))
    for row in journal.since(tx, since):
        bad = row.id in complained or (row.action == "hold" and row.id in deleted)
        if bad or row.relayed or row.id in released:
            rules = [hit["rule"] for hit in row.hits]
            yield row.id, Judged(rules, row.score, bad, row.id in released)


#: what staff do to held mail, as the audit log names it
_RELEASED = ("held.release",)
_DELETED = ("outbox.delete",)
