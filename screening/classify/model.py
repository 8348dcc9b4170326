"""The model: one table of weights, a line that turns the margin into odds, and its file.

The file is a line of JSON, then the compressed table. It holds no text: a word is a place in the table.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import tempfile
import zlib
from array import array
from dataclasses import dataclass, fields
from itertools import pairwise, repeat
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from screening.classify.features import GROUPS, SALTS, SLOTS, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

#: models kept beside the current one for `rollback`
GENERATIONS = 3
MAX_FILE_BYTES = 8 << 20


_MAGIC = "gatepost-classifier"
_TABLE_BYTES = 2 * SLOTS
_WEIGHTS = tuple(group.weight for group in GROUPS)
_NUMBERS = ("scale", "bias", "slope", "offset")


class ModelError(ValueError):
    """A model or example file that cannot be used: which file, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How sure the model was of mail that was left out, and how much of it it knew: from 0 to 1."""

    unsure: float
    #: share of its tokens that have a weight, in good mail
    known: float


@dataclass(frozen=True, slots=True)
class Model:
    """Weights as 16-bit integers times `scale`; log-odds = slope * margin + offset, at even odds."""

    table: array[int]
    scale: float
    bias: float
    slope: float
    offset: float
    #: how many examples it learned from
    spam: int
    ham: int
    #: how many of them only moved the border since all were trained on
    moved: int = 0
    #: what mail that was left out looked like in training; None where nothing could be measured
    snapshot: Snapshot | None = None

    @classmethod
    def of(
        cls, weights: Sequence[float], bias: float, line: tuple[float, float], counts: tuple[int, int]
    ) -> Model:
        """Return the model of these weights, in 16 bits: sums of integers do not depend on their order."""
        scale = max(max(weights), -min(weights), 1e-9) / 32_767
        table = array("h", [round(weight / scale) for weight in weights])
        return cls(table, scale, bias, *line, *counts)

    def weights(self) -> list[float]:
        """Return the weights as numbers, to train on from here."""
        scale = self.scale
        return [value * scale for value in self.table]

    def weights_of(self, tokens: Iterable[bytes], group: int) -> list[int]:
        """Return each token's entry of the table, in the order given."""
        # no dictionary of tokens instead: it is faster only while it stays in the processor's cache
        table = self.table
        return [table[found & (SLOTS - 1)] for found in map(crc32, tokens, repeat(SALTS[group]))]

    def margin(self, groups: Iterable[Sequence[int]]) -> float:
        """Return the signed distance from the border: below 0 ham, above 0 spam, beyond ±1 sure.

        `groups` are the tokens' entries of the table.
        """
        total = 0.0
        for weight, pulls in zip(_WEIGHTS, groups, strict=True):
            if pulls:
                total += weight * sum(pulls) / math.sqrt(len(pulls))
        return total * self.scale + self.bias

    def margin_of(self, groups: Iterable[Sequence[int]]) -> float:
        """Return the margin of slots, as examples keep them."""
        return self.margin([list(map(self.table.__getitem__, slots)) for slots in groups])

    def log_odds(self, margin: float) -> float:
        """Return the calibrated natural logarithm of spam : ham."""
        return self.slope * margin + self.offset

    @property
    def identity(self) -> str:
        """A short name that two models share only if they are equal."""
        head, body = self._encoded()
        return hashlib.sha256(head + body).hexdigest()[:12]

    def _encoded(self) -> tuple[bytes, bytes]:
        table = self.table
        if sys.byteorder == "big":
            table = array("h", table)
            table.byteswap()
        body = table.tobytes()
        head = {
            "format": _MAGIC,
            "features": VERSION,
            "spam": self.spam,
            "ham": self.ham,
            "moved": self.moved,
            "snapshot": [self.snapshot.unsure, self.snapshot.known] if self.snapshot else [],
            **{name: getattr(self, name) for name in _NUMBERS},
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        return json.dumps(head, sort_keys=True).encode() + b"\n", body

    def to_bytes(self) -> bytes:
        """Return the file's content; equal models give equal bytes."""
        head, body = self._encoded()
        return head + zlib.compress(body, 6)

    @classmethod
    def from_bytes(cls, content: bytes, name: str = "model") -> Model:
        """Return the model of a file's content; ModelError where it is damaged or of another version."""
        line, _, packed = content.partition(b"\n")
        try:
            head = json.loads(line)
            kind, features, digest = head["format"], head["features"], head["sha256"]
            numbers = [float(head[key]) for key in _NUMBERS]
            counts = int(head["spam"]), int(head["ham"]), int(head.get("moved", 0))
            measured = [float(value) for value in head.get("snapshot", ())]
            body = zlib.decompressobj().decompress(packed, _TABLE_BYTES + 1)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError, zlib.error) as error:
            raise ModelError(f"{name}: not a readable classifier model ({type(error).__name__})") from error
        if kind != _MAGIC:
            raise ModelError(f"{name}: not a classifier model")
        if features != VERSION:
            raise ModelError(f"{name}: made for features {features}, not {VERSION}; train it again")
        if len(body) != _TABLE_BYTES or hashlib.sha256(body).hexdigest() != digest:
            raise ModelError(f"{name}: damaged; restore it with a rollback or train it again")
        if not all(map(math.isfinite, numbers + measured)):
            raise ModelError(f"{name}: holds a number that is not finite")
        table = array("h")
        table.frombytes(body)
        if sys.byteorder == "big":
            table.byteswap()
        scale, bias, slope, offset = numbers
        snapshot = Snapshot(*measured) if len(measured) == len(fields(Snapshot)) else None
        return cls(table, scale, bias, slope, offset, *counts, snapshot)


def load(path: Path) -> Model:
    """Return the model in a file; ModelError names the file and what to do."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB, not a classifier model")
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    return Model.from_bytes(content, str(path))


def save(model: Model, path: Path) -> None:
    """Write the model atomically; the one before stays beside it, `GENERATIONS` deep.

    Order: new file, fsync, older generations move up, replace, fsync of the folder: a crash at any point
    leaves a whole model at `path`.
    """
    write(path, model.to_bytes(), before_replace=lambda: age(path))


def write(path: Path, content: bytes, *, before_replace: Callable[[], None] | None = None) -> None:
    """Replace a file's content so that readers see the old or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.chmod(0o640)
        if before_replace is not None:
            before_replace()
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def generations(path: Path) -> list[Path]:
    """Return where the files before the current one are kept, newest first, whether they exist or not."""
    return [path.with_name(f"{path.name}.{number}") for number in range(1, GENERATIONS + 1)]


def age(path: Path) -> None:
    """Move each older file one place up and keep the current one as the first of them."""
    if not path.exists():
        return
    places = generations(path)
    for newer, older in reversed(list(pairwise(places))):
        if newer.exists():
            newer.replace(older)
    places[0].unlink(missing_ok=True)
    places[0].hardlink_to(path)  # no moment without a file at `path`


def step_back(path: Path) -> None:
    """Put the file before the current one back, the older ones behind it; FileNotFoundError if none."""
    places = generations(path)
    places[0].replace(path)
    for newer, older in pairwise(places):
        if older.exists():
            older.replace(newer)


def rollback(path: Path) -> Model:
    """Put the model before the current one back and return it; ModelError if there is none."""
    older = generations(path)[0]
    if not older.exists():
        raise ModelError(f"no older model is kept; without {path} itself the shipped one serves")
    model = load(older)
    step_back(path)
    return model
