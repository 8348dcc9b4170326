"""Two switches for emergencies: `brake` (take mail, deliver none) and `bypass` (nothing bites); both end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from relay.clock import micros, moment
from relay.errors import NotFound
from relay.store import audit, changes
from relay.store.schema import switch as _switch

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Name(StrEnum):
    """Which switch."""

    BRAKE = "brake"
    BYPASS = "bypass"


@dataclass(frozen=True, slots=True)
class Switch:
    """One switch that is on, until a moment."""

    name: Name
    since: datetime
    until: datetime
    set_by: str
    reason: str


class Switches:
    """Both switches in memory; one for a process, read again when a change tells so."""

    def __init__(self) -> None:
        self._on: dict[str, Switch] = {}

    def take(self, found: list[Switch]) -> None:
        """Replace what is known."""
        self._on = {one.name: one for one in found}

    def on(self, name: Name, now: datetime) -> bool:
        """Return whether a switch is on and its end has not come."""
        if not self._on:
            return False
        known = self._on.get(name)
        return known is not None and now < known.until


def turn_on(tx: Connection, now: datetime, one: Switch) -> None:
    """Turn a switch on, or give it another end and reason; audited, and every process hears of it."""
    tx.execute(delete(_switch).where(_switch.c.name == str(one.name)))
    tx.execute(
        insert(_switch).values(
            name=str(one.name),
            since_us=micros(one.since),
            until_us=micros(one.until),
            set_by=one.set_by,
            reason=one.reason,
        )
    )
    changes.note(tx, now, changes.SWITCH, str(one.name))
    audit.append(
        tx, now, one.set_by, f"{one.name} on", one.name, one.reason, {"until": one.until.isoformat()}
    )


def turn_off(tx: Connection, now: datetime, name: Name, *, who: str, reason: str) -> None:
    """Turn a switch off before its end; NotFound if it is off."""
    if not tx.execute(delete(_switch).where(_switch.c.name == str(name))).rowcount:
        raise NotFound(f"the {name} is not on")
    changes.note(tx, now, changes.SWITCH, str(name))
    audit.append(tx, now, who, f"{name} off", name, reason)


def switched_on(tx: Connection, now: datetime) -> list[Switch]:
    """Return the switches that are on."""
    rows = tx.execute(select(_switch).where(_switch.c.until_us > micros(now)).order_by(_switch.c.name))
    return [
        Switch(Name(row.name), moment(row.since_us), moment(row.until_us), row.set_by, row.reason)
        for row in rows
    ]
