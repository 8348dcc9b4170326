"""Every error that Gatepost raises on purpose, cut by what to do next.

RelayError
├─ Deferred        try again later: a 4xx to the client, a retry for the outbox
├─ Failed          give up: a 5xx, or a bounce
├─ ConfigError     the operator: every fault of the configuration at once; exit 2
├─ NotFound        a name that the store does not know; exit 1
├─ Conflict        the store already holds it, or it changed under us; exit 1
└─ StoreError      the store cannot be read or written: 451, health goes red
anything else      a bug: 451 4.3.0 with constant text outside, the traceback only in the log
"""

from __future__ import annotations

from dataclasses import dataclass


class RelayError(Exception):
    """The root; its text is for staff and logs, never for a client."""


class Deferred(RelayError):
    """It may work later."""


class Failed(RelayError):
    """It will never work as it stands."""


class NotFound(RelayError):
    """The store knows no such customer, account, server, case or message."""


class Conflict(RelayError):
    """The name is taken, or another writer was first."""


class StoreError(RelayError):
    """The store could not be read or written."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with the configuration."""

    path: str
    given: str
    allowed: str
    hint: str = ""

    def __str__(self) -> str:
        """Return one line: path, given value, what is allowed, and a suggestion where there is one."""
        hint = f" (did you mean {self.hint}?)" if self.hint else ""
        return f"{self.path}: {self.given}: {self.allowed}{hint}"


class ConfigError(RelayError):
    """The configuration cannot be used; `faults` lists everything that is wrong with it."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults
