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
from screening.plain import shown
from screening.rule import Mode, Rule, RuleError
from screening.scan import PARTS, Literals, Patterns
from screening.tuning.examples import mail_of
from screening.verdict import Hit, Verdict

if TYPE_CHECKING:
    from screening.mail import Mail

#: A message that is malformed is refused whatever else; the score says so too.
MALFORMED_SCORE = 12.0


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
        self._checks = [rule for rule in running if rule.check is not None]
        self._tested = [rule for rule in running if rule.check is None and _tests(rule)]
        self._conditions = conditions
        self._by_domain = [rule for rule in self._tested if rule.domains]
        self._compile()
        identity = [[rule.identity() for rule in sorted(running, key=lambda r: r.id)], sorted(groups.items())]
        self.hash = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    def _compile(self) -> None:
        patterns: dict[str, dict[str, int]] = {}
        words: dict[str, dict[str, None]] = {}
        for rule in self._tested:
            for part, texts in (*rule.when, *rule.unless):
                known = patterns.setdefault(part, {})
                for text in texts:
                    known.setdefault(text, len(known))
            for group in rule.words:
                words.setdefault(group.part, {}).update(dict.fromkeys(group.words))
        self._index = patterns
        #: rules that a matching pattern of their first part calls up, and those that have none
        self._called: dict[str, dict[str, list[Rule]]] = {}
        self._always = [rule for rule in self._tested if not rule.when]
        for rule in self._tested:
            for part, texts in rule.when[:1]:
                for text in texts:
                    self._called.setdefault(part, {}).setdefault(text, []).append(rule)
        self._patterns = {part: Patterns(texts) for part, texts in patterns.items()}
        self._literals = {part: Literals(texts) for part, texts in words.items() if texts}

    def screen(self, mail: Mail) -> Verdict:
        """Return the verdict of all rules; pure, never raises: a rule that fails is `unanswered`."""
        started = time.perf_counter()
        found: dict[str, str] = {}
        unanswered: list[str] = []
        timings: dict[str, float] = {}
        try:
            malformed = mail.malformed
            self._run_patterns(mail, found)
            absent = _absent(mail)
        except Exception:  # noqa: BLE001 - the rule edge: a bug in parsing costs these checks, not the message
            malformed, absent = "", frozenset()
            unanswered.append("patterns")
        before = time.perf_counter()
        timings["patterns"] = (before - started) * 1000
        for rule in self._checks:
            if rule.needs in absent:
                continue
            try:
                evidence = rule.check(mail) if rule.check is not None else None
            except Exception:  # noqa: BLE001 - the rule edge: a rule that fails is unanswered
                unanswered.append(rule.id)
                evidence = None
            if evidence is not None:
                found[rule.id] = evidence
            after = time.perf_counter()
            timings[rule.id] = (after - before) * 1000
            before = after
        unanswered += self._conditions.run(mail, found)
        timings["conditions"] = (time.perf_counter() - before) * 1000
        return Verdict(
            hits=self._scored(found, malformed),
            unanswered=tuple(unanswered),
            ruleset=self.hash,
            milliseconds=round((time.perf_counter() - started) * 1000, 3),
            malformed=malformed,
            timings=timings,
        )

    def _run_patterns(self, mail: Mail, found: dict[str, str]) -> None:
        seen = _Seen(self, mail)
        for rule in seen.candidates():
            if rule.domains and not (evidence := _domain(rule, mail)):
                continue
            evidence = evidence if rule.domains else ""
            for part, texts in rule.when:
                matched = seen.pattern(part, texts)
                if matched is None:
                    break
                evidence = evidence or matched
            else:
                if any(seen.pattern(part, texts) is not None for part, texts in rule.unless):
                    continue
                words = seen.words(rule)
                if words is not None:
                    found[rule.id] = evidence or words

    def _scored(self, found: Mapping[str, str], malformed: str) -> tuple[Hit, ...]:
        """Return the hits in rule order; a group's sum is cut to its cap, the strongest counted first."""
        hits = [Hit("malformed", MALFORMED_SCORE, shown(malformed))] if malformed else []
        room = dict(self.groups)
        ruled = [rule for rule in self.rules if rule.id in found]
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


def _absent(mail: Mail) -> frozenset[str]:
    """Return what the mail has none of: rules that look only at that need not be asked."""
    parts = (("links", mail.links), ("files", mail.attachments), ("html", mail.html))
    return frozenset(name for name, part in parts if not part)


def _tests(rule: Rule) -> bool:
    return bool(rule.when or rule.words or rule.domains)


def _domain(rule: Rule, mail: Mail) -> str:
    for link in mail.clickable:
        if link.domain in rule.domains or link.host in rule.domains:
            return link.href
    return ""


class _Seen:
    """What the one pass over each part of one mail found; a part is read when a rule first asks."""

    def __init__(self, ruleset: Ruleset, mail: Mail) -> None:
        self._ruleset = ruleset
        self._mail = mail
        self._texts: dict[str, str] = {}
        self._matched: dict[str, frozenset[str]] = {}
        self._words: dict[str, set[str]] = {}

    def _text(self, part: str) -> str:
        text = self._texts.get(part)
        if text is None:
            text = self._texts[part] = PARTS[part](self._mail)
        return text

    def _matches(self, part: str) -> frozenset[str]:
        matched = self._matched.get(part)
        if matched is None:
            patterns = self._ruleset._patterns[part]  # noqa: SLF001 - this is the ruleset's other half
            found = patterns.found(self._text(part))
            matched = self._matched[part] = frozenset(patterns.patterns[index] for index in found)
        return matched

    def candidates(self) -> list[Rule]:
        """Return the rules whose first part matched, and those that ask for no pattern."""
        ruleset = self._ruleset
        called: dict[str, Rule] = {rule.id: rule for rule in ruleset._always}  # noqa: SLF001
        for part, by_text in ruleset._called.items():  # noqa: SLF001
            for text in self._matches(part):
                called.update((rule.id, rule) for rule in by_text.get(text, ()))
        return list(called.values())

    def pattern(self, part: str, texts: tuple[str, ...]) -> str | None:
        """Return what one of the patterns matched in the part, None if none did."""
        matched = self._matches(part)
        if matched:
            for text in texts:
                if text in matched:
                    patterns = self._ruleset._patterns[part]  # noqa: SLF001
                    return patterns.evidence(self._ruleset._index[part][text], self._text(part))  # noqa: SLF001
        return None

    def words(self, rule: Rule) -> str | None:
        """Return the rule's words that occur, None if fewer than it asks for; "" if it asks for none."""
        out = []
        for group in rule.words:
            found = self._words.get(group.part)
            if found is None:
                literals = self._ruleset._literals.get(group.part)  # noqa: SLF001
                found = literals.found(self._text(group.part)) if literals else set()
                self._words[group.part] = found
            here = [word for word in group.words if word.lower() in found] if found else []
            if len(here) < group.at_least:
                return None
            out.extend(here)
        return ", ".join(out)
