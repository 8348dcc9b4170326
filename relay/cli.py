"""The command line `gatepost`: one group that names every command and imports the one that is called."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper, UnsupportedOperation
from pathlib import Path

import click

from relay.commands.context import Context

#: Where each command is (module of relay.commands, name there), and what it is for, by what people come for.
_SECTIONS = {
    "Set up and run": {
        "init": ("setup.init", "Write a configuration, keys, a certificate and a staff login."),
        "check": ("setup.check", "Examine configuration, rules, keys and store; name every fault."),
        "serve": ("setup.serve", "Run the relay in the foreground."),
        "backup": ("copies.backup", "Copy the store and the spool, not the keys, while the relay runs."),
        "restore": ("copies.restore", "Bring a copy back."),
        "keys": ("keys.keys", "The master keys: list them, add a new one."),
    },
    "Customers and their accounts": {
        "customer": ("customers.customer", "Who pays, and which mail server is theirs."),
        "server": ("customers.server", "The customers' mail servers."),
        "account": ("accounts.account", "The logins that send, and their standing."),
        "credential": ("accounts.credential", "Passwords of accounts: list, block, unblock."),
        "identity": ("identity.identity", "Ask DNS whether receivers will believe an account's mail."),
        "dkim": ("reports.dkim", "DKIM keys of the customers' domains."),
    },
    "Screening": {
        "screen": ("screen.screen", "Say what would happen to messages; nothing is sent."),
        "learn": ("mail.learn", "Train the classifier from files or folders."),
        "rules": ("rules.rules", "What they look for, how good they are, what a change would do."),
        "campaigns": ("learned.campaigns_group", "Texts that people complained about or staff deleted."),
        "habits": ("learned.habits_group", "What was learned of an account's usual sending."),
    },
    "Mail that waits": {
        "outbox": ("outbox.outbox", "For its server, or for its account's pace."),
        "held": ("held.held", "For staff to look at."),
    },
    "Complaints and decisions": {
        "feedback": ("reports.feedback", "Complaints and bounces that came back."),
        "reporter": ("reports.reporter", "Who may report, how it is verified, which domains it covers."),
        "suppression": ("suppressions.suppressions", "Recipients that are refused at RCPT."),
        "policy": ("policy.policy", "Why accounts are warned, slowed down and switched off."),
        "explain": ("reports.explain", "Recompute a decision, or show a message's journey."),
        "brake": ("emergency.brake", "Take all mail and deliver none, until a time."),
        "bypass": ("emergency.bypass", "Let everything pass, until a time."),
    },
    "Staff": {
        "staff": ("people.people", "People who log in to the console."),
        "token": ("people.token", "Tokens by which programs use the API."),
        "audit": ("reports.audit_log", "What staff did; each entry is chained to the one before."),
    },
}  # fmt: skip
_COMMANDS = {name: place for section in _SECTIONS.values() for name, (place, _) in section.items()}


class Commands(click.Group):
    """A group whose commands are imported when they are asked for: scripts call one, and often."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all commands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command; None for a name that nobody has."""
        module, _, name = _COMMANDS.get(cmd_name, "").partition(".")
        if not module:
            return None
        command: click.Command = getattr(import_module(f"relay.commands.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands by section."""
        for title, section in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, summary) for name, (_, summary) in section.items()])


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
    # names of files are bytes, and need not be of the terminal's encoding
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, TextIOWrapper):
            with suppress(UnsupportedOperation):  # who has read from it already made up their mind
                stream.reconfigure(errors=errors)
    context.obj = Context(path)
