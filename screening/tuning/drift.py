"""Whether mail has moved away from what the classifier learned: its hits since against its training."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screening.classify.classifier import POINTS, RULE, reweighed, weak_points
from screening.classify.training import UNSURE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from screening.classify.model import Snapshot
    from screening.verdict import Hit

#: fewer messages say nothing
ENOUGH = 200
#: more often unsure than this times the training, and by so much at least
TIMES_UNSURE, MORE_UNSURE = 2.0, 0.03
#: knows so much less of good mail than in training
LESS_KNOWN = 0.1
_KNOWS = re.compile(r"knows (\d{1,3}) % of it")


@dataclass(frozen=True, slots=True)
class Drift:
    """What was seen, as shares from 0 to 1; `known` is None where no message said it."""

    messages: int
    unsure: float
    known: float | None

    def against(self, trained: Snapshot | None) -> str:
        """Return in a sentence whether the classifier should learn newer mail."""
        if trained is None:
            return "the model was trained on too little to compare with"
        if self.messages < ENOUGH:
            return f"fewer than {ENOUGH} messages say nothing"
        if self.unsure > max(TIMES_UNSURE * trained.unsure, trained.unsure + MORE_UNSURE):
            return "it is unsure far more often than in training: teach it newer mail of both kinds"
        if self.known is not None and self.known < trained.known - LESS_KNOWN:
            return "mail has many words and shapes that it never learned: teach it newer good mail"
        return "mail is as it was in training"


def drift(messages: Iterable[Sequence[Hit]], rules: Collection[str]) -> Drift:
    """Return what the classifier said of these messages; `rules` are all rules that are no classifier."""
    count = unsure = said = 0
    known = 0.0
    for hits in messages:
        hit = next((hit for hit in hits if hit.rule == RULE), None)
        if hit is None:
            continue
        count += 1
        own = reweighed(hit.score, weak_points(one for one in hits if one.rule in rules), 0.0)
        unsure += abs(own) < POINTS * UNSURE
        if (found := _KNOWS.match(hit.evidence)) is not None:
            said += 1
            known += int(found[1]) / 100
    return Drift(count, round(unsure / (count or 1), 4), round(known / said, 4) if said else None)
