"""How good each rule is, by what people said later: staff verdicts, releases and complaints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Judged:
    """One message that people judged: the rules that hit it, its score, and whether it was spam."""

    rules: Sequence[str]
    score: float
    spam: bool
    #: staff released it after it was held
    released: bool = False


@dataclass(frozen=True, slots=True)
class Quality:
    """One rule's record; rates are 0..1."""

    rule: str
    spam: int
    ham: int
    recall_rate: float
    #: spam that only this rule lifted over the threshold: what switching it off would let through
    decisive: int
    #: good mail that staff had to release
    released: int = 0

    @property
    def precision_rate(self) -> float:
        """Return the share of its hits that were spam; 0 without hits."""
        hits = self.spam + self.ham
        return self.spam / hits if hits else 0.0


def quality(judged: Iterable[Judged], scores: dict[str, float], threshold: float) -> list[Quality]:
    """Return the record of every rule in `scores`, the one with the most mail that staff released first."""
    spam: Counter[str] = Counter()
    ham: Counter[str] = Counter()
    released: Counter[str] = Counter()
    decisive: Counter[str] = Counter()
    spam_count = 0
    for message in judged:
        spam_count += message.spam
        (spam if message.spam else ham).update(set(message.rules))
        if message.released and not message.spam:
            released.update(set(message.rules))
        if message.spam and message.score >= threshold:
            decisive.update(
                rule for rule in set(message.rules) if message.score - scores.get(rule, 0) < threshold
            )
    records = [
        Quality(
            name,
            spam[name],
            ham[name],
            spam[name] / spam_count if spam_count else 0.0,
            decisive[name],
            released[name],
        )
        for name in scores
    ]
    return sorted(records, key=lambda record: (-record.released, -record.ham, -record.spam, record.rule))


def would_have_caught(
    rules: Sequence[str], score: float, scores: dict[str, float], threshold: float
) -> list[str]:
    """Return the shadow or weak rules that hit a missed message, strongest first: which would have caught it.

    A rule is named when its full score in `scores` on top of the message's score reaches the threshold.
    """
    near = [name for name in dict.fromkeys(rules) if score + scores.get(name, 0.0) >= threshold > score]
    return sorted(near, key=lambda name: -scores.get(name, 0.0))
