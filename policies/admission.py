"""Who may send now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from policies.decision import Decision, Number
from policies.standing import State, in_force


class Admit(StrEnum):
    """What becomes of a recipient: taken, taken and released at a pace, or refused."""

    YES = "yes"
    PACE = "pace"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Held:
    """One switch that binds the sender: whose (`account`, `server`, `customer`, …), its state and its end."""

    level: str
    state: str
    until: datetime | None = None
    reason: str = ""


_ADMITS = {
    State.ACTIVE: Admit.YES,
    State.THROTTLED: Admit.PACE,
    State.DEACTIVATED: Admit.REFUSE,
    State.SUSPENDED: Admit.REFUSE,
    State.CLOSED: Admit.REFUSE,
}


def judge(
    held: Iterable[Held], now: datetime, *, escape: bool = False, braked: bool = False
) -> Decision[Admit]:
    """Decide from every switch that binds the sender; the strictest wins, a timed one only until its end.

    `escape`: the recipient is postmaster, abuse or support, reachable in every standing but closed.
    `braked`: staff have stopped all delivery; mail is taken and waits.
    """
    worst = Held("account", State.ACTIVE)
    worst_state = State.ACTIVE
    for one in held:
        state = in_force(one.state, one.until, now)
        if state.severity > worst_state.severity:
            worst, worst_state = one, state
    numbers: dict[str, Number] = {"level": worst.level, "state": worst_state.value}
    if escape and worst_state is not State.CLOSED:
        return Decision(Admit.YES, "this address stays reachable", numbers)
    admit = _ADMITS[worst_state]
    if admit is Admit.YES:
        if braked:
            return Decision(Admit.PACE, "all delivery is stopped by staff", numbers)
        return Decision(Admit.YES, "", numbers)
    until = (
        f" until {worst.until:%Y-%m-%d %H:%M} UTC" if worst.until and worst_state is not State.CLOSED else ""
    )
    because = f": {worst.reason}" if worst.reason else ""
    return Decision(admit, f"{worst.level} {worst_state.value}{until}{because}", numbers)
