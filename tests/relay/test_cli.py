"""The group of all commands: what its help promises is there."""

from __future__ import annotations

from click import Context
from click.testing import CliRunner

from relay.cli import main


def test_every_command_of_the_help_exists_and_has_help_of_its_own() -> None:
    shown = CliRunner().invoke(main, ["--help"]).output
    names = main.list_commands(Context(main))
    assert len(names) > 20
    for name in names:
        assert f"\n  {name} " in shown
        command = main.get_command(Context(main), name)
        assert command is not None
        assert command.help


def test_a_command_that_nobody_has_is_a_usage_error() -> None:
    done = CliRunner().invoke(main, ["acount"])
    assert done.exit_code == 2
    assert "No such command 'acount'" in done.stderr
