"""`screen`: judge messages without sending them."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from policies import acceptance
from relay import clock, collector, screens
from relay.commands.context import Context, content_of, fail, json_option, pass_context, reporting_errors
from screening.classify.training import files_in
from screening.mail import Envelope, Mail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from policies.acceptance import Action
    from policies.decision import Decision
    from relay.conduct import Conduct
    from relay.model import Account
    from screening.screen import Screen
    from screening.verdict import Verdict

_COLOURS = {"deliver": "green", "tag": "yellow", "hold": "magenta", "refuse": "red", "defer": "cyan"}
_MOST_BYTES = 64 << 20
#: fewer files are judged sooner than further processes start
_WORTH_PROCESSES = 400
_CHUNK = 50
#: chunks that wait for an earlier one, by process: memory stays bounded however slowly answers are read
_AHEAD = 4
_SHOWN_TIMES = 8
_NOBODY = Envelope("", "", "", "", None, "", (), clock.now())
_encoded = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose mail it is said to be, and what that account agreed to."""

    account: Account
    conduct: Conduct

    def mail(self, raw: bytes) -> Mail:
        """Return a message as its login would submit it: over TLS, from its author, to whom it names."""
        bare = Mail(_NOBODY, raw)
        people = [box.address for name in ("to", "cc", "bcc") for box in bare.mailboxes(name)]
        login, author = self.account.login, bare.author.address
        recipients = tuple(dict.fromkeys(people))
        return Mail(Envelope("", "", "", "TLSv1.3", login, author, recipients, clock.now()), raw)


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges files by one configuration and writes down what came of it."""

    screen: Screen
    thresholds: acceptance.Thresholds
    sender: Sender | None
    as_json: bool
    times: bool

    def lines(self, files: Sequence[Path]) -> tuple[str, list[str]]:
        """Return what is to be printed about files, and a sentence for each that cannot be read."""
        out: list[str] = []
        unreadable: list[str] = []
        for file in files:
            try:
                raw = content_of(file, _MOST_BYTES)
            except OSError as error:
                unreadable.append(f"{file}: {error.strerror}")
                continue
            verdict, decision = self._judged(raw)
            if self.as_json:
                out.append(_json(file, verdict, decision.action))
            else:
                out.extend(_text(file, verdict, decision))
            if self.times:
                out.extend(_times(verdict))
        return "".join(f"{line}\n" for line in out), unreadable

    def _judged(self, raw: bytes) -> tuple[Verdict, Decision[Action]]:
        if b"\r\n" not in raw[:4096]:
            raw = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        mail = self.sender.mail(raw) if self.sender else Mail(_NOBODY, raw)
        verdict = self.screen.offline(mail, timed=self.times)
        if self.sender:
            account, conduct = self.sender.account, self.sender.conduct
            verdict = conduct.identified(account, mail, verdict)
            return verdict, conduct.decide(account, verdict)
        missing = acceptance.Missing(len(verdict.unanswered))
        return verdict, acceptance.judge(verdict.score, verdict.malformed, missing, self.thresholds)


@click.command()
@click.argument(
    "paths", nargs=-1, required=True, metavar="FILE…", type=click.Path(exists=True, path_type=Path)
)
@click.option(
    "--login",
    default=None,
    help="Judge as if this account sent it: its senders, its clauses, its customer's mode.",
)
@click.option("--times", is_flag=True, help="Add how long the stages and the slowest rules took.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=None, help="Processes; as many as CPUs for many files."
)
@json_option
@pass_context
@reporting_errors
def screen(
    context: Context, paths: tuple[Path, ...], login: str | None, times: bool, jobs: int | None, as_json: bool
) -> None:
    """Say what would happen to messages; nothing is sent or recorded.

    Folders are walked, links to files are followed; answers come in the files' order. Without --login no rule
    about accounts applies. --json prints a line per file:
    {"file","score","action","hits":[{"rule","score","evidence"}],"ms"}.
    """
    config = context.config
    thresholds = acceptance.Thresholds(config.screening.tag, config.screening.hold, config.screening.refuse)
    sender = _sender(context, login) if login else None
    judge = Judge(screens.screener(config), thresholds, sender, as_json, times and not as_json)
    collector.spare()
    files = list(files_in(paths))
    jobs = jobs or (len(os.sched_getaffinity(0)) if len(files) >= _WORTH_PROCESSES else 1)
    unreadable = 0
    hidden = len(files) < _CHUNK or not sys.stderr.isatty() or sys.stdout.isatty()
    with click.progressbar(length=len(files), label="screened", file=sys.stderr, hidden=hidden) as bar:
        for count, text, faults in _judged(judge, files, jobs):
            click.echo(text, nl=False, color=False if os.environ.get("NO_COLOR") else None)
            if faults:
                click.echo("\n".join(faults), err=True)
            unreadable += len(faults)
            bar.update(count)
    if unreadable:
        fail(f"{unreadable} unreadable")


def _sender(context: Context, login: str) -> Sender:
    """Return the account as the daemon knows it: clauses, other customers' domains, what it sent today."""
    from relay import building  # here: without a login nothing of the daemon is needed
    from relay.conduct import Conduct
    from relay.store import accounts, domains, habits

    conduct = Conduct(context.config, None)
    conduct.transmission = building.transmission(context.config)
    with context.read() as tx:
        account = accounts.account(tx, login)
        sent = habits.today(tx, account.id, clock.now())
        owners = domains.owners(tx)
    conduct.foreign = lambda customer, domain: domains.foreign(owners, customer, domain)
    conduct.recipients_24h = lambda _account: sent
    context.store.close()  # its threads would not live in forked processes
    return Sender(account, conduct)


