"""One rule: a name, a reason, a score, and how it says yes; Python and TOML become the same thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from inspect import getsource
from typing import Any

from screening.mail import Mail

#: What a rule's check returns: the evidence, or None for "no".
Check = Callable[[Mail], str | None]
#: A written message: a plain text, or named parts of a mail (see tuning/examples.py).
Example = str | Mapping[str, Any]


class RuleError(Exception):
    """The rules cannot be used; `faults` lists everything that is wrong with them, one sentence each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class Mode(StrEnum):
    """What a rule's yes does."""

    ON = "on"
    SHADOW = "shadow"  #: recorded with no score
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Words:
    """Literals of one part of the mail: at least `at_least` different ones of `words` must occur."""

    part: str
    words: tuple[str, ...]
    at_least: int = 1


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; all its kinds of test that are present must hold.

    `when` maps a part to patterns of which one must match, `unless` the same of which none may;
    `domains` are link domains or hosts; `condition` is CEL over facts and other rules' names.
    """

    id: str
    why: str
    score: float
    check: Check | None = None
    when: tuple[tuple[str, tuple[str, ...]], ...] = ()
    unless: tuple[tuple[str, tuple[str, ...]], ...] = ()
    words: tuple[Words, ...] = ()
    domains: frozenset[str] = frozenset()
    condition: str = ""
    group: str = ""
    mode: Mode = Mode.ON
    hits: tuple[Example, ...] = ()
    misses: tuple[Example, ...] = ()
    source: str = ""
    #: what a mail must have for `check` to be asked at all: names of `needs.NEEDS`
    needs: tuple[str, ...] = ()

    def identity(self) -> list[Any]:
        """Return what makes this rule decide as it does, for the ruleset's hash."""
        code = getsource(self.check) if self.check is not None else ""
        words = [[w.part, sorted(w.words), w.at_least] for w in self.words]
        tests = [self.when, self.unless, words, sorted(self.domains), self.condition, code]
        return [self.id, self.score, self.mode.value, self.group, tests]


def rule(
    *,
    score: float,
    group: str = "",
    mode: Mode = Mode.ON,
    hits: Sequence[Example] = (),
    misses: Sequence[Example] = (),
    needs: str | Sequence[str] = (),
) -> Callable[[Check], Rule]:
    """Make a rule of a function: name = id, docstring = reason, returned text = evidence."""

    def made(check: Check) -> Rule:
        why = " ".join((check.__doc__ or "").split())
        return Rule(
            check.__name__,
            why,
            score,
            check=check,
            group=group,
            mode=mode,
            hits=tuple(hits),
            misses=tuple(misses),
            source=check.__module__,
            needs=(needs,) if isinstance(needs, str) else tuple(needs),
        )

    return made
