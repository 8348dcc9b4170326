"""The reporters that staff listed: how each proves itself, and for which recipient domains it speaks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from relay.clock import micros, moment
from relay.errors import Conflict, NotFound
from relay.store import changes
from relay.store.schema import reporter as _reporter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row


@dataclass(frozen=True, slots=True)
class Reporter:
    """A feedback loop's domain; `covers` are the recipient domains whose mail its votes are divided by."""

    domain: str
    covers: tuple[str, ...]
    #: the pinned public key (base64, the p= of its DNS record); None: DNS is asked
    dkim_key: str | None
    added_at: datetime
    #: its complaints are grade B: staff look whether it is to be believed
    watched: bool = False
    #: votes an hour, beyond which staff look first; None: ten times its usual
    cap: int | None = None


def _plain(domain: str) -> str:
    return domain.strip().rstrip(".").lower()


def _value(row: Row[Any]) -> Reporter:
    return Reporter(row.domain, tuple(row.covers), row.dkim_key, moment(row.added_us), row.watched, row.cap)


_columns = tuple(_reporter.c)
#: asked with every report that comes in: built once
_ALL = select(*_columns).order_by(_reporter.c.domain)


def add(  # noqa: PLR0913 - one argument a fact
    tx: Connection,
    now: datetime,
    domain: str,
    *,
    covers: Sequence[str],
    dkim_key: str | None = None,
    watched: bool = False,
    cap: int | None = None,
) -> Reporter:
    """List a reporter; Conflict if it is listed."""
    covered = [_plain(name) for name in covers]
    try:
        values = {"domain": _plain(domain), "covers": covered, "dkim_key": dkim_key, "added_us": micros(now)}
        tx.execute(insert(_reporter).values(**values, watched=watched, cap=cap))
    except IntegrityError:
        raise Conflict(f"reporter {domain} is listed already") from None
    changes.note(tx, now, changes.REPORTER, _plain(domain))
    return Reporter(_plain(domain), tuple(covered), dkim_key, now, watched, cap)


def trust(tx: Connection, now: datetime, domain: str, *, watched: bool, cap: int | None) -> None:
    """Change how far a reporter is believed from now on; votes that it gave stay. NotFound."""
    changed = update(_reporter).where(_reporter.c.domain == _plain(domain)).values(watched=watched, cap=cap)
    if not tx.execute(changed).rowcount:
        raise NotFound(f"there is no reporter {domain}")
    changes.note(tx, now, changes.REPORTER, _plain(domain))


def remove(tx: Connection, now: datetime, domain: str) -> None:
    """Strike a reporter off; NotFound."""
    if not tx.execute(delete(_reporter).where(_reporter.c.domain == _plain(domain))).rowcount:
        raise NotFound(f"there is no reporter {domain}")
    changes.note(tx, now, changes.REPORTER, _plain(domain))


def reporters(tx: Connection) -> list[Reporter]:
    """Return all reporters by domain."""
    return [_value(row) for row in tx.execute(_ALL)]


def reporter(tx: Connection, domain: str) -> Reporter | None:
    """Return the listed reporter that a signature of `domain` is aligned with: itself or a parent domain."""
    names = _plain(domain).split(".")
    parents = [".".join(names[start:]) for start in range(max(1, len(names) - 1))][-8:]
    found = [_value(row) for row in tx.execute(select(*_columns).where(_reporter.c.domain.in_(parents)))]
    return max(found, key=lambda listed: len(listed.domain), default=None)


def covering(tx: Connection, domain: str) -> tuple[str, ...]:
    """Return the recipient domains that the reporter of `domain` speaks for; none if it is not listed."""
    found = reporter(tx, domain)
    return found.covers if found else ()
