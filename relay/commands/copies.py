"""`backup` and `restore`: a copy of the database and of waiting mail, taken while `serve` runs."""

from __future__ import annotations

from pathlib import Path

import click

from relay import clock
from relay.commands.context import Context, fail, pass_context, reporting_errors
from relay.store import backup as copies
from relay.values import plural

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("backup")
@click.argument("folder", metavar="DIR", type=_FOLDER)
@pass_context
@reporting_errors
def backup(context: Context, folder: Path) -> None:
    """Copy the database, as of one moment, and the spool into the new folder DIR, and check the copy.

    Works while `serve` runs. The master keys are left out: keep them too, elsewhere.
    """
    config, url = context.config, context.config.store.url
    manifest = copies.backup(
        clock.now(),
        url,
        config.folder,
        target=folder,
        spool=config.path(config.outbox.folder),
        keyring=context.keyring,
    )
    if faults := copies.check(folder, context.keyring):
        fail("\n".join(faults))
    files = plural(len(manifest["files"]), "file")
    click.echo(f"{files} in {folder}, checked. {manifest['notice']}")


@click.command("restore")
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--check", "only_check", is_flag=True, help="Only say what is wrong with the copy.")
@pass_context
@reporting_errors
def restore(context: Context, folder: Path, only_check: bool) -> None:
    """Bring a copy back to where the configuration says; nothing that exists is overwritten.

    It goes into either kind of database, whichever it was taken from; PostgreSQL's must exist and be empty.
    """
    config = context.config
    if only_check:
        if faults := copies.check(folder, context.keyring):
            fail("\n".join(faults))
        click.echo(f"{folder} can be brought back")
        return
    spool = config.path(config.outbox.folder)
    copies.restore(folder, config.store.url, config.folder, spool=spool, keyring=context.keyring)
    click.echo(f"brought back from {folder}")
