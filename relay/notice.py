"""One notice: what happened to whom, why, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a notice is about; each has a template of its name for customers."""

    WARN = "warn"
    THROTTLE = "throttle"
    DEACTIVATE = "deactivate"
    SUSPEND = "suspend"
    BLOCK_CREDENTIAL = "block_credential"
    REINSTATE = "reinstate"
    LIMIT_NEAR = "limit_near"
    LIMIT = "limit"
    #: a customer appeals against a case; told to staff and programs alone
    APPEAL = "appeal"


class Channel(StrEnum):
    """Who is told, and how."""

    CUSTOMER = "customer"
    STAFF = "staff"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class Notice:
    """Everything that a template may say; no recipient and no complainer is ever among it."""

    kind: Kind
    case_id: str
    at: datetime
    level: str  #: account, server or customer
    subject: str  #: login or name
    customer: str
    state: str
    until: datetime | None
    reason: str
    #: what would lift it, "" where nothing needs to be
    lifts: str = ""
    #: the clause of the transmission policy that it rests on, as "TP 2.1 (2026-11)"
    clause: str = ""
    #: where to appeal, "" where there is nothing to appeal against
    appeal: str = ""
    set_by: str = ""
    brand: str = ""
    phone: str = ""
    numbers: Mapping[str, float | int | str] = field(default_factory=dict)


_BY_STATE = {
    "active": Kind.REINSTATE,
    "throttled": Kind.THROTTLE,
    "deactivated": Kind.DEACTIVATE,
    "suspended": Kind.SUSPEND,
}


#: what a customer may appeal against
APPEALABLE = (Kind.WARN, Kind.THROTTLE, Kind.DEACTIVATE, Kind.SUSPEND, Kind.BLOCK_CREDENTIAL)
#: what is told although no state changes
_SAID = (Kind.WARN, Kind.LIMIT_NEAR, Kind.LIMIT, Kind.APPEAL)


def kind_of(before: str, after: str, evidence: Mapping[str, Any]) -> Kind | None:
    """Return what a case is to its customer; None where nobody is told (closed, or nothing changed)."""
    action = evidence.get("action")
    if action == Kind.BLOCK_CREDENTIAL and not evidence.get("held_back"):
        return Kind.BLOCK_CREDENTIAL
    if before != after:
        return _BY_STATE.get(after)
    return Kind(action) if action in _SAID else None
