"""What every command shares: the configuration, the store, the keys, and how it ends."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from relay import clock
from relay import config as configuration
from relay.errors import ConfigError, RelayError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from io import RawIOBase
    from pathlib import Path

    from sqlalchemy import Connection

    from relay.keyring import Keyring
    from relay.store.engine import Store

P = ParamSpec("P")
R = TypeVar("R")

REFUSED, USAGE = 1, 2
#: characters of a summary, more than any has
_SENTENCE = 500
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?\+00:00")


class Group(click.Group):
    """Commands that belong together; its help says of each all of its first sentence."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, in lines as many as they need."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.get_short_help_str(_SENTENCE)) for name, command in found if command]
            )


class Context:
    """One invocation; everything is opened when it is first asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def config(self) -> configuration.Config:
        """Return the validated configuration; ConfigError otherwise."""
        return configuration.load(self.path)

    @cached_property
    def keyring(self) -> Keyring:
        """Return the master keys; ConfigError otherwise."""
        from relay.keyring import Keyring  # here and below: commands that only look at files start sooner

        return Keyring.load(self.config.path(self.config.keys.master))

    @cached_property
    def store(self) -> Store:
        """Return the migrated store, closed when the command ends."""
        from relay.store.engine import Store

        try:
            store = Store(self.config.store.url, self.config.folder)
            store.migrate()
        except StoreError as error:
            what = str(error).removeprefix("store.url: ")
            raise StoreError(f"{self.path}: the store of store.url cannot be used: {what}") from error
        click.get_current_context().call_on_close(store.close)
        return store

    def hand_over(self, *paths: Path) -> None:
        """Give files that root made to the daemon: to the owner of the configuration's folder."""
        if os.geteuid() == 0:
            owner = self.config.folder.stat()
            for path in paths:
                os.chown(path, owner.st_uid, owner.st_gid)

    def begin(self) -> AbstractContextManager[Connection]:
        """Open one write transaction."""
        return self.store.begin()

    def read(self) -> AbstractContextManager[Connection]:
        """Open one read transaction."""
        return self.store.read()


def audited(tx: Connection, action: str, thing: str, **details: Any) -> None:
    """Write down what staff did from the command line, in the transaction of the deed; never a secret."""
    from relay.store import audit

    audit.append(tx, clock.now(), "staff:command-line", action, thing, "", details)


pass_context = click.make_pass_decorator(Context)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def fail(text: str, code: int = REFUSED) -> None:
    """Say what went wrong on stderr and end with `code`."""
    click.echo(text, err=True)
    sys.exit(code)


def reporting_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn errors of ours, and of files, into one line on stderr: exit 2 for the configuration, else 1."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ConfigError as error:
            for fault in error.faults:
                click.echo(str(fault), err=True)
            sys.exit(USAGE)
        except RelayError as error:
            click.echo(str(error), err=True)
            sys.exit(REFUSED)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # who reads our lines has had enough of them
            click.echo(f"{error.filename or 'failed'}: {error.strerror or error}", err=True)
            sys.exit(REFUSED)

    return guarded


def content_of(path: Path, most: int) -> bytes:
    """Return a file's first `most` bytes; OSError.

    No more room is asked for than the file needs: 64 MB for each small file cost a fifth of `screen`.
    """
    with path.open("rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size  # 0 for pipes and what the kernel makes up
        return stream.read(min(size, most)) if size else b"".join(_pieces(stream, most))


def _pieces(stream: RawIOBase, most: int) -> Iterator[bytes]:
    while most > 0 and (piece := stream.read(min(most, 1 << 20))):
        most -= len(piece)
        yield piece


def emit(data: Any) -> None:
    """Print one JSON line on stdout."""
    click.echo(json.dumps(data, ensure_ascii=False, default=str))


def plain(text: str) -> str:
    """Return a moment as people read it, any other text as it is; JSON keeps the exact one.

    What senders and servers wrote moves no cursor and changes no colour of a terminal.
    """
    if found := _MOMENT.fullmatch(text):
        return f"{found[1]} {found[2]} UTC"
    return "".join(one if one.isprintable() or one == "\n" else "\ufffd" for one in text)


def numbers(named: Mapping[str, Any], as_json: bool) -> dict[str, Any]:
    """Return the numbers of a tally or of evidence: under their names, or as people say them, zeros last."""
    if as_json:
        return dict(named)
    from relay.console.words import NUMBER_WORDS

    said = {NUMBER_WORDS.get(name, name): value for name, value in named.items() if value or value is None}
    zeros = len(named) - len(said)
    return said | ({f"{'the other' if said else 'all'} {zeros}": 0} if zeros else {})


def table(rows: Sequence[tuple[str, ...]], header: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of an aligned table; an empty one says so."""
    if not rows:
        yield "none"
        return
    rows = [tuple(plain(cell).replace("\n", " ") for cell in row) for row in rows]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def show(data: Mapping[str, Any], as_json: bool) -> None:
    """Print one thing: a JSON line, or its facts one below the other."""
    if as_json:
        emit(data)
        return
    width = max((len(key) for key in data), default=0)
    for key, value in data.items():
        if isinstance(value, dict):
            if not value:
                click.echo(f"{key:<{width}}  -")
                continue
            click.echo(f"{key}:")
            inner = max(len(name) for name in value)
            for name, item in value.items():
                click.echo(f"    {name:<{inner}}  {plain(str(item))}")
        elif isinstance(value, list | tuple):
            click.echo(f"{key:<{width}}  {plain(' '.join(map(str, value))) or '-'}")
        else:
            said = plain(str(value)) if value not in (None, "") else "-"
            click.echo(f"{key:<{width}}  {said.replace(chr(10), chr(10) + ' ' * (width + 2))}")
