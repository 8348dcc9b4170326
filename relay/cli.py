"""The command line `gatepost`: one group that names every command and imports the one that is called."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from relay.commands.context import Context

#: Where each command is: module of relay.commands, and its name there.
_PLACES = {
    "init": "setup.init", "check": "setup.check", "serve": "setup.serve",
    "backup": "copies.backup", "restore": "copies.restore",
    "customer": "customers.customer", "server": "customers.server",
    "account": "accounts.account", "credential": "accounts.credential",
    "screen": "screen.screen", "learn": "mail.learn", "rules": "rules.rules", "identity": "identity.identity",
    "campaigns": "learned.campaigns_group", "habits": "learned.habits_group",
    "outbox": "outbox.outbox", "held": "held.held",
    "policy": "policy.policy", "brake": "emergency.brake", "bypass": "emergency.bypass",
    "feedback": "reports.feedback", "reporter": "reports.reporter", "dkim": "reports.dkim",
    "explain": "reports.explain", "audit": "reports.audit_log",
    "staff": "people.people", "token": "people.token", "suppression": "suppressions.suppressions",
}  # fmt: skip


class Commands(click.Group):
    """A group whose commands are imported when they are asked for: scripts call one, and often."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all commands."""
        return sorted(_PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command; None for a name that nobody has."""
        module, _, name = _PLACES.get(cmd_name, "").partition(".")
        if not module:
            return None
        command: click.Command = getattr(import_module(f"relay.commands.{module}"), name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
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
