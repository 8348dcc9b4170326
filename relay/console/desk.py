"""What every page and route works with, and who is asking."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from relay.console.roles import May
from relay.errors import RelayError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from typing import Any

    from jinja2 import Environment

    from relay.config import Config
    from relay.console.attempts import Attempts
    from relay.console.login import Touches
    from relay.console.series import Series
    from relay.events import Event
    from relay.feedback.intake import Intake
    from relay.keyring import Keyring
    from relay.outbox.report import Reports
    from relay.store.directory import Directory
    from relay.store.engine import Store
    from relay.store.outbox import Row
    from relay.store.viewed import MessageRow

R = TypeVar("R", "MessageRow", "Row")


class Forbidden(RelayError):
    """The one who asks may not do this; audited, then 403."""

    def __init__(self, may: May) -> None:
        super().__init__(may.value)
        self.may = may


class NotLoggedIn(RelayError):
    """Nobody known asks: to the login page, or 401."""


class Refused(RelayError):
    """The request cannot be trusted or understood; its text is for the one who asks."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks: a member of staff in a session, or the holder of an API token."""

    name: str
    role: str
    may: frozenset[May]
    #: what audit and decisions write: `staff:NAME` or `token:PREFIX`
    mark: str
    csrf: str = field(default="", repr=False)
    #: the customer outside of whose rows nothing exists for this visitor; None: all
    only: int | None = None

    @property
    def sees_mail(self) -> bool:
        """Return whether what rules quote from mail is for this visitor: its owner, or who may look at it."""
        return May.MAIL in self.may or self.only is not None

    def sees(self, row: R) -> R:
        """Return a message's row as this visitor may see it."""
        if self.sees_mail:
            return row
        hits = tuple({name: said for name, said in hit.items() if name != "evidence"} for hit in row.hits)
        return dataclasses.replace(row, hits=hits)

    def needs(self, may: May) -> None:
        """Raise Forbidden unless the visitor may."""
        if may not in self.may:
            raise Forbidden(may)


@dataclass(slots=True)
class Desk:
    """The console's parts, handed in by the daemon."""

    store: Store
    directory: Directory | None
    config: Config
    now: Callable[[], datetime]
    metrics: Callable[[], bytes]
    ready: Callable[[], tuple[bool, dict[str, Any]]]
    emit: Callable[[Event], None]
    keyring: Keyring
    #: takes reports that are posted; None: none are
    intake: Intake | None
    words: Environment
    attempts: Attempts
    touches: Touches
    series: Series
    reports: Reports
    #: argon2id takes tens of milliseconds: never in the loop, and never more than one at once
    hashing: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, "gatepost-console-hash")
    )
