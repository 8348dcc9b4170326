"""From a message to a hit: calibrated odds as points, the strongest tokens as evidence."""

from __future__ import annotations

import math
from importlib.resources import files
from typing import TYPE_CHECKING

from screening.classify import model as models
from screening.classify.features import GROUPS, tokens
from screening.plain import shown
from screening.verdict import Hit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence, Set
    from pathlib import Path

    from screening.classify.model import Model
    from screening.mail import Mail

RULE = "classifier"
#: Points per natural log-odds: 7 (hold) is reached at odds of 33 : 1, 4 (tag) at 7 : 1.
POINTS = 2.0
#: Statistics alone never refuse (12): a refusal needs rules beside them that a person can read.
MOST = 8.0
#: Good words excuse only so much: an attacker can add good words.
LEAST = -6.0
#: between these points odds count straight, beyond them ever less
_STRAIGHT = (-3.0, 7.0)

#: A rule of so many points stands on its own, whatever the classifier says.
STANDS_ALONE = 4.0
#: Weaker rules look at the same words as the classifier: beside it a point of theirs is worth this share
#: (measured: 0.1 of log-odds), and all of it where the odds alone would hold the message anyway.
SHARE = 0.2
_SURE = (3.5, 6.0)
#: below this many points there is nothing to explain
WORTH_EXPLAINING = 1.0
#: tokens shown: what the message says, then how it is made
EVIDENCE_WORDS = 5
EVIDENCE_SHAPES = 2


class Classifier:
    """Scores messages by one model; `refresh` picks up a model that training wrote meanwhile."""

    def __init__(self, model: Model, path: Path | None = None) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self._model = model

    @classmethod
    def load(cls, path: Path | None) -> Classifier:
        """Return the classifier of a model file; of the shipped model where `path` is None or not there yet.

        A file that is there but unusable is a ModelError.
        """
        if path is None or not path.exists():
            classifier = cls(shipped())
            classifier._path = path
            return classifier
        return cls(models.load(path), path)

    def refresh(self) -> bool:
        """Take the model file as it is now if it changed; return whether it did.

        A damaged file leaves the model in place (ModelError, raised once for each state of the file).
        """
        stamp = _stamp(self._path)
        if stamp == self._stamp or self._path is None:
            return False
        self._stamp = stamp
        self._model = models.load(self._path) if stamp is not None else shipped()
        return True

    @property
    def model(self) -> Model:
        """The model in use."""
        return self._model

    def log_odds(self, mail: Mail) -> float:
        """Return the calibrated natural logarithm of spam : ham for this message."""
        return self._judged(mail)[0]

    def hit(self, mail: Mail, found: Sequence[Hit] = ()) -> Hit:
        """Return the points of the calibrated odds, with the tokens that weighed most as evidence.

        `found` are the rules' hits on this mail: what the weak ones count twice is taken off.
        """
        odds, names, weights = self._judged(mail)
        score = points(odds)
        evidence = explain(names, weights, odds) if score >= WORTH_EXPLAINING else knows(weights)
        return Hit(RULE, round(score - overlap(odds, found), 2), evidence)

    def _judged(self, mail: Mail) -> tuple[float, Sequence[Set[bytes]], Sequence[list[int]]]:
        """Return the log-odds, and the message's tokens with their weights by group."""
        model = self._model
        names = tokens(mail)  # a set that nobody changes is always walked in the same order
        weights = [model.weights_of(found, group) for group, found in enumerate(names)]
        return model.log_odds(model.margin(weights)), names, weights


def knows(weights: Sequence[Sequence[int]]) -> str:
    """Return how much of a message the model knows: in the journal this tells later how mail changes."""
    count = sum(map(len, weights))
    unknown = sum([pulls.count(0) for pulls in weights])
    return f"knows {100 - 100 * unknown // (count or 1)} % of it"


def points(odds: float) -> float:
    """Return the points of log-odds: straight in the middle, ever slower towards `MOST` and `LEAST`."""
    straight = POINTS * odds
    low, high = _STRAIGHT
    if straight > high:
        return MOST - (MOST - high) * math.exp((high - straight) / (MOST - high))
    if straight < low:
        return LEAST + (low - LEAST) * math.exp((straight - low) / (low - LEAST))
    return straight


def overlap(odds: float, found: Sequence[Hit]) -> float:
    """Return how many of the weak rules' points the odds already contain."""
    return _counted_twice(odds, weak_points(found))


def weak_points(found: Iterable[Hit]) -> float:
    """Return the points of the rules that do not stand on their own."""
    return sum(hit.score for hit in found if 0 < hit.score < STANDS_ALONE)


def _counted_twice(odds: float, weak: float) -> float:
    low, high = _SURE
    return weak * (1.0 - SHARE) * min(1.0, max(0.0, (high - odds) / (high - low)))


def reweighed(score: float, before: float, after: float) -> float:
    """Return what the classifier's hit would have been with `after` points of weak rules instead of `before`.

    Its odds are found again from its score: more odds are more points, whatever the rules.
    """
    if before == after:
        return score
    low, high = -_FAR, _FAR
    for _ in range(60):
        middle = (low + high) / 2
        if points(middle) - _counted_twice(middle, before) < score:
            low = middle
        else:
            high = middle
    return round(points(low) - _counted_twice(low, after), 2)


#: log-odds beyond which no message is
_FAR = 50.0


def explain(names: Sequence[Set[bytes]], weights: Sequence[Sequence[int]], odds: float) -> str:
    """Return the probability and the tokens that raised it most, as the message has them."""
    words: list[tuple[float, str]] = []
    shapes: list[tuple[float, str]] = []
    for group, found, pulls in zip(GROUPS, names, weights, strict=True):
        share = group.weight / math.sqrt(len(found) or 1)
        least = max(1, min(sorted(pulls)[-EVIDENCE_WORDS:], default=0))
        raising = [(pull, name) for pull, name in zip(pulls, found, strict=True) if pull >= least]
        for pull, name in sorted(raising, reverse=True)[:EVIDENCE_WORDS]:
            text = name.decode("utf-8", "replace")
            written = f'{group.prefix}"{text}"' if group.words else f"{group.prefix}{text}"
            (words if group.words else shapes).append((share * pull, written))
    chosen = sorted(words, reverse=True)[:EVIDENCE_WORDS] + sorted(shapes, reverse=True)[:EVIDENCE_SHAPES]
    return shown(f"{chance(odds)}: {', '.join(text for _, text in chosen)}")


def chance(odds: float) -> str:
    """Return the probability at even odds, as a person would write it."""
    probability = 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, odds))))
    return "over 99.9 %" if probability > _NEARLY_SURE else f"{100 * probability:.1f} %"


_NEARLY_SURE = 0.999


def shipped() -> Model:
    """Return the model that the package brings, made of public corpora and mailing lists."""
    content = files("screening.classify").joinpath("shipped.model").read_bytes()
    return models.Model.from_bytes(content, "shipped.model")


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
