"""Learning: messages in, a model file out; the same examples give the same model in any order."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from screening.classify import examples as store
from screening.classify import model as models
from screening.classify import solve
from screening.classify.classifier import shipped
from screening.classify.features import SLOTS, slots, tokens
from screening.classify.model import Model, ModelError, Snapshot
from screening.mail import Envelope, Mail

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from screening.classify.solve import Example

#: With fewer examples of a kind than this, odds are read as the base (or `UNTESTED`) reads them.
ENOUGH_TO_CALIBRATE = 100
#: With as many of each kind the base is left out: measured, it then costs six points of recall at 0.1 % false
#: positives, and examples that the base was made of would make the odds too sure.
ENOUGH_ALONE = 1000
#: Taken off the measured log-odds: a good message held costs more than a bad one let through.
CAUTION = 0.1
#: slope and offset where nothing could be measured: the border itself is 0, one margin is odds of 55 : 1
UNTESTED = (4.0, 0.0)
FOLDS = 3
#: From so many examples on a few more only move the border; beside them this many of each kind are looked at.
ENOUGH_TO_MOVE = 2000
REMINDERS = 300
#: share of the examples that may have come so before all are trained on again
MOST_MOVED = 0.1
#: log-odds nearer to even than this (one in eight is wrong there) are unsure
UNSURE = 2.0
MAX_MAIL_BYTES = 8 << 20

_NOBODY = Envelope("", "", "", "", None, "", (), datetime(1970, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Learned:
    """What one call of `learn` or `forget` did, and what the model now knows."""

    new: int
    corrected: int
    known: int
    spam: int
    ham: int
    #: name of the model written
    identity: str


def mail_of(raw: bytes) -> Mail:
    """Return a message as training reads it: no envelope."""
    return Mail(_NOBODY, raw)


def example_of(mail: Mail, *, spam: bool) -> Example:
    """Return what training keeps of a message: places in the table, no text."""
    return store.example([slots(found, group) for group, found in enumerate(tokens(mail))], spam=spam)


def files_in(paths: Iterable[Path]) -> Iterator[Path]:
    """Return the files named and those in the folders named, in a fixed order; follows links to files.

    A folder that cannot be read stands for its files: who opens it hears why.
    """
    for path in paths:
        if path.is_dir():
            yield from sorted(_below(path))
        else:
            yield path


def _below(folder: Path) -> Iterator[Path]:
    closed: list[Path] = []
    for place, _, names in os.walk(folder, onerror=lambda error: closed.append(Path(error.filename))):
        yield from (path for name in names if _is_file(path := Path(place, name)))
    yield from closed


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:  # a link to where nobody lets us look
        return True


def train(found: Iterable[Example], base: Model | None = None) -> Model:
    """Return the model of these examples: pure, reproducible, the same in any order.

    Odds are measured on examples that were left out in turn. With few examples the border stays near `base`.
    """
    examples = sorted(found, key=lambda example: example.key)
    kinds = Counter(example.spam for example in examples)
    if min(kinds[True], kinds[False]) >= ENOUGH_ALONE:
        base = None
    weights, bias = solve.border(examples, base)
    line, snapshot = _line(examples, base)
    return replace(Model.of(weights, bias, line, (kinds[True], kinds[False])), snapshot=snapshot)


def _line(examples: Sequence[Example], base: Model | None) -> tuple[tuple[float, float], Snapshot | None]:
    """Return the line from margin to odds, and what was measured on the way."""
    kinds = Counter(example.spam for example in examples)
    if min(kinds[True], kinds[False]) < ENOUGH_TO_CALIBRATE:
        return ((base.slope, base.offset) if base is not None else UNTESTED), None
    margins: list[float] = []
    labels: list[bool] = []
    known: list[float] = []
    for fold in range(FOLDS):
        inside = [example for example in examples if _fold(example) != fold]
        outside = [example for example in examples if _fold(example) == fold]
        weights, bias = solve.border(inside, base)
        margins += solve.margins(weights, bias, outside)
        labels += [example.spam for example in outside]
        known += [_known(weights, example) for example in outside if not example.spam]
    slope, offset = solve.line(margins, labels)
    unsure = sum(abs(slope * margin + offset - CAUTION) < UNSURE for margin in margins) / len(margins)
    snapshot = Snapshot(round(unsure, 4), round(sum(known) / len(known), 4))
    return (slope, offset - CAUTION), snapshot


def _known(weights: Sequence[float], example: Example) -> float:
    """Return which share of an example's places have a weight."""
    places = [place for slots in example.groups for place in slots]
    return sum(weights[place] != 0 for place in places) / (len(places) or 1)


