"""Near-duplicate fingerprints: mails of one campaign differ in a few of 64 bits, others in about half.

SimHash over pairs of neighbouring long words at the start of the folded text, without what has a capital or a
digit: names and numbers that differ from copy to copy. Fingerprints hold no text; a known one can be found
within a few bits and be forgotten again.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar
from zlib import crc32

#: Fewer shingles say nothing about a campaign ("Thanks, see you then").
LEAST_SHINGLES = 12
#: Of longer texts these many shingles with the smallest hashes are taken, so that additions matter little.
SAMPLE = 32
#: Letters of a long word; of texts with so few long words all are taken.
LONG = 6
FEW = 30
#: Fingerprints of one campaign differ in at most this many bits.
NEAR_BITS = 7
MAX_CHARACTERS = 800

#: one lane of 8 bits for each bit of a byte: summing these counts all bits of many hashes at once
_SPREAD = tuple(sum(((byte >> bit) & 1) << (bit * 8) for bit in range(8)) for byte in range(256))
_LANES = 0x0101010101010101
_GATHER = 0x0102040810204080
_MIX, _ALL = 0x9E3779B97F4A7C15, (1 << 64) - 1
_CHANGES = (0, *(1 << bit for bit in range(16)))

T = TypeVar("T", bound=Hashable)


def of_text(text: str) -> int:
    """Return the 64-bit SimHash of a text, 0 where it is too short to say anything; about 50 µs at most."""
    start = text[:MAX_CHARACTERS].replace(",", " ").replace(".", " ")
    words = [word for word in start.split() if word.islower() and word.isalpha()]
    if len(words) <= LEAST_SHINGLES:  # letters without cases, or all capitals
        words = [word for word in start.lower().split() if word.isalpha()]
    long = [word for word in words if len(word) >= LONG]
    pairs = set(map(" ".join, pairwise(long if len(long) > FEW else words)))
    count = len(pairs)
    if count < LEAST_SHINGLES:
        return 0
    hashes: Iterable[int] = map(crc32, "\n".join(pairs).encode().split(b"\n"))
    if count > SAMPLE:
        hashes, count = sorted(hashes)[:SAMPLE], SAMPLE
    data = array("Q", [(value * _MIX) & _ALL for value in hashes]).tobytes()
    # in each lane the top bit becomes whether more than half of the hashes have that bit
    majority, result = (127 - count // 2) * _LANES, 0
    for place in range(8):
        lanes = (sum(map(_SPREAD.__getitem__, data[place::8])) + majority) >> 7 & _LANES
        result |= (lanes * _GATHER >> 56 & 0xFF) << (8 * place)
    return result or 1


def distance(one: int, other: int) -> int:
    """Return in how many bits two fingerprints differ."""
    return (one ^ other).bit_count()


@dataclass(frozen=True, slots=True)
class Match(Generic[T]):
    """A known campaign near a fingerprint."""

    label: T
    bits: int


class Campaigns(Generic[T]):
    """Known fingerprints by label, at most `limit` of them (the oldest go first); not shared by threads.

    A look-up among 10,000 costs about 8 µs.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._labels: dict[int, T] = {}
        self._bands: dict[int, set[int]] = {}

    def __len__(self) -> int:
        return len(self._labels)

    def add(self, value: int, label: T) -> None:
        """Know this fingerprint from now on; 0 is ignored."""
        if not value:
            return
        self.forget(value)
        while len(self._labels) >= self._limit:
            self.forget(next(iter(self._labels)))
        self._labels[value] = label
        for band in _bands(value):
            self._bands.setdefault(band, set()).add(value)

    def forget(self, value: int) -> None:
        """Know this fingerprint no more."""
        if self._labels.pop(value, None) is None:
            return
        for band in _bands(value):
            members = self._bands[band]
            members.discard(value)
            if not members:
                del self._bands[band]

    def nearest(self, value: int) -> Match[T] | None:
        """Return the nearest known campaign within 7 bits, None if there is none."""
        if not value or not self._labels:
            return None
        best, bits = 0, NEAR_BITS + 1
        for band in _bands(value):  # of 4 bands of 16 bits one differs in 1 bit at most where all differ in 7
            for change in _CHANGES:
                for known in self._bands.get(band ^ change, ()):
                    differ = (value ^ known).bit_count()
                    if differ < bits:
                        best, bits = known, differ
        return Match(self._labels[best], bits) if best else None

    def __iter__(self) -> Iterator[tuple[int, T]]:
        return iter(self._labels.items())


def _bands(value: int) -> tuple[int, ...]:
    """Return the four 16-bit parts, each with its place above it."""
    return (
        value & 0xFFFF,
        value >> 16 & 0xFFFF | 1 << 16,
        value >> 32 & 0xFFFF | 2 << 16,
        value >> 48 | 3 << 16,
    )
