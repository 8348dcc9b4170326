"""`learn`: train the classifier."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from relay import building
from relay.commands.context import Context, emit, fail, json_option, pass_context, reporting_errors
from screening.classify import training
from screening.classify.model import ModelError
from screening.mail import Mail

if TYPE_CHECKING:
    from collections.abc import Iterator


_MOST_BYTES = 64 << 20


@click.command()
@click.argument("kind", type=click.Choice(["spam", "ham"]))
@click.argument(
    "paths", nargs=-1, required=True, metavar="PATH…", type=click.Path(exists=True, path_type=Path)
)
@json_option
@pass_context
@reporting_errors
def learn(context: Context, kind: str, paths: tuple[Path, ...], as_json: bool) -> None:
    """Train the classifier from files or folders; a message learned as the other kind is corrected.

    Starts from the shipped model and keeps hashed features only, no text. A running daemon takes the new
    model up by itself.
    """
    unreadable: list[Path] = []

    def mails() -> Iterator[tuple[Mail, bool]]:
        for file in training.files_in(paths):
            try:
                with file.open("rb") as stream:
                    yield training.mail_of(stream.read(_MOST_BYTES)), kind == "spam"
            except OSError as error:
                unreadable.append(file)
                click.echo(f"{file}: {error.strerror}", err=True)

    try:
        learned = training.learn(building.model_path(context.config), mails())
    except ModelError as error:
        fail(str(error))
        return
    if as_json:
        emit(dataclasses.asdict(learned))
    else:
        click.echo(
            f"{learned.new} new, {learned.corrected} corrected, {learned.known} known before; the model"
            f" {learned.identity} has learned {learned.spam} spam and {learned.ham} ham"
        )
    if unreadable:
        fail(f"{len(unreadable)} unreadable")
