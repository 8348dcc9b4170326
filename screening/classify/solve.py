"""The mathematics of training: a widest-margin border, and the line from margin to odds. Pure Python.

The border is the one of a linear support vector machine (hinge loss), found by dual coordinate descent
(Hsieh et al., "A Dual Coordinate Descent Method for Large-scale Linear SVM", ICML 2008). An example's pull is
bounded by `COST`, so that a wrong label bends the border only so far. Where a base is given, the border stays
as near to it as the examples allow.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

from screening.classify.features import GROUPS, SLOTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from screening.classify.model import Model

COST = 3.0
MAX_ROUNDS = 40
#: a border whose worst violation is this small has settled: no number moves by a tenth beyond it
TOLERANCE = 0.04
#: value of the constant feature that carries the bias
BIAS = 0.5
#: A kind learned alone (a storm of complaints teaches spam only) pulls, all of it together, as strongly as
#: this much of one example: enough for copies of it to be known, too little to turn what merely looks alike.
BALLAST = 0.1

_WEIGHTS = tuple(group.weight for group in GROUPS)


@dataclass(frozen=True, slots=True)
class Example:
    """A message as training keeps it: sorted slots by group, and its kind; `key` is equal for equal slots."""

    spam: bool
    groups: tuple[array[int], ...]
    key: bytes


def border(examples: Sequence[Example], base: Model | None = None) -> tuple[list[float], float]:
    """Return weights and bias of the widest margin; the same for the same examples in any order."""
    ordered = sorted(examples, key=lambda example: example.key)
    weights = base.weights() if base is not None else [0.0] * SLOTS
    run = _Descent(ordered, weights, base.bias if base is not None else 0.0)
    active = list(range(len(ordered)))
    for number in range(MAX_ROUNDS):
        complete = number % 5 == 0
        worst = run.round(range(len(ordered)) if complete else active, number)
        if complete and worst < TOLERANCE:
            break
        active = run.near
    return weights, run.bias


class _Descent:
    """One run of the descent: multipliers of the examples, and the weights that they add up to."""

    def __init__(self, examples: Sequence[Example], weights: list[float], bias: float) -> None:
        self.examples = examples
        self.weights = weights
        self.bias = bias
        self.near: list[int] = []
        self._pull = [0.0] * len(examples)
        self._values = [_values(example) for example in examples]
        spam = sum(example.spam for example in examples)
        ham = len(examples) - spam
        self._cost_spam = COST * min(1.0, (ham + BALLAST) / max(spam, 1))
        self._cost_ham = COST * min(1.0, (spam + BALLAST) / max(ham, 1))

    def round(self, indices: Sequence[int], number: int) -> float:
        """Visit each example once, in an order of its own; return the largest violation met."""
        worst = 0.0
        near = []
        order = sorted(indices, key=lambda index: crc32(index.to_bytes(4, "big"), number))
        for index in order:
            violation, is_near = self._visit(index)
            worst = max(worst, violation)
            if is_near:
                near.append(index)
        self.near = near
        return worst

    def _visit(self, index: int) -> tuple[float, bool]:
        example = self.examples[index]
        values = self._values[index]
        weights = self.weights
        weight_of = weights.__getitem__
        margin = self.bias
        for value, slots in zip(values, example.groups, strict=True):
            if value:
                margin += value * sum(map(weight_of, slots))
        sign = 1.0 if example.spam else -1.0
        gradient = sign * margin - 1.0
        pull = self._pull[index]
        cost = self._cost_spam if example.spam else self._cost_ham
        moved = min(max(pull - gradient / _CURVATURE, 0.0), cost)
        step = (moved - pull) * sign
        if step:
            self._pull[index] = moved
            self.bias += step * BIAS * BIAS
            for value, slots in zip(values, example.groups, strict=True):
                change = step * value
                for slot in slots:
                    weights[slot] += change
        return abs(moved - pull) * _CURVATURE, moved > 0 or gradient < _NEAR


_CURVATURE = sum(weight * weight for weight in _WEIGHTS) + BIAS * BIAS
#: beyond the margin by less than this an example may yet come back
_NEAR = 0.3


def _values(example: Example) -> tuple[float, ...]:
    """Return each group's value: a group weighs the same however many tokens it has."""
    return tuple(
        weight / math.sqrt(len(slots)) if len(slots) else 0.0
        for weight, slots in zip(_WEIGHTS, example.groups, strict=True)
    )


def margins(weights: Sequence[float], bias: float, examples: Sequence[Example]) -> list[float]:
    """Return the examples' distances from the border."""
    weight_of = weights.__getitem__
    return [
        bias
        + sum(
            value * sum(map(weight_of, slots))
            for value, slots in zip(_values(example), example.groups, strict=True)
        )
        for example in examples
    ]


def line(found: Sequence[float], spam: Sequence[bool]) -> tuple[float, float]:
    """Return slope and offset of log-odds over margin (Platt 1999), both kinds weighing alike."""
    count = sum(spam)
    other = len(spam) - count
    yes, no = (count + 1) / (count + 2), 1 / (other + 2)
    points = [
        (margin, yes if is_spam else no, 0.5 / count if is_spam else 0.5 / other)
        for margin, is_spam in zip(found, spam, strict=True)
    ]
    slope, offset = 1.0, 0.0
    for _ in range(50):
        gradient_slope, gradient_offset = _RIDGE * slope, 0.0
        ss, so, oo = _RIDGE, 0.0, 1e-9
        for margin, target, share in points:
            odds = max(-30.0, min(30.0, slope * margin + offset))
            chance = 1.0 / (1.0 + math.exp(-odds))
            off, bend = share * (chance - target), share * chance * (1.0 - chance)
            gradient_slope += off * margin
            gradient_offset += off
            ss += bend * margin * margin
            so += bend * margin
            oo += bend
        determinant = ss * oo - so * so
        step_slope = (oo * gradient_slope - so * gradient_offset) / determinant
        step_offset = (ss * gradient_offset - so * gradient_slope) / determinant
        longest = max(abs(step_slope), abs(step_offset), 1e-12)
        part = min(1.0, 2.0 / longest)
        slope, offset = slope - part * step_slope, offset - part * step_offset
        if longest < _SETTLED:
            break
    return max(slope, 0.0), offset


_RIDGE = 1e-6
_SETTLED = 1e-6
