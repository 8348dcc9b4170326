"""What waits for staff besides mail: a decision of the breaker, a report, a reporter, a switch that is on."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from relay import ids
from relay.feedback.record import WAITING
from relay.model import Level, State
from relay.store import complaints, decisions, emergency, reporters, suppression
from relay.store.emergency import Name, Switch

if TYPE_CHECKING:
    from tests.relay.console.conftest import World

CARL = "anna@globex.example"
REPORT = "ab" * 32
RAW = b"From: someone@far.example\r\n\r\n<b>you spam me</b>\r\n"
HELD = "circuit breaker: 12 of 40 accounts within the hour; staff decide"


def held_back(world: World, login: str = CARL, action: str = "deactivate") -> str:
    """Write down what policy would have done; return the case."""
    case, until = ids.case_id(), world.now + timedelta(hours=6)
    evidence: dict[str, Any] = {
        "action": action, "reason": "14 complaints of 900 relayed", "held_back": HELD, "numbers": {},
        "until": until.isoformat() if action == "deactivate" else None,
    }  # fmt: skip
    with world.store.begin() as tx:
        decisions.add(
            tx, world.now, case_id=case, level=Level.ACCOUNT, subject_id=world.account(login).id, step="rate",
            from_state=State.ACTIVE, to_state=State.ACTIVE, until=None, reason="14 complaints of 900 relayed",
            evidence=evidence, set_by=decisions.POLICY,
        )  # fmt: skip
    return case


def report(world: World, number: str = REPORT, raw: bytes = RAW) -> str:
    """Let a report wait that nobody could parse; return its number."""
    sealed = world.keyring.seal(WAITING, raw, number.encode())
    with world.store.begin() as tx:
        complaints.keep_waiting(tx, world.now, number, "no part is a report", sealed)
    return number


def turn_on(world: World, name: Name, hours: int = 1) -> None:
    with world.store.begin() as tx:
        until = world.now + timedelta(hours=hours)
        emergency.turn_on(tx, world.now, Switch(name, world.now, until, "staff:eve", "queues overflow"))


def desk_work(world: World) -> None:
    """Leave one of each."""
    held_back(world)
    report(world)
    turn_on(world, Name.BRAKE)
    acme = world.customer("acme").id
    with world.store.begin() as tx:
        reporters.add(tx, world.now, "fbl.isp.example", covers=["isp.example", "isp.test"], watched=True)
        who = world.keyring.recipient_hash(acme, "ben@there.example")
        suppression.add(tx, world.now, acme, who, until=world.now + timedelta(days=30))
