"""Rules loaded, checked and compiled together; one `screen` makes a verdict of a mail."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from screening.conditions import Conditions
from screening.loading import gathered
from screening.matching import Matcher
from screening.needs import NEEDS
from screening.plain import shown
from screening.rule import Check, Mode, Rule, RuleError
from screening.tuning.examples import mail_of
from screening.verdict import Hit, Verdict

if TYPE_CHECKING:
    from screening.mail import Mail

#: A message that is malformed is refused whatever else; the score says so too.
MALFORMED_SCORE = 12.0

#: a Python rule: its id, the function, what a mail must have
_Check = tuple[str, Check, tuple[str, ...]]


def load(
    *,
    extra: Sequence[Path] = (),
    python_rules: Sequence[Rule | str] = (),
    scores: Mapping[str, float] | None = None,
    off: Sequence[str] = (),
    shadow: Sequence[str] = (),
    on: Sequence[str] = (),
) -> Ruleset:
    """Return the shipped rules with the operator's changes; raise RuleError with every fault.

    Where the operator changed what rules there are, all examples are tried.

    `extra` are TOML files or folders of them, `python_rules` rules or names of entry points in the group
    `screening.rules`; `scores`, `off`, `shadow` and `on` name rules.
    """
    rules, groups, faults = gathered(
        extra=extra, python_rules=python_rules, scores=scores or {}, off=off, shadow=shadow, on=on
    )
    conditions = Conditions(rules)
    faults += conditions.faults
    if faults:
        raise RuleError(faults)
    ruleset = Ruleset(rules, groups, conditions)
    if extra or python_rules or off or shadow or on:  # what is shipped was tried when it was shipped
        faults = ruleset.example_faults()
        if faults:
            raise RuleError(faults)
    return ruleset


class Ruleset:
    """Compiled rules; immutable, shared by threads."""

    def __init__(self, rules: Sequence[Rule], groups: Mapping[str, float], conditions: Conditions) -> None:
        self.rules = tuple(rules)
        self.groups = dict(groups)
        running = [rule for rule in self.rules if rule.mode is not Mode.OFF]
        self._checks = [(rule.id, rule.check, rule.needs) for rule in running if rule.check is not None]
        names = {name for _, _, needs in self._checks for name in needs}
        self._facts = tuple((name, read) for name, read in NEEDS.items() if name in names)
        #: the checks that make sense, by the facts that a mail has: a few dozen combinations in practice
        self._sensible: dict[tuple[bool, ...], list[_Check]] = {}
        self._places = {rule.id: place for place, rule in enumerate(self.rules)}
        self._conditions = conditions
        self._matcher = Matcher([rule for rule in running if rule.check is None and _tests(rule)])
        identity = [[rule.identity() for rule in sorted(running, key=lambda r: r.id)], sorted(groups.items())]
        self.hash = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    def screen(self, mail: Mail, *, timed: bool = False) -> Verdict:
        """Return the verdict of all rules; pure, never raises: a rule that fails is `unanswered`.

        `timed` times each Python rule alone, which costs a tenth more.
        """
        started = time.perf_counter()
        found: dict[str, str] = {}
        unanswered: list[str] = []
        timings: dict[str, float] = {}
        try:
            malformed = mail.malformed
            self._matcher.run(mail, found)
            checks = self._asked(mail)
        except Exception:  # noqa: BLE001 - the rule edge: a bug in parsing costs these checks, not the message
            malformed, checks = "", self._checks
            unanswered.append("patterns")
        matched = time.perf_counter()
        unanswered += _ask(checks, mail, found, timings if timed else None)
        checked = time.perf_counter()
        unanswered += self._conditions.run(mail, found)
        hits = self._scored(found, malformed)
        ended = time.perf_counter()
        timings["patterns"] = (matched - started) * 1000
        timings["checks"] = (checked - matched) * 1000
        timings["conditions"] = (ended - checked) * 1000
        return Verdict(
            hits=hits,
            unanswered=tuple(unanswered),
            ruleset=self.hash,
            milliseconds=round((ended - started) * 1000, 3),
            malformed=malformed,
            timings=timings,
        )

    def _asked(self, mail: Mail) -> list[_Check]:
        """Return the checks whose needs this mail fills, in order."""
        facts = tuple([read(mail) for _, read in self._facts])
        asked = self._sensible.get(facts)
        if asked is None:
            lacks = {name for (name, _), present in zip(self._facts, facts, strict=True) if not present}
            asked = self._sensible[facts] = [check for check in self._checks if lacks.isdisjoint(check[2])]
        return asked

    def _scored(self, found: Mapping[str, str], malformed: str) -> tuple[Hit, ...]:
        """Return the hits in rule order; a group's sum is cut to its cap, the strongest counted first."""
        hits = [Hit("malformed", MALFORMED_SCORE, shown(malformed))] if malformed else []
        room = dict(self.groups)
        ruled = [self.rules[place] for place in sorted(map(self._places.__getitem__, found))]
        counted: dict[str, float] = {}
        for rule in sorted(ruled, key=lambda rule: -rule.score):
            score = rule.score if rule.mode is Mode.ON else 0.0
            if score > 0 and rule.group in room:
                score = round(min(score, max(0.0, room[rule.group])), 2)
                room[rule.group] -= score
            counted[rule.id] = score
        hits.extend(Hit(rule.id, counted[rule.id], shown(found[rule.id])) for rule in ruled)
        return tuple(hits)

    def example_faults(self) -> list[str]:
        """Return a sentence for each example that does not do what it says."""
        faults = []
        for rule in self.rules:
            part = default_part(rule)
            for example, should in [(e, True) for e in rule.hits] + [(e, False) for e in rule.misses]:
                verdict = self.screen(mail_of(example, part))
                if (
                    rule.mode is not Mode.OFF
                    and any(hit.rule == rule.id for hit in verdict.hits) is not should
                ):
                    word = "hit" if should else "miss"
                    faults.append(f"{rule.source}: rules.{rule.id}: example {_short(example)} should {word}")
        return faults


def _short(example: object) -> str:
    text = repr(example)
    return text if len(text) <= 120 else text[:119] + "…"


def default_part(rule: Rule) -> str:
    """Return the part of a mail that a rule's plain text examples stand for."""
    if rule.when:
        return rule.when[0][0]
    if rule.words:
        return rule.words[0].part
    return "links" if rule.domains else "text"


def _ask(
    checks: Sequence[_Check], mail: Mail, found: dict[str, str], timings: dict[str, float] | None
) -> list[str]:
    """Add the checks that say yes to `found`; return the names of those that failed."""
    failed: list[str] = []
    before = time.perf_counter()
    for name, check, _ in checks:
        try:
            evidence = check(mail)
        except Exception:  # noqa: BLE001 - the rule edge: a rule that fails is unanswered
            failed.append(name)
            evidence = None
        if evidence is not None:
            found[name] = evidence
        if timings is not None:
            after = time.perf_counter()
            timings[name] = (after - before) * 1000
            before = after
    return failed


def _tests(rule: Rule) -> bool:
    return bool(rule.when or rule.words or rule.domains)
