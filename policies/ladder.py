"""The ladder: named steps, each a condition over a tally, an action and a reason.

`judge` takes the strictest step that applies. What it answers carries the numbers that the step looked at, so
that `recompute` can make the same decision again from stored evidence alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any

from policies import document
from policies import rungs as reading
from policies.condition import Condition, ConditionError, Facts
from policies.decision import Decision, Number
from policies.document import Table, spell
from policies.rungs import INPUTS, STANDING, STRICTNESS, Rung
from policies.standing import ESCALATION, Move, StandingNow, escalation
from policies.tally import NAMES, Tally

SHIPPED = Path(__file__).with_name("ladder.toml")

_tally_values = attrgetter(*NAMES)
_standing_values = attrgetter(*STANDING)


class LadderError(Exception):
    """A ladder, or evidence, that cannot be used; `faults` is everything that is wrong with it."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Step:
    """What to do about one subject."""

    action: Move
    name: str = ""
    duration: timedelta | None = None
    until: datetime | None = None
    #: what would lift it, for notices and staff
    lifts: str = ""
    #: every step that applies, strictest first
    applies: tuple[str, ...] = ()
    #: the credential in use is to be blocked, whatever else happens
    blocks_credential: bool = False


@dataclass(frozen=True, slots=True)
class Ladder:
    """Every step, in the order of the file; `hash` is of the content, not of comments and white space."""

    rungs: tuple[Rung, ...]
    definitions: Mapping[str, Condition] = field(default_factory=dict)
    durations: tuple[timedelta, ...] = ESCALATION
    #: whether any step applies at all, in one question
    any_step: Condition | None = None

    @property
    def hash(self) -> str:
        """Return the SHA-256 of the normalised content, in hexadecimal."""
        text = json.dumps(self.normalised(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def normalised(self) -> dict[str, Any]:
        """Return the content without comments, order of keys and white space."""
        return {
            "escalation": [spell(one) for one in self.durations],
            "define": {name: one.text for name, one in self.definitions.items()},
            "step": [rung.text() for rung in self.rungs],
        }


def load(path: Path | None = None) -> Ladder:
    """Read a ladder file, the shipped one for None; LadderError with every fault at once."""
    source = path or SHIPPED
    try:
        return parse(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise LadderError((f"{source}: cannot be read: {why}",)) from None


def parse(text: str) -> Ladder:
    """Read a ladder; LadderError with every fault at once."""
    tables, broken = document.parse(text)
    if broken:
        raise LadderError(broken)
    faults: list[str] = []
    top = Table("ladder", tables, faults)
    durations = top.take_if("escalation", reading.durations, ESCALATION)
    definitions = reading.definitions(top.take_if("define", document.anything, None), faults)
    rungs = reading.rungs(top.take("step", document.anything, None), definitions, faults)
    top.end(("escalation", "define", "step"))
    faults.extend(reading.trials(rungs, definitions))
    if faults:
        raise LadderError(tuple(faults))
    anything = " || ".join(f"({rung.when.text})" for rung in rungs)
    any_step = Condition.read(anything, (*INPUTS, *definitions)) if rungs else None
    return Ladder(rungs, definitions, durations, any_step)


def judge(ladder: Ladder, tally: Tally, standing: StandingNow, now: datetime) -> Decision[Step]:
    """Return the strictest step that applies to this tally and standing, or `keep`."""
    numbers = dict(zip(INPUTS, (*_tally_values(tally), *_standing_values(standing)), strict=True))
    return judge_numbers(ladder, numbers, now) or _kept(numbers)


def judge_numbers(ladder: Ladder, numbers: Mapping[str, Number], now: datetime) -> Decision[Step] | None:
    """Do as `judge` from every number by its name; None for `keep`, the answer of almost every question."""
    facts = Facts(numbers, ladder.definitions)
    if ladder.any_step is not None:
        try:
            if facts.value(ladder.any_step) is False:
                return None
        except ConditionError:
            pass  # one step cannot be judged: each is asked alone
    return _judge(ladder, facts, now)


def evidence(ladder: Ladder, decision: Decision[Step], now: datetime) -> dict[str, Any]:
    """Return a decision in the form that is stored: JSON values from which it can be made again."""
    step = decision.action
    rung = next((one for one in ladder.rungs if one.name == step.name), None)
    return {
        "ladder": ladder.hash,
        "step": rung.text() if rung else {},
        "define": {one: ladder.definitions[one].text for one in rung.definitions} if rung else {},
        "escalation": [spell(one) for one in ladder.durations],
        "numbers": dict(decision.numbers),
        "at": now.isoformat(),
        "action": step.action.value,
        "until": step.until.isoformat() if step.until else None,
        "reason": decision.reason,
        "lifts": step.lifts,
    }


def recompute(stored: Mapping[str, Any]) -> Decision[Step]:
    """Make a decision again from stored evidence alone; LadderError where the evidence cannot be read.

    The caller compares action, until, reason and numbers with the stored ones: an altered number shows.
    """
    faults: list[str] = []
    try:
        numbers: dict[str, Number] = dict(stored["numbers"])
        now = datetime.fromisoformat(stored["at"])
        durations = reading.durations(stored["escalation"])
        definitions = reading.definitions(stored["define"], faults)
        rungs = reading.rungs([stored["step"]] if stored["step"] else [], definitions, faults)
    except (KeyError, TypeError, ValueError) as error:
        raise LadderError((f"evidence cannot be read: {error!r}",)) from None
    missing = [one for rung in rungs for one in rung.inputs if one not in numbers]
    faults.extend(f"evidence has no number {one}" for one in missing)
    if faults:
        raise LadderError(tuple(faults))
    given = {key: value for key, value in numbers.items() if key not in definitions}
    return _judge(Ladder(rungs, definitions, durations), Facts(given, definitions), now) or _kept(given)


def _kept(numbers: Mapping[str, Number]) -> Decision[Step]:
    kept = {key: value for key, value in numbers.items() if value and key in NAMES}
    return Decision(Step(Move.KEEP), "no step applies", kept)


def _judge(ladder: Ladder, facts: Facts, now: datetime) -> Decision[Step] | None:
    applies: list[tuple[Rung, Move]] = []
    unjudged: list[str] = []
    for rung in ladder.rungs:
        try:
            if facts.value(rung.when) is True:
                applies.append((rung, _escalated(ladder, rung, facts)))
        except ConditionError:  # beyond what was tried at load: this step says nothing, the others do
            unjudged.append(rung.name)
    if facts.get("credential_blocked"):
        applies = [one for one in applies if one[1] is not Move.BLOCK_CREDENTIAL]
    doubt: dict[str, Number] = {"unjudged": ", ".join(unjudged)} if unjudged else {}
    if not applies:
        return Decision(Step(Move.KEEP), "no step applies", doubt) if unjudged else None
    applies.sort(
        key=lambda one: STRICTNESS.index(one[1]), reverse=True
    )  # stable: the file's order among equals
    decision = _decide(ladder, *applies[0], facts, now)
    step = replace(
        decision.action,
        applies=tuple(rung.name for rung, _ in applies),
        blocks_credential=any(move is Move.BLOCK_CREDENTIAL for _, move in applies),
    )
    return Decision(step, decision.reason, {**decision.numbers, **doubt})


def _escalated(ladder: Ladder, rung: Rung, numbers: Mapping[str, Any]) -> Move:
    """Return the rung's move; a switch-off whose automatic returns are used up becomes a suspension."""
    used_up = escalation(int(numbers["automatic_returns_30d"]), ladder.durations) is None
    return Move.SUSPEND if rung.action is Move.DEACTIVATE and used_up else rung.action


def _decide(ladder: Ladder, rung: Rung, move: Move, facts: Facts, now: datetime) -> Decision[Step]:
    lasts = rung.duration if move is rung.action else None
    if move is Move.DEACTIVATE and lasts is None:
        lasts = escalation(int(facts["automatic_returns_30d"]), ladder.durations)
    until = now + lasts if lasts else None
    words = {
        "until": f"at {until:%Y-%m-%d %H:%M} UTC" if until else "when staff reinstate it",
        "duration": spell(lasts) if lasts else "no set time",
    }
    reason = reading.render(rung.reason, facts, rung, words)
    if move is not rung.action:
        reason += f"; the {facts['automatic_returns_30d']} automatic returns of 30 days are used up"
    step = Step(move, rung.name, lasts, until, reading.render(rung.lifts, facts, rung, words))
    return Decision(step, reason, {one: facts[one] for one in (*rung.inputs, *rung.definitions)})
