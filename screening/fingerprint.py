"""Near-duplicate fingerprints: mails of one campaign differ in a few of 64 bits, others in about half.

SimHash over three-word shingles of the folded text, digits and long codes taken out. Fingerprints hold no
text; a known one can be looked up within a few bits and be forgotten again.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from heapq import nsmallest
from typing import Generic, TypeVar
from zlib import crc32

from screening.mail import Mail

#: Fewer shingles say nothing about a campaign ("Thanks, see you then").
LEAST_SHINGLES = 12
#: Of longer texts these many shingles with the smallest hashes are taken, so that additions matter little.
SAMPLE = 192
#: Fingerprints of one campaign differ in at most this many bits.
NEAR_BITS = 6
MAX_CHARACTERS = 32_000

_WORD = re.compile(r"[^\W\d_]{2,20}")
_LANE_BITS = 16
#: one lane of 16 bits for each of 8 bits: summing these counts all bits of many hashes at once
_SPREAD = tuple(sum(((byte >> bit) & 1) << (bit * _LANE_BITS) for bit in range(8)) for byte in range(256))
_BANDS = 8

T = TypeVar("T", bound=Hashable)


def fingerprint(mail: Mail) -> int:
    """Return the 64-bit fingerprint of what the mail says, 0 where it says too little."""
    return of_text(f"{mail.subject} {mail.folded[:MAX_CHARACTERS]}")


def of_text(text: str) -> int:
    """Return the 64-bit SimHash of a text, 0 where it is too short to say anything."""
    words = _WORD.findall(text[:MAX_CHARACTERS].lower())
    shingles = {" ".join(words[at : at + 3]).encode() for at in range(len(words) - 2)}
    if len(shingles) < LEAST_SHINGLES:
        return 0
    hashed = ((crc32(shingle), shingle) for shingle in shingles)
    chosen = nsmallest(SAMPLE, hashed) if len(shingles) > SAMPLE else list(hashed)
    lanes = [0] * 8
    for low, shingle in chosen:
        value = (crc32(shingle, 0x9E3779B9) << 32 | low).to_bytes(8, "little")
        for index, byte in enumerate(value):
            lanes[index] += _SPREAD[byte]
    half, mask, result = len(chosen) / 2, (1 << _LANE_BITS) - 1, 0
    for index, lane in enumerate(lanes):
        for bit in range(8):
            if (lane >> (bit * _LANE_BITS)) & mask > half:
                result |= 1 << (index * 8 + bit)
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
    """Known fingerprints by label, at most `limit` of them (the oldest go first); not shared by threads."""

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._labels: dict[int, T] = {}
        self._bands: dict[tuple[int, int], set[int]] = {}

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
        """Return the nearest known campaign within 6 bits, None if there is none."""
        if not value:
            return None
        near: set[int] = set()
        for band in _bands(value):  # 8 bands of 8 bits: what differs in at most 7 bits shares one
            near |= self._bands.get(band, set())
        best = min(near, key=lambda known: (distance(known, value), known), default=0)
        bits = distance(best, value)
        return Match(self._labels[best], bits) if best and bits <= NEAR_BITS else None


def _bands(value: int) -> list[tuple[int, int]]:
    return [(band, (value >> (band * 8)) & 0xFF) for band in range(_BANDS)]
