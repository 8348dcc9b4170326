"""What the classifier learned from: slots and labels in one bounded file, no text, no address.

Records with a checksum each: damage costs the records behind it, never a wrong example. One message is one
record, so learning it again as the other kind corrects it.
"""

from __future__ import annotations

import fcntl
import struct
import sys
from array import array
from contextlib import contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING
from zlib import crc32

from screening.classify.features import GROUPS, SLOTS, VERSION
from screening.classify.model import ModelError, age, write
from screening.classify.solve import Example

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

#: Examples kept of each kind: beyond it the oldest go, so the file stays near 50 MB and follows the traffic.
MAX_EXAMPLES = 20_000

_MAGIC = b"gatepost-examples " + str(VERSION).encode() + b"\n"
#: label (s or h), key, number of tokens by group; then the slots; then a checksum of it all
_HEAD = struct.Struct(f"<c8s{len(GROUPS)}H")
_SUM = struct.Struct("<I")
_LABELS = {b"s", b"h"}


def example(groups: Sequence[Iterable[int]], *, spam: bool) -> Example:
    """Return the example of a message's slots; equal slots give an equal key."""
    sets = tuple(array("I", sorted(group)) for group in groups)
    digest = blake2b(digest_size=8)
    for slots in sets:
        digest.update(len(slots).to_bytes(2, "big") + _little(slots))
    return Example(spam, sets, digest.digest())


def read(path: Path) -> dict[bytes, Example]:
    """Return the examples by key, oldest first; ModelError where the file is not of this version."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    if not content.startswith(_MAGIC):
        raise ModelError(f"{path}: not an example file of this version; move it away and learn again")
    kept: dict[bytes, Example] = {}
    for found in records(content, len(_MAGIC)):
        kept[found.key] = found
    return kept


def bounded(kept: dict[bytes, Example]) -> dict[bytes, Example]:
    """Return the newest `MAX_EXAMPLES` of each kind."""
    excess = {
        spam: sum(found.spam is spam for found in kept.values()) - MAX_EXAMPLES for spam in (False, True)
    }
    if max(excess.values()) <= 0:
        return kept
    out = {}
    for key, found in kept.items():
        if excess[found.spam] > 0:
            excess[found.spam] -= 1
        else:
            out[key] = found
    return out


def replace(path: Path, kept: dict[bytes, Example]) -> None:
    """Write the file anew, atomically; the ones before stay beside it, as long as models do."""
    write(path, _MAGIC + b"".join(map(record, kept.values())), before_replace=lambda: age(path))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the right to train: a second trainer waits here. The lock goes with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def record(found: Example) -> bytes:
    """Return an example as files keep it."""
    counts = [len(slots) for slots in found.groups]
    body = _HEAD.pack(b"s" if found.spam else b"h", found.key, *counts) + b"".join(map(_little, found.groups))
    return body + _SUM.pack(crc32(body))


def records(content: bytes, at: int = 0) -> Iterator[Example]:
    """Yield the examples of a file's content, up to the first damaged one."""
    while at + _HEAD.size <= len(content):
        label, key, *counts = _HEAD.unpack_from(content, at)
        end = at + _HEAD.size + 4 * sum(counts)
        if label not in _LABELS or end + _SUM.size > len(content):
            return
        if _SUM.unpack_from(content, end)[0] != crc32(content[at:end]):
            return
        slots = array("I")
        slots.frombytes(content[at + _HEAD.size : end])
        if sys.byteorder == "big":
            slots.byteswap()
        if slots and max(slots) >= SLOTS:
            return
        groups, start = [], 0
        for count in counts:
            groups.append(slots[start : start + count])
            start += count
        yield Example(label == b"s", tuple(groups), key)
        at = end + _SUM.size


def _little(slots: array[int]) -> bytes:
    if sys.byteorder == "big":
        slots = array("I", slots)
        slots.byteswap()
    return slots.tobytes()