def _judged(judge: Judge, files: Sequence[Path], jobs: int) -> Iterator[tuple[int, str, list[str]]]:
    """Yield how many files were judged, what to print and what could not be read, in the files' order."""
    chunk = _CHUNK if len(files) > _CHUNK else 1
    chunks = [files[start : start + chunk] for start in range(0, len(files), chunk)]
    if jobs == 1:
        yield from ((len(part), *judge.lines(part)) for part in chunks)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # forked: the rules are there already, and memory that nobody changes is shared
    fork = multiprocessing.get_context("fork")
    waiting: deque[tuple[int, Future[tuple[str, list[str]]]]] = deque()
    with ProcessPoolExecutor(jobs, mp_context=fork, initializer=_serve, initargs=(judge,)) as pool:
        for part in chunks:
            waiting.append((len(part), pool.submit(_lines, part)))
            if len(waiting) >= _AHEAD * jobs:
                count, answer = waiting.popleft()
                yield count, *answer.result()
        for count, answer in waiting:
            yield count, *answer.result()


#: in a process that judges for another one: by what
_judges: list[Judge] = []


def _serve(judge: Judge) -> None:
    _judges[:] = [judge]


def _lines(files: Sequence[Path]) -> tuple[str, list[str]]:
    return _judges[0].lines(files)


def _json(file: Path, verdict: Verdict, action: Action) -> str:
    fields = {
        "file": str(file),
        "score": verdict.score,
        "action": str(action),
        "hits": verdict.as_json(),
        "ms": round(verdict.milliseconds, 3),
    }
    return _encoded(fields)


def _text(file: Path, verdict: Verdict, decision: Decision[Action]) -> Iterator[str]:
    action = str(decision.action)
    name = click.style(f"{action:<8}", fg=_COLOURS[action], bold=True)
    yield f"{name} {verdict.score:6.2f}  {click.style(str(file), bold=True)}  ({decision.reason})"
    for hit in sorted(verdict.hits, key=lambda hit: -abs(hit.score)):
        points = click.style(f"{hit.score:+6.2f}", fg="red" if hit.score > 0 else "green")
        yield f"   {points}  {hit.rule:<28} {hit.evidence}".rstrip()
    for check in verdict.unanswered:
        yield f"   {click.style('     ?', fg='cyan')}  {check:<28} gave no answer"


def _times(verdict: Verdict) -> Iterator[str]:
    stages = ("patterns", "checks", "conditions")
    rules = sorted(
        ((spent, name) for name, spent in verdict.timings.items() if name not in stages), reverse=True
    )
    spent = [(name, verdict.timings.get(name, 0.0)) for name in stages]
    yield f"   ruleset {verdict.ruleset}: " + ", ".join(f"{name} {span:.3f} ms" for name, span in spent)
    yield "   slowest: " + ", ".join(f"{name} {span:.3f} ms" for span, name in rules[:_SHOWN_TIMES])
