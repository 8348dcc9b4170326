"""The command line `gatepost`: one group that names every command."""

from __future__ import annotations

from pathlib import Path

import click

from relay.commands import (
    accounts,
    copies,
    customers,
    emergency,
    held,
    identity,
    learned,
    mail,
    outbox,
    people,
    policy,
    reports,
    rules,
    screen,
    setup,
    suppressions,
    unread,
)
from relay.commands.context import Context


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "-c", "--config", "path", default="gatepost.toml", show_default=True,
    type=click.Path(path_type=Path), help="The configuration that `gatepost init` wrote.",
)  # fmt: skip
@click.version_option(package_name="gatepost")
@click.pass_context
def main(context: click.Context, path: Path) -> None:
    """SMTP submission proxy: screens outgoing mail and turns spam complaints into account standing.

    Start with `gatepost init DIR`. Every command that changes something works while `serve` runs and
    takes effect within a second. Exit codes: 0 done, 1 refused or failed, 2 usage or configuration.
    """
    context.obj = Context(path)


for _command in (
    setup.init, setup.check, setup.serve, copies.backup, copies.restore,
    customers.customer, customers.server, accounts.account, accounts.credential,
    screen.screen, mail.learn, rules.rules, identity.identity,
    learned.campaigns_group, learned.habits_group,
    outbox.outbox, held.held, policy.policy, emergency.brake, emergency.bypass,
    reports.feedback, reports.reporter, reports.dkim, reports.explain, reports.audit_log,
    people.people, people.token, suppressions.suppressions,
):  # fmt: skip
    main.add_command(_command)
for _command in (unread.waiting, unread.record_by_hand):
    reports.feedback.add_command(_command)
