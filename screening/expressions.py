"""Conditions of the plain kind as Python functions: rules and facts joined by `&&`, `||`, `!`, brackets.

All shipped conditions and most others are of this kind; they then cost a microsecond instead of twenty, and
the CEL library is loaded only where a condition says more. What is not plain is left to CEL, faults included.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from screening.facts import FACTS
from screening.tuning.examples import mail_of

if TYPE_CHECKING:
    from screening.mail import Mail

#: what a plain condition is run with: the mail, and what hit so far
Holds = Callable[["Mail", Mapping[str, str]], bool]

_TOKEN = re.compile(r"\s*(?:(\w+)|(&&|\|\||==|!=|<=|>=|[<>!()]))")
_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip
#: deeper brackets, and larger numbers, are CEL's
_DEPTH, _DIGITS = 20, 18
#: what a rule may be called, and what is no name in CEL
_WORDS = frozenset(("true", "false", "null", "in"))


@dataclass(frozen=True, slots=True)
class Plain:
    """A plain condition: whether it holds, and the names in it."""

    holds: Holds
    names: frozenset[str]


class _NotPlain(Exception):
    pass


def plain(condition: str, rules: Container[str]) -> Plain | None:
    """Return the condition as a function, None where it says more than rules and facts joined."""
    reader = _Reader(condition, rules)
    try:
        holds = reader.either(0)
    except _NotPlain:
        return None
    return Plain(holds, frozenset(reader.names)) if not reader.tokens else None


def _tokens(condition: str) -> list[str]:
    """Return the tokens, the last one first."""
    found, place, end = [], 0, len(condition.rstrip())
    while place < end:
        token = _TOKEN.match(condition, place)
        if token is None:
            raise _NotPlain
        found.append(token[1] or token[2])
        place = token.end()
    return found[::-1]


@lru_cache(maxsize=1)
def _kinds() -> Mapping[str, type]:
    mail = mail_of("A mail to see what facts are.")
    return {name: type(fact.read(mail)) for name, fact in FACTS.items()}


class _Reader:
    """CEL's precedence: `!` and comparisons bind strongest, then `&&`, then `||`."""

    def __init__(self, condition: str, rules: Container[str]) -> None:
        self.names: set[str] = set()
        self._rules = rules
        try:
            self.tokens = _tokens(condition)
        except _NotPlain:
            self.tokens = ["?"]

    def _next(self) -> str:
        if not self.tokens:
            raise _NotPlain
        return self.tokens.pop()

    def _follows(self, token: str) -> bool:
        if self.tokens and self.tokens[-1] == token:
            self.tokens.pop()
            return True
        return False

    def either(self, depth: int) -> Holds:
        found = [self._all(depth)]
        while self._follows("||"):
            found.append(self._all(depth))
        if len(found) == 1:
            return found[0]
        names = frozenset(one.name for one in found if isinstance(one, _Hit))
        if len(names) == len(found):  # rules alone: one look
            return lambda _, hits: not names.isdisjoint(hits)
        return lambda mail, hits: any(one(mail, hits) for one in found)

    def _all(self, depth: int) -> Holds:
        found = [self._one(depth)]
        while self._follows("&&"):
            found.append(self._one(depth))
        return found[0] if len(found) == 1 else lambda mail, hits: all(one(mail, hits) for one in found)

    def _one(self, depth: int) -> Holds:
        if depth > _DEPTH:
            raise _NotPlain
        if self._follows("!"):
            if self.tokens and _kinds().get(self.tokens[-1]) is int:
                raise _NotPlain  # `!` takes the number, not what it is compared with
            inner = self._one(depth + 1)
            return lambda mail, hits: not inner(mail, hits)
        if self._follows("("):
            inner = self.either(depth + 1)
            if not self._follows(")"):
                raise _NotPlain
            return inner
        return self._named(self._next())

    def _named(self, name: str) -> Holds:
        fact = FACTS.get(name)
        if fact is None:
            if name not in self._rules or name in _WORDS:
                raise _NotPlain
            self.names.add(name)
            return _Hit(name)
        self.names.add(name)
        read, kind = fact.read, _kinds()[name]
        if kind is bool:
            return lambda mail, _: bool(read(mail))
        compared = _COMPARED.get(self._next()) if kind is int else None
        number = self._next() if compared is not None else ""
        if compared is None or not (number.isascii() and number.isdigit() and len(number) <= _DIGITS):
            raise _NotPlain
        if number != str(int(number)):
            raise _NotPlain
        limit = int(number)
        return lambda mail, _: compared(read(mail), limit)


@dataclass(frozen=True, slots=True)
class _Hit:
    """Whether a rule hit."""

    name: str

    def __call__(self, _: Mail, hits: Mapping[str, str]) -> bool:
        return self.name in hits
