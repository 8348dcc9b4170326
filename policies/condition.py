"""Conditions of a policy, in CEL (https://cel.dev): checked when they are read, so that none fails at work.

A condition sees the numbers of a tally and a standing, the definitions above it and the functions below; no
loops and no text functions, so its cost is bounded by its length.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from policies import statistics
from policies.decision import Number
from policies.document import did_you_mean

LONGEST = 1000

FUNCTIONS: dict[str, Callable[..., float | bool]] = {
    "lower_bound": statistics.lower_bound,
    "exceeds": statistics.exceeds,
}
_OPERATORS = {
    "_&&_", "_||_", "!_", "_?_:_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_",
    "_+_", "_-_", "_*_", "_/_", "_%_", "-_", "@in", "double", "int",
}  # fmt: skip


class ConditionError(Exception):
    """A condition that cannot be judged; its text says why."""


@cache
def _cel() -> ModuleType:
    import cel  # its command line costs a quarter of a second that most commands need not pay

    return cel


@dataclass(frozen=True, slots=True)
class Condition:
    """One compiled expression; `names` are the variables that it refers to."""

    text: str
    names: tuple[str, ...]
    program: Any

    @classmethod
    def read(cls, text: str, known: Collection[str]) -> Condition:
        """Compile `text`, whose names must be `known`; ValueError with everything that is wrong with it."""
        try:
            program = _cel().compile(text)
        except ValueError as error:
            raise ValueError(str(error).splitlines()[0]) from None
        used = program.references()
        faults = [
            f"unknown name {one!r}{did_you_mean(one, known)}" for one in used["variables"] if one not in known
        ]
        faults += [
            f"unknown function {one!r}{did_you_mean(one, FUNCTIONS)}"
            for one in used["functions"]
            if one not in _OPERATORS and one not in FUNCTIONS
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return cls(text, tuple(used["variables"]), program)


class Facts(dict[str, Any]):
    """The numbers of one judgement by name; a definition is computed when it is first asked for.

    A dictionary, so that the engine asks it without a Python call in between. The value of a definition that
    says nothing is None.
    """

    def __init__(self, numbers: Mapping[str, Number], definitions: Mapping[str, Condition]) -> None:
        super().__init__(numbers)
        self._definitions = definitions

    def __missing__(self, name: str) -> Any:
        """Return the value of a definition; None, which the engine calls unknown, where it says nothing."""
        try:
            self[name] = self.value(self._definitions[name])
        except ConditionError:
            self[name] = None
        return self[name]

    def value(self, condition: Condition) -> Any:
        """Return what the condition says of these numbers; ConditionError where it says nothing."""
        # made anew each time: kept, it would be a ring that the garbage collector cannot see through
        context = _cel().Context(functions=FUNCTIONS)
        context.set_variable_resolver(self.__getitem__)
        try:
            return condition.program.execute(context)
        except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
            raise ConditionError(str(error).splitlines()[0]) from None
