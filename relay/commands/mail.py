"""`learn`: teach the classifier, look at what it learned, and go back."""

from __future__ import annotations

import dataclasses
from collections import deque
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from relay import clock, screens
from relay.commands.context import (
    Context,
    Group,
    content_of,
    emit,
    fail,
    json_option,
    pass_context,
    reporting_errors,
    show,
    table,
)
from relay.store import journal
from screening.classify import model as models
from screening.classify import training
from screening.classify.classifier import Classifier
from screening.classify.model import ModelError
from screening.tuning.drift import drift
from screening.verdict import Hit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from screening.classify.training import Learned
    from screening.mail import Mail

_MOST_BYTES = 64 << 20

_paths = click.argument(
    "paths", nargs=-1, required=True, metavar="PATH…", type=click.Path(exists=True, path_type=Path)
)


def _model(context: Context) -> Path:
    """Return where the model is; what root makes of it is the daemon's when the command ends."""
    path = screens.model_path(context.config)
    click.get_current_context().call_on_close(lambda: context.hand_over(*path.parent.glob(f"{path.name}*")))
    return path


@click.group(cls=Group)
def learn() -> None:
    """Train the classifier from files or folders; a message learned as the other kind is corrected.

    Starts from the shipped model and keeps hashed features only, no text. A running daemon takes the new
    model up by itself, within a second. Up to 2,000 messages the model is a function of their set: order and
    number of calls change nothing. Beyond, a few new ones move it from where it is, which takes a second.
    """


@learn.command("spam")
@_paths
@json_option
@pass_context
@reporting_errors
def learn_spam(context: Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Learn messages as spam."""
    _learn(context, paths, as_json, spam=True)


@learn.command("ham")
@_paths
@json_option
@pass_context
@reporting_errors
def learn_ham(context: Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Learn messages as good ones."""
    _learn(context, paths, as_json, spam=False)


@learn.command("forget")
@_paths
@json_option
@pass_context
@reporting_errors
def learn_forget(context: Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Train again as if these messages had never been learned."""
    unreadable: list[Path] = []
    try:
        learned = training.forget(_model(context), _mails(paths, unreadable))
    except ModelError as error:
        fail(str(error))
        return
    _tell(learned, as_json, f"{learned.corrected} forgotten")
    _complain(unreadable)


@learn.command("anew")
@json_option
@pass_context
@reporting_errors
def learn_anew(context: Context, as_json: bool) -> None:
    """Train on everything that was learned, all at once.

    A few messages beside thousands only move the model from where it is; a tenth of new ones does this.
    """
    try:
        learned = training.anew(_model(context))
    except ModelError as error:
        fail(str(error))
        return
    _tell(learned, as_json, f"{learned.known} looked at")


@learn.command("drift")
@click.option("--days", type=click.IntRange(1, 366), default=7, show_default=True, help="How far back.")
@json_option
@pass_context
@reporting_errors
def learn_drift(context: Context, days: int, as_json: bool) -> None:
    """Say whether mail has moved away from what the classifier was trained on.

    Compared are how often it is unsure, and how much of good mail it knows, in the journal and in training.
    """
    rules = {rule.id for rule in screens.screener(context.config).ruleset.rules}
    trained = Classifier.load(_model(context)).model.snapshot
    with context.read() as tx:
        hits = (
            [Hit(hit["rule"], hit["score"], hit.get("evidence", "")) for hit in row.hits]
            for row in journal.since(tx, clock.now() - timedelta(days=days))
        )
        seen = drift(hits, rules)
    show(
        {
            "messages": seen.messages,
            "unsure": seen.unsure,
            "unsure_in_training": trained.unsure if trained else None,
            "known": seen.known,
            "known_in_training": trained.known if trained else None,
            "says": seen.against(trained),
        },
        as_json,
    )


@learn.command("versions")
@json_option
@pass_context
@reporting_errors
def learn_versions(context: Context, as_json: bool) -> None:
    """List the model in use and the ones that `rollback` can bring back, newest first."""
    found = list(_versions(_model(context)))
    if as_json:
        deque(map(emit, found), maxlen=0)
        return
    names = ("model", "written", "spam", "ham")
    click.echo("\n".join(table([tuple(str(row[name]) for name in names) for row in found], names)))


@learn.command("rollback")
@json_option
@pass_context
@reporting_errors
def learn_rollback(context: Context, as_json: bool) -> None:
    """Put the model before the current one back, with what it was trained on; three are kept."""
    try:
        model = training.rollback(_model(context))
    except ModelError as error:
        fail(str(error))
        return
    if as_json:
        emit({"identity": model.identity, "spam": model.spam, "ham": model.ham})
    else:
        click.echo(f"the model is {model.identity} again: {model.spam} spam and {model.ham} ham")


def _versions(path: Path) -> Iterator[dict[str, object]]:
    for file in (path, *models.generations(path)):
        try:
            model = models.load(file)
            written_at = datetime.fromtimestamp(file.stat().st_mtime, UTC).isoformat(timespec="seconds")
        except (ModelError, OSError):
            continue
        yield {"model": model.identity, "written": written_at, "spam": model.spam, "ham": model.ham}


def _mails(paths: tuple[Path, ...], unreadable: list[Path]) -> Iterator[Mail]:
    for file in training.files_in(paths):
        try:
            yield training.mail_of(content_of(file, _MOST_BYTES))
        except OSError as error:
            unreadable.append(file)
            click.echo(f"{file}: {error.strerror}", err=True)


def _learn(context: Context, paths: tuple[Path, ...], as_json: bool, *, spam: bool) -> None:
    unreadable: list[Path] = []
    mails = ((mail, spam) for mail in _mails(paths, unreadable))
    try:
        learned = training.learn(_model(context), mails)
    except ModelError as error:
        fail(str(error))
        return
    _tell(learned, as_json, f"{learned.new} new, {learned.corrected} corrected, {learned.known} known before")
    _complain(unreadable)


def _tell(learned: Learned, as_json: bool, done: str) -> None:
    if as_json:
        emit(dataclasses.asdict(learned))
        return
    click.echo(f"{done}; the model {learned.identity} has learned {learned.spam} spam and {learned.ham} ham")


def _complain(unreadable: list[Path]) -> None:
    if unreadable:
        fail(f"{len(unreadable)} unreadable")
