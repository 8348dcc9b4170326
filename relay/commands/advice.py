"""What `check` warns of: nothing that keeps the relay from serving, and all of it else found out too late."""

from __future__ import annotations

import difflib
import stat
from datetime import timedelta
from typing import TYPE_CHECKING

from relay import clock, premises, scanning
from relay.model import Tls
from relay.store import accounts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from relay.config import Config

_SOON = timedelta(days=14)


def of_files(config: Config) -> Iterator[str]:
    """Yield what is wrong with keys, certificate and folders."""
    certificate = config.path(config.tls.certificate)
    if premises.self_signed(certificate):
        yield f"{certificate} is signed by itself: mail clients will warn"
    now, ends = clock.now(), premises.look(config).certificate_ends_at
    if ends and ends < now + _SOON:
        said = "ended" if ends < now else "ends"
        yield f"{certificate} {said} on {ends:%Y-%m-%d}: mail clients will refuse it"
    keys = [config.path(path) for path in (config.keys.master, config.tls.key, config.signing.key)]
    for key in [*keys, *sorted(config.folder.glob("keys/dkim/*.pem"))]:
        if _open_to_all(key):
            yield f"{key} can be read by every user of this machine: chmod 600 {key}"
    if config.notices.templates and not config.path(config.notices.templates).is_dir():
        yield f"notices.templates: there is no folder {config.notices.templates}: the shipped texts are sent"


def of_customers(config: Config, tx: Connection) -> Iterator[str]:
    """Yield what is wrong with customers' servers, and which customers are named that there are not."""
    for server in accounts.servers(tx):
        if server.tls is Tls.NONE and any(scanning.leaves(host) for host in server.hosts):
            yield f"mail goes to server {server.name} in clear text (--tls none)"
        secret = config.folder / server.relay_secret_file
        if server.relay_secret_file and not secret.is_file():
            yield f"{secret} is not there: nothing can log in at server {server.name}, so its mail is put off"
        elif server.relay_secret_file and _open_to_all(secret):
            yield f"{secret} can be read by every user of this machine: chmod 600 {secret}"
    known = {customer.name for customer in accounts.customers(tx)}
    for key, named in (
        ("unsubscribe.customers", config.unsubscribe.customers),
        ("returns.customers", config.returns.customers),
        ("rates.by_customer", config.rates.by_customer),
    ):
        for name in sorted({*named} - known):
            close = difflib.get_close_matches(name, known, n=1)
            yield f"{key}: there is no customer {name}" + (f" (did you mean {close[0]}?)" if close else "")


def _open_to_all(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