def _fold(example: Example) -> int:
    """Return a part of the examples that near-copies share: their least scrambled word is the same."""
    least = min(((slot * 40_503 + 12_345) % SLOTS for slot in example.groups[0]), default=0)
    return least % FOLDS


def learn(path: Path, mails: Iterable[tuple[Mail, bool]]) -> Learned:
    """Learn messages (with True for spam) into the model at `path`, beside what it learned before; atomic.

    Starts from the shipped model. A message learned before as the other kind is corrected. Raises ModelError.
    """
    with store.locked(path):
        kept = store.read(_examples(path))
        new = corrected = known = 0
        fresh: list[Example] = []
        for mail, spam in mails:
            example = example_of(mail, spam=spam)
            before = kept.pop(example.key, None)
            kept[example.key] = example
            if before is None or before.spam is not spam:
                fresh.append(example)
            new += before is None
            corrected += before is not None and before.spam is not spam
            known += before is not None and before.spam is spam
        return _write(path, kept, fresh, new=new, corrected=corrected, known=known)


def add(path: Path, lessons: Iterable[Example]) -> Learned:
    """Learn examples of messages that are not known yet; what is known keeps its kind. Raises ModelError."""
    with store.locked(path):
        kept = store.read(_examples(path))
        before = len(kept)
        fresh = [lesson for lesson in lessons if lesson.key not in kept]
        kept.update((lesson.key, lesson) for lesson in fresh)
        return _write(path, kept, fresh, new=len(kept) - before, corrected=0, known=0)


def anew(path: Path) -> Learned:
    """Train the model at `path` on all that it has learned; atomic. Raises ModelError."""
    with store.locked(path):
        kept = store.read(_examples(path))
        return _write(path, kept, None, new=0, corrected=0, known=len(kept))


def forget(path: Path, mails: Iterable[Mail]) -> Learned:
    """Take messages out of the model at `path`, as if never learned; atomic. Raises ModelError."""
    with store.locked(path):
        kept = store.read(_examples(path))
        gone = sum(kept.pop(example_of(mail, spam=True).key, None) is not None for mail in mails)
        return _write(path, kept, None, new=0, corrected=gone, known=0)


def rollback(path: Path) -> Model:
    """Put the model before the current one back, and the examples that it was made of; ModelError if none.

    The next training goes on from there: what was learned since is forgotten.
    """
    with store.locked(path):
        model = models.rollback(path)
        with suppress(FileNotFoundError):
            models.step_back(_examples(path))
        return model


def _write(
    path: Path,
    kept: dict[bytes, Example],
    fresh: Sequence[Example] | None,
    *,
    new: int,
    corrected: int,
    known: int,
) -> Learned:
    """Write examples, then the model: after a crash between the two, the next call trains on all of them.

    `fresh` are those that the model does not know yet; None: it has to be trained anew.
    """
    kept = store.bounded(kept)
    store.replace(_examples(path), kept)
    model = _moved(path, kept, fresh) or train(kept.values(), shipped())
    models.save(model, path)
    return Learned(new, corrected, known, model.spam, model.ham, model.identity)


def _moved(path: Path, kept: dict[bytes, Example], fresh: Sequence[Example] | None) -> Model | None:
    """Return the model at `path` moved by a few examples; None where all have to be looked at.

    Its border stays as near to what it was as they and the newest of each kind allow. That takes a second
    however much is known, and is repeated only until a tenth has come so: then all is trained anew.
    """
    if fresh is None or len(kept) < ENOUGH_TO_MOVE or not path.exists():
        return None
    try:
        now = models.load(path)
    except ModelError:
        return None
    moved = now.moved + len(fresh)
    if not fresh:
        return now
    if moved > len(kept) * MOST_MOVED or now.spam + now.ham < len(kept) - len(fresh):
        return None  # or a crash left examples that no model knows
    newest = list(kept.values())
    several = {one.key: one for spam in (True, False) for one in _newest(newest, spam=spam)}
    several.update((one.key, one) for one in fresh)
    weights, bias = solve.border(list(several.values()), now)
    kinds = Counter(one.spam for one in newest)
    model = Model.of(weights, bias, (now.slope, now.offset), (kinds[True], kinds[False]))
    return replace(model, moved=moved, snapshot=now.snapshot)


def _newest(examples: Sequence[Example], *, spam: bool) -> list[Example]:
    return [one for one in examples if one.spam is spam][-REMINDERS:]


def _examples(path: Path) -> Path:
    return path.with_name(path.name + ".examples")
