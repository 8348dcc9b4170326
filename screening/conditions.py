"""Conditions in CEL over facts of a mail and the names of other rules, in the order of their dependence."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from screening.expressions import Holds, plain
from screening.facts import FACTS
from screening.rule import Mode, Rule
from screening.tuning.examples import mail_of

if TYPE_CHECKING:
    from screening.mail import Mail

#: a rule, its condition, and sets of rules of which each must share one with what hit
_Step = tuple[Rule, Holds, tuple[frozenset[str], ...]]


_NAME = re.compile(r"\w+")


def gates(condition: str, rules: Container[str]) -> tuple[frozenset[str], ...]:
    """Return sets of rules of which each must share one with what hit, or the condition cannot hold.

    These are its conjuncts that are rules alone, like `a && (b || c)`: most mail has none of them, and its
    conditions need not be run. What is not of this plain form gives no gate.
    """
    if '"' in condition or "'" in condition:
        return ()
    pieces, depth, start = [], 0, 0
    for place, char in enumerate(condition):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and (char == "?" or condition.startswith("||", place)):
            return ()
        if depth == 0 and condition.startswith("&&", place):
            pieces.append(condition[start:place])
            start = place + 2
    found = []
    for piece in (*pieces, condition[start:]):
        bare = piece.strip()
        bare = bare[1:-1] if bare[:1] == "(" and bare[-1:] == ")" else bare
        names = [name.strip() for name in bare.split("||")]
        if all(_NAME.fullmatch(name) and name in rules for name in names):
            found.append(frozenset(names))
    return tuple(found)


def _openers(steps: Sequence[_Step]) -> frozenset[str] | None:
    names: set[str] = set()
    for rule, _, needed in steps:
        if rule.when or rule.words or rule.domains:
            names.add(rule.id)
        elif needed:
            names |= needed[0]
        else:
            return None
    return frozenset(names)


class Conditions:
    """The compiled conditions of a ruleset; `faults` says what is wrong with them."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.faults: list[str] = []
        self._names = {rule.id: rule for rule in rules}
        programs: dict[str, tuple[Rule, Holds, frozenset[str]]] = {}
        for rule in rules:
            if rule.condition and rule.mode is not Mode.OFF:
                compiled = self._compiled(rule)
                if compiled is not None:
                    programs[rule.id] = (rule, *compiled)
        self._steps: list[_Step] = [
            (rule, holds, gates(rule.condition, self._names)) for rule, holds in self._ordered(programs)
        ]
        #: without any of these no condition can hold; None where one can hold by itself
        self._openers = _openers(self._steps)

    def _wrong(self, rule: Rule, sentence: str) -> None:
        self.faults.append(f"{rule.source}: rules.{rule.id}: condition: {sentence}")

    def _compiled(self, rule: Rule) -> tuple[Holds, frozenset[str]] | None:
        found = plain(rule.condition, self._names)
        if found is not None:
            if rule.id in found.names:
                self._wrong(rule, "names itself")
            return found.holds, found.names
        import cel  # here: few conditions need it, and it brings a command line of its own along

        try:
            program = cel.compile(rule.condition)
        except ValueError as error:
            self._wrong(rule, " ".join(str(error).split())[:200])
            return None
        names = frozenset(program.variables())
        for name in sorted(names - FACTS.keys() - self._names.keys()):
            close = get_close_matches(name, [*FACTS, *self._names], 1)
            self._wrong(rule, f"unknown name {name!r}" + (f" (did you mean {close[0]}?)" if close else ""))
        if rule.id in names:
            self._wrong(rule, "names itself")
        elif not names - FACTS.keys() - self._names.keys():
            self._try(rule, program, names)
        return _holds(program, names), names

    def _try(self, rule: Rule, program: Any, names: frozenset[str]) -> None:
        """Run the condition once: unknown functions and wrong types show here, not on somebody's mail."""
        try:
            answer = program.execute(_values(mail_of("A mail to try conditions on."), {}, names))
        except (RuntimeError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            self._wrong(rule, " ".join(str(error).split())[:200])
            return
        if not isinstance(answer, bool):
            self._wrong(rule, f"gives {answer!r}, not true or false")

    def _ordered(self, programs: dict[str, tuple[Rule, Holds, frozenset[str]]]) -> list[tuple[Rule, Holds]]:
        """Return the rules so that each comes after those it names; a circle is a fault."""
        steps: list[tuple[Rule, Holds]] = []
        waiting = dict(programs)
        while waiting:
            ready = [name for name, (_, _, names) in waiting.items() if not names & waiting.keys() - {name}]
            if not ready:
                rule = next(iter(waiting.values()))[0]
                self._wrong(rule, f"goes round in a circle with {', '.join(sorted(waiting))}")
                break
            for name in ready:
                rule, holds, _ = waiting.pop(name)
                steps.append((rule, holds))
        return steps

    def run(self, mail: Mail, found: dict[str, str]) -> list[str]:
        """Add the rules whose condition holds to `found`; return the names of those that failed."""
        if self._openers is not None and self._openers.isdisjoint(found):
            return []
        failed: list[str] = []
        for rule, condition, needed in self._steps:
            tested = bool(rule.when or rule.words or rule.domains)
            if tested and rule.id not in found:
                continue
            holds = False
            if not any(map(found.keys().isdisjoint, needed)):
                try:
                    holds = condition(mail, found)
                except Exception:  # noqa: BLE001 - the rule edge
                    failed.append(rule.id)
            if holds and not tested:
                found[rule.id] = self._evidence(rule, found)
            elif not holds:
                found.pop(rule.id, None)
        return failed

    def _evidence(self, rule: Rule, found: dict[str, str]) -> str:
        named = [name for name in found if name in rule.condition]
        return " + ".join(named[:6]) or rule.why


def _holds(program: Any, names: frozenset[str]) -> Holds:
    return lambda mail, found: program.execute(_values(mail, found, names)) is True


def _values(mail: Mail, found: Mapping[str, str], names: frozenset[str]) -> dict[str, bool | int | str]:
    """Return what a condition sees under each of its names."""
    return {name: FACTS[name].read(mail) if name in FACTS else name in found for name in names}
