"""`keys`: the master keys that mail at rest is sealed with."""

from __future__ import annotations

import click

from relay.commands.context import Context, Group, audited, emit, json_option, pass_context, reporting_errors


@click.group("keys", cls=Group)
def keys() -> None:
    """The master keys: what seals mail at rest and tokens, and what hashes recipients."""


@keys.command("list")
@json_option
@pass_context
@reporting_errors
def list_keys(context: Context, as_json: bool) -> None:
    """Say which keys there are, by number; the newest seals, all open, the oldest hashes."""
    ring = context.keyring
    if as_json:
        emit({"keys": list(ring.ids), "seals": ring.newest})
        return
    for number in ring.ids:
        click.echo(f"{number}  {'seals' if number == ring.newest else 'opens'}")


@keys.command("rotate")
@pass_context
@reporting_errors
def rotate_keys(context: Context) -> None:
    """Add a new key, which seals from now on; old ones stay, for what they sealed and hashed.

    A running daemon takes it up at a reload. With several nodes copy the file to all, then reload each.
    """
    path = context.config.path(context.config.keys.master)
    number = context.keyring.rotate(path)
    with context.begin() as tx:
        audited(tx, "keys rotated", f"key {number}")
    click.echo(
        f"key {number} added to {path}: copy the file to every node and to where you keep the keys,"
        " then reload each daemon"
    )
