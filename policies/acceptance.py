"""What happens to one screened message."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from policies.decision import Decision, Number


class Action(StrEnum):
    """What the pipeline does with a message; later members are stricter, but for `defer`."""

    DELIVER = "deliver"
    TAG = "tag"
    HOLD = "hold"
    REFUSE = "refuse"
    DEFER = "defer"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Scores, in points, from which on a message is tagged, held or refused."""

    tag: float = 4.0
    hold: float = 7.0
    refuse: float = 12.0


@dataclass(frozen=True, slots=True)
class Missing:
    """Checks that gave no answer: how many, and of which the operator said what follows from that."""

    unanswered: int = 0
    #: silent scanners without whose answer a message is tried again later, or held; by name
    defer: tuple[str, ...] = ()
    hold: tuple[str, ...] = ()


def judge(
    score: float,
    malformed: str,
    missing: Missing,
    thresholds: Thresholds,
    *,
    screened: bool = True,
    defer_on_failure: bool = True,
) -> Decision[Action]:
    """Decide what happens to a message from its score, in points.

    `malformed` refuses whatever the score. `screened=False` says that screening itself failed: the message is
    deferred, unless the operator chose to skip screening then. A single check without an answer changes the
    action only where the operator said so for it (`Missing`), for one lame scanner would stop all mail; all
    are named, so that journal and console show them.
    """
    numbers: dict[str, Number] = {"score": score, "unanswered": missing.unanswered}
    if malformed:
        return Decision(Action.REFUSE, malformed, numbers)
    if not screened and score < thresholds.refuse:
        if defer_on_failure:
            return Decision(Action.DEFER, "screening failed, to be tried again", numbers)
        return Decision(Action.DELIVER, "screening failed and is set to be skipped then", numbers)
    if missing.defer and score < thresholds.refuse:
        return Decision(
            Action.DEFER, f"{', '.join(missing.defer)} gave no answer, to be tried again", numbers
        )
    silent = f", {missing.unanswered} checks gave no answer" if missing.unanswered else ""
    if missing.hold and score < thresholds.hold:
        return Decision(Action.HOLD, f"{', '.join(missing.hold)} gave no answer, staff look first", numbers)
    for action, limit in (
        (Action.REFUSE, thresholds.refuse),
        (Action.HOLD, thresholds.hold),
        (Action.TAG, thresholds.tag),
    ):
        if score >= limit:
            reason = f"score {score:g} reaches {limit:g} ({action}){silent}"
            return Decision(action, reason, {**numbers, "threshold": limit})
    return Decision(Action.DELIVER, f"score {score:g} is below {thresholds.tag:g}{silent}", numbers)
