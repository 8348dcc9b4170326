"""Reports that nobody could parse: they wait, sealed, until staff have looked, assigned or dropped them.

Each look at one names a reason and leaves an audit entry, as looks at mail do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import NotFound
from relay.feedback.record import WAITING
from relay.store import audit, complaints

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from relay.keyring import Keyring
    from relay.outbox.hold import Deed


def look(tx: Connection, keyring: Keyring, deed: Deed, identifier: str) -> bytes:
    """Return a report as it came, on record; NotFound."""
    sealed = complaints.waiting_report(tx, identifier)
    audit.append(tx, deed.now, deed.who, "feedback.look", f"report {identifier}", deed.reason)
    return keyring.open(WAITING, sealed, identifier.encode())


def drop(tx: Connection, deed: Deed, identifier: str, action: str = "feedback.drop") -> None:
    """Delete a report that needs no more look, on record; NotFound."""
    if not complaints.drop_waiting(tx, identifier):
        raise NotFound(f"no report {identifier} waits")
    audit.append(tx, deed.now, deed.who, action, f"report {identifier}", deed.reason)
