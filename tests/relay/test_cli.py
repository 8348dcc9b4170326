"""The group of all commands: what its help promises is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click import Context
from click.testing import CliRunner

from relay.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def walk(command: click.Command, *path: str) -> Iterator[tuple[str, click.Command]]:
    yield " ".join(path), command
    if isinstance(command, click.Group):
        for name in command.list_commands(Context(command)):
            inner = command.get_command(Context(command), name)
            assert inner is not None
            yield from walk(inner, *path, name)


def test_every_option_says_what_it_is_for_and_no_summary_is_cut() -> None:
    for path, command in walk(main, "gatepost"):
        shown = command.get_help(Context(command, info_name=path))
        assert not shown.partition("Commands:")[2].count("..."), path
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.help, f"{path} {option.opts[0]}"
