"""What screening found, in a form that explains itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Hit:
    """One rule that said yes, its score (points, may be negative) and the words that made it say so."""

    rule: str
    score: float
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Everything that screening says about one message; `score` is computed, never stored apart."""

    hits: tuple[Hit, ...] = ()
    #: checks that gave no answer (deadline, error), by name
    unanswered: tuple[str, ...] = ()
    #: those of them that the operator waits for, or wants staff to replace
    defers: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    ruleset: str = ""
    milliseconds: float = 0.0
    #: structural reason to refuse whatever the score (ambiguous From, too deep), as a person would say it
    malformed: str = ""
    timings: dict[str, float] = field(default_factory=dict, compare=False)

    def beside(self, hit: Hit, milliseconds: float) -> Verdict:
        """Return the verdict with one more hit, whose check took that long."""
        return Verdict(
            (*self.hits, hit),
            self.unanswered,
            self.defers,
            self.holds,
            self.ruleset,
            round(self.milliseconds + milliseconds, 3),
            self.malformed,
            {**self.timings, hit.rule: milliseconds},
        )

    @property
    def score(self) -> float:
        """Return the sum of the hits' scores, rounded to a hundredth of a point."""
        return round(sum(hit.score for hit in self.hits), 2) if self.hits else 0

    @property
    def top(self) -> tuple[Hit, ...]:
        """Return the hits that raised the score, strongest first."""
        return tuple(sorted((hit for hit in self.hits if hit.score > 0), key=lambda hit: -hit.score))

    def as_json(self, unnamed: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return the hits as the command line and the journal write them.

        `unnamed` are recipients: what a rule quotes names none of them where it is kept.
        """
        return [
            {"rule": hit.rule, "score": hit.score, "evidence": _without(unnamed, hit.evidence)}
            for hit in self.hits
        ]


def _without(addresses: Sequence[str], words: str) -> str:
    """Return words without these addresses, as written and as links write them."""
    if "@" not in words and "%40" not in words:
        return words
    low = words.lower()
    for address in {one.lower() for one in addresses}:
        for form in (address, address.replace("@", "%40")):
            if form in low:
                words = re.sub(re.escape(form), "<recipient>", words, flags=re.IGNORECASE)
                low = words.lower()
    return words
