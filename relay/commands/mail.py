"""`screen`, `learn` and `rules`: judge messages without sending them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from policies import acceptance
from relay import building, clock
from relay.commands.context import Context, emit, fail, json_option, pass_context, reporting_errors
from relay.ids import message_id
from relay.store import accounts
from screening.classify import training
from screening.classify.model import ModelError
from screening.mail import Envelope, Mail
from screening.rules.identity import identity_fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.model import Account
    from screening.verdict import Verdict

_COLOURS = {"deliver": "green", "tag": "yellow", "hold": "magenta", "refuse": "red", "defer": "cyan"}
_MOST_BYTES = 64 << 20


def _files(paths: tuple[Path, ...]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.is_file())
        else:
            yield path


def _mail(raw: bytes, account: Account | None) -> Mail:
    moment = clock.now()
    if b"\r\n" not in raw[:4096]:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    login = account.login if account else None
    envelope = Envelope(
        id=message_id(moment),
        peer_ip="",
        helo="",
        tls="",
        login=login,
        sender="",
        recipients=(),
        received_at=moment,
    )
    return Mail(envelope, raw)


@click.command()
@click.argument(
    "paths", nargs=-1, required=True, metavar="FILE…", type=click.Path(exists=True, path_type=Path)
)
@click.option("--login", default=None, help="Judge as if this account sent it, its sender rules included.")
@json_option
@pass_context
@reporting_errors
def screen(context: Context, paths: tuple[Path, ...], login: str | None, as_json: bool) -> None:
    """Say what would happen to messages; nothing is sent or recorded.

    Folders are walked. Without --login no rule about accounts applies. --json prints a line per file:
    {"file","score","action","hits":[{"rule","score","evidence"}],"ms"}.
    """
    config = context.config
    screener = building.screener(config)
    thresholds = acceptance.Thresholds(config.screening.tag, config.screening.hold, config.screening.refuse)
    account = None
    if login:
        with context.read() as tx:
            account = accounts.account(tx, login)
    unreadable = 0
    for file in _files(paths):
        try:
            with file.open("rb") as stream:
                raw = stream.read(_MOST_BYTES)
        except OSError as error:
            click.echo(f"{file}: {error.strerror}", err=True)
            unreadable += 1
            continue
        mail = _mail(raw, account)
        verdict = screener.offline(mail)
        fault = verdict.malformed
        if account and not fault:
            fault = identity_fault(mail, account.senders, lambda _domain: False)
        decision = acceptance.judge(
            verdict.score, fault, acceptance.Missing(len(verdict.unanswered)), thresholds
        )
        if as_json:
            emit({
                "file": str(file), "score": verdict.score, "action": str(decision.action),
                "hits": verdict.as_json(), "ms": round(verdict.milliseconds, 3),
            })  # fmt: skip
        else:
            _print(file, verdict, str(decision.action), decision.reason)
    if unreadable:
        fail(f"{unreadable} unreadable")


def _print(file: Path, verdict: Verdict, action: str, reason: str) -> None:
    click.echo(
        f"{click.style(action, fg=_COLOURS[action], bold=True):<8} {verdict.score:6.2f}  {file}  ({reason})"
    )
    for hit in sorted(verdict.hits, key=lambda hit: -abs(hit.score)):
        click.echo(f"   {hit.score:+6.2f}  {hit.rule:<28} {hit.evidence}")
    for name in verdict.unanswered:
        click.echo(f"        ?  {name:<28} gave no answer")


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
