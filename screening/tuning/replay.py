"""Deciding past traffic again under changed scores, from stored hits alone: no content is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screening.classify.classifier import RULE as CLASSIFIER
from screening.classify.classifier import reweighed, weak_points
from screening.rule import Mode
from screening.ruleset import MALFORMED_SCORE
from screening.verdict import Hit

if TYPE_CHECKING:
    from screening.ruleset import Ruleset

ACTIONS = ("deliver", "tag", "hold", "refuse")


@dataclass(frozen=True, slots=True)
class Past:
    """One message as the journal keeps it."""

    id: str
    account: str
    action: str
    hits: tuple[Hit, ...]
    malformed: str = ""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Points from which on a message is tagged, held, refused."""

    tag: float = 4.0
    hold: float = 7.0
    refuse: float = 12.0

    def action(self, score: float, malformed: str) -> str:
        """Return what a score leads to."""
        if malformed or score >= self.refuse:
            return "refuse"
        return "hold" if score >= self.hold else "tag" if score >= self.tag else "deliver"


@dataclass(frozen=True, slots=True)
class Change:
    """One message that would go another way, and the rules that make the difference."""

    id: str
    account: str
    before: str
    after: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Replay:
    """What a changed ruleset would have done."""

    seen: int
    changes: tuple[Change, ...]
    #: messages about which something else than points decided: policy, an observed customer, older thresholds
    otherwise: int = 0

    @property
    def by_account(self) -> dict[str, int]:
        """Return how many messages change for each account, most first."""
        return dict(Counter(change.account for change in self.changes).most_common())

    @property
    def by_rule(self) -> dict[str, int]:
        """Return how many changed messages each rule had a part in, most first."""
        return dict(Counter(name for change in self.changes for name in change.rules).most_common())


def rescored(hits: Iterable[Hit], ruleset: Ruleset) -> tuple[Hit, ...]:
    """Return the hits with the scores, modes and group caps of `ruleset`; unknown rules keep their score.

    Rules that did not exist when the message came are not found: only content could tell. The classifier
    takes off what weak rules say too; that moves with them.
    """
    rules = {rule.id: rule for rule in ruleset.rules}
    room = dict(ruleset.groups)
    out: dict[str, Hit] = {}
    given = list(hits)
    for hit in sorted(given, key=lambda hit: -(rules[hit.rule].score if hit.rule in rules else hit.score)):
        rule = rules.get(hit.rule)
        if rule is None:
            score = MALFORMED_SCORE if hit.rule == "malformed" else hit.score
            out[hit.rule] = Hit(hit.rule, score, hit.evidence)
            continue
        if rule.mode is Mode.OFF:
            continue
        score = rule.score if rule.mode is Mode.ON else 0.0
        if score > 0 and rule.group in room:
            score = round(min(score, max(0.0, room[rule.group])), 2)
            room[rule.group] -= score
        out[hit.rule] = Hit(hit.rule, score, hit.evidence)
    learned = out.get(CLASSIFIER)
    if learned is not None:
        before = weak_points(hit for hit in given if hit.rule in rules)
        after = weak_points(hit for hit in out.values() if hit.rule in rules)
        out[CLASSIFIER] = Hit(CLASSIFIER, reweighed(learned.score, before, after), learned.evidence)
    return tuple(out[hit.rule] for hit in given if hit.rule in out)


def replay(
    past: Iterable[Past],
    ruleset: Ruleset,
    thresholds: Thresholds | None = None,
    before: Thresholds | None = None,
) -> Replay:
    """Return what would change if `ruleset` and `thresholds` had judged these messages.

    `before` are the thresholds that were in force; by default the same. A message that its points do not
    explain was decided by something else, and stays as it was.
    """
    thresholds = thresholds or Thresholds()
    before = before or thresholds
    changes: list[Change] = []
    seen = otherwise = 0
    for message in past:
        seen += 1
        if before.action(_sum(message.hits), message.malformed) != message.action:
            otherwise += 1
            continue
        hits = rescored(message.hits, ruleset)
        after = thresholds.action(_sum(hits), message.malformed)
        if after != message.action:
            changes.append(
                Change(message.id, message.account, message.action, after, _moved(message.hits, hits))
            )
    return Replay(seen, tuple(changes), otherwise)


def _sum(hits: Iterable[Hit]) -> float:
    return round(sum(hit.score for hit in hits), 2)


def _moved(before: tuple[Hit, ...], after: tuple[Hit, ...]) -> tuple[str, ...]:
    scores: Mapping[str, float] = {hit.rule: hit.score for hit in after}
    return tuple(hit.rule for hit in before if scores.get(hit.rule, 0.0) != hit.score)
