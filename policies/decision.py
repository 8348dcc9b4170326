"""What every policy answers: an action, why, and the numbers it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Number = float | int | str
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Decision(Generic[A]):
    """One answer that can be asked why; `numbers` are plain JSON values."""

    action: A
    reason: str
    numbers: Mapping[str, Number] = field(default_factory=dict)
