"""The steps of a ladder as its file has them, read so that every fault is found at once."""

from __future__ import annotations

import string
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from policies import document
from policies.condition import LONGEST, Condition, ConditionError, Facts
from policies.decision import Number
from policies.document import Table
from policies.standing import Move, State
from policies.tally import NAMES

#: a ladder's moves, the strictest last
STRICTNESS = (Move.KEEP, Move.WARN, Move.THROTTLE, Move.DEACTIVATE, Move.BLOCK_CREDENTIAL, Move.SUSPEND)
#: what a condition may know of a standing, as it is for a newcomer
STANDING: dict[str, Number] = {
    "state": "active",
    "automatic_returns_30d": 0,
    "klass": "app",
    "half_open": False,
    "credential_blocked": False,
}
INPUTS = (*NAMES, *STANDING)
#: what a reason may say beside the names of a condition
WORDS = ("until", "duration")
#: steps and definitions in one file
MOST = 100

#: moves that slow the waiting mail down for a time
_PACED = (Move.THROTTLE, Move.BLOCK_CREDENTIAL)
_KEYS = ("name", "action", "when", "reason", "lifts", "for")


@dataclass(frozen=True, slots=True)
class Rung:
    """One step."""

    name: str
    action: Move
    when: Condition
    reason: str
    lifts: str
    duration: timedelta | None
    #: the numbers and, apart, the definitions that condition, reason and lifts refer to
    inputs: tuple[str, ...]
    definitions: tuple[str, ...]

    def text(self) -> dict[str, str]:
        """Return the step in the form of the file."""
        given = {
            "name": self.name,
            "action": self.action.value,
            "when": self.when.text,
            "reason": self.reason,
            "lifts": self.lifts,
        }
        return given | ({"for": document.spell(self.duration)} if self.duration else {})


def durations(given: object) -> tuple[timedelta, ...]:
    """Read the list of an escalation; ValueError unless it holds 1 to 10 durations."""
    if not isinstance(given, list) or not 1 <= len(given) <= 10:
        raise ValueError('must be a list of 1 to 10 durations such as ["1h", "6h", "24h"]')
    return tuple(document.duration(one) for one in given)


def definitions(given: object, faults: list[str]) -> dict[str, Condition]:
    """Read the definitions in their order: each may refer to those above it."""
    table = Table("define", {} if given is None else given, faults)
    found: dict[str, Condition] = {}
    for name in table.keys()[:MOST]:
        condition = table.take(name, partial(_condition, known=(*INPUTS, *found)), None)
        if name in INPUTS or name in WORDS or not name.isidentifier():
            table.fault(f"{name!r} cannot be defined: it has a meaning already, or is no name")
        elif condition:
            found[name] = condition
    table.end(())
    return found


def rungs(given: object, known: Mapping[str, Condition], faults: list[str]) -> tuple[Rung, ...]:
    """Read the steps in their order; each step's name may be there once."""
    if not isinstance(given, list) or len(given) > MOST:
        faults.append(f"step: must be a list of at most {MOST} tables, written as [[step]]")
        return ()
    names = [one.get("name") for one in given if isinstance(one, Mapping)]
    faults.extend(f"step {one!r}: is there twice" for one in _twice(names))
    return tuple(_rungs(given, known, faults))


def trials(found: Iterable[Rung], known: Mapping[str, Condition]) -> Iterator[str]:
    """Try every condition and text on small, large and no numbers in every state; yield what fails."""
    samples = [Facts(_sample(size, state), known) for size in (0, 1, 10**7) for state in State]
    for name, condition in known.items():
        if fault := _first_fault(condition, samples, (bool, int, float)):
            yield f"define: {name}: {fault}"
    for rung in found:
        fault = _first_fault(rung.when, samples, (bool,))
        if fault:
            yield f"step {rung.name!r}: when: {fault}"
            continue
        for text in (rung.reason, rung.lifts):
            try:
                render(text, samples[-1], rung, dict.fromkeys(WORDS, ""))
            except (TypeError, ValueError) as error:
                yield f"step {rung.name!r}: {text[:40]!r}: {error}"


def render(text: str, facts: Facts, rung: Rung, words: Mapping[str, str]) -> str:
    """Fill in a reason; ValueError where a number cannot be written as the text wants it."""
    return text.format_map({one: facts[one] for one in (*rung.inputs, *rung.definitions)} | dict(words))


def _rungs(given: list[Any], known: Mapping[str, Condition], faults: list[str]) -> Iterator[Rung]:
    names = (*INPUTS, *known)
    for number, values in enumerate(given, 1):
        label = values.get("name") if isinstance(values, Mapping) else None
        where = f"step {label!r}" if isinstance(label, str) else f"step number {number}"
        table = Table(where, values, faults)
        name = table.take("name", document.name, "")
        action = table.take("action", _move, Move.KEEP)
        when = table.take("when", partial(_condition, known=names), None)
        reason = table.take("reason", partial(_template, known=names), "")
        lifts = table.take("lifts", partial(_template, known=names), "")
        duration = table.take_if("for", document.duration, None)
        table.end(_KEYS)
        if duration and action not in (*_PACED, Move.DEACTIVATE):
            table.fault(f"for: {action} has no end of its own")
        if action in _PACED and not duration:
            table.fault("for is missing: a throttled account has to come back by itself")
        if when:
            used = {"automatic_returns_30d", *when.names, *_fields(reason), *_fields(lifts)} - set(WORDS)
            inputs, inner = _closure(used, known)
            yield Rung(name, action, when, reason, lifts, duration, inputs, inner)


def _closure(used: set[str], known: Mapping[str, Condition]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the inputs and definitions behind `used`; a definition refers only to those above it."""
    for name in reversed(list(known)):
        if name in used:
            used = used | set(known[name].names)
    return tuple(one for one in INPUTS if one in used), tuple(one for one in known if one in used)


def _twice(names: list[Any]) -> list[Any]:
    return list(dict.fromkeys(one for one in names if one is not None and names.count(one) > 1))


def _move(given: object) -> Move:
    if given in STRICTNESS[1:]:
        return Move(str(given))
    allowed = ", ".join(STRICTNESS[1:])
    raise ValueError(f"must be one of {allowed}{document.did_you_mean(str(given), STRICTNESS[1:])}")


def _condition(given: object, known: Collection[str]) -> Condition | None:
    text = document.words(given)
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST} characters")
    return Condition.read(text, known)


def _fields(text: str) -> tuple[str, ...]:
    return tuple(one for _, one, _, _ in string.Formatter().parse(text) if one is not None)


def _template(given: object, known: Collection[str]) -> str:
    """Read a text with {numbers}; nothing but a name and a plain format may stand in the braces."""
    text = document.words(given)
    for _, name, spec, conversion in string.Formatter().parse(text):
        if name is None:
            continue
        if name not in known and name not in WORDS:
            raise ValueError(f"unknown name {name!r}{document.did_you_mean(name, (*known, *WORDS))}")
        if conversion or (spec and ("{" in spec or len(spec) > 8)):
            raise ValueError(f"{name} may only have a short format such as {{{name}:.2%}}")
    return text


def _sample(size: int, state: State) -> dict[str, Number]:
    return STANDING | dict.fromkeys(NAMES, size) | {"state": state.value, "automatic_returns_30d": size}


def _first_fault(condition: Condition, samples: list[Facts], kinds: tuple[type, ...]) -> str:
    for facts in samples:
        try:
            value = facts.value(condition)
        except ConditionError as error:
            return str(error)
        if type(value) not in kinds:
            return f"gives {value!r:.40}, must be {' or '.join(one.__name__ for one in kinds)}"
    return ""
