"""An attribute that is made on first use and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class lazy(Generic[T]):  # noqa: N801 - used as a decorator, like property
    """What `functools.cached_property` is, without the lock that Python 3.11 takes at each first use.

    Two threads may both make the value; it is made of immutable things, so they make the same.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._name = make.__name__
        self.__doc__ = make.__doc__

    def __get__(self, owner: Any, kind: type | None = None) -> T:
        """Make the value and put it where the next look finds it first."""
        value = owner.__dict__[self._name] = self._make(owner)
        return value
