"""Reading a policy's TOML so that every fault is found at once."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")

_UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
_SUFFIXES = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def duration(text: object) -> timedelta:
    """Read `90s`, `10min`, `6h` or `30d`; ValueError otherwise, and for nothing or more than 366 days."""
    match = re.fullmatch(r"(\d{1,9})\s*(s|min|m|h|d)", text) if isinstance(text, str) else None
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= 366 * 86400:
        raise ValueError('must be a duration such as "90s", "10min", "6h" or "30d"')
    return timedelta(seconds=seconds)


def spell(length: timedelta) -> str:
    """Return a duration as a file spells it, in the largest unit that fits."""
    seconds = int(length.total_seconds())
    return next(f"{seconds // size}{unit}" for unit, size in _SUFFIXES if seconds % size == 0)


def name(text: object) -> str:
    """Read a name of small letters, digits and underscores; ValueError otherwise."""
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        raise ValueError("must be a name of small letters, digits and _, starting with a letter")
    return text


def words(text: object) -> str:
    """Read a text that is not blank, its white space collapsed; ValueError otherwise."""
    collapsed = " ".join(text.split()) if isinstance(text, str) else ""
    if not collapsed:
        raise ValueError("must be a text that is not empty")
    return collapsed


def anything(value: object) -> object:
    """Read a value that its own reader checks."""
    return value


def tables(value: object) -> list[object]:
    """Read a list of tables, written as [[name]]; ValueError unless it is a list."""
    if not isinstance(value, list):
        raise ValueError("must be a list of tables, each under its own [[...]]")  # noqa: TRY004 - a fault
    return value


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return ` (did you mean X?)`, or nothing where no known name is near."""
    near = difflib.get_close_matches(given, list(known), 1)
    return f" (did you mean {near[0]}?)" if near else ""


def parse(text: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the tables of a TOML text, and its faults: at most one, for a parser stops at the first."""
    try:
        return tomllib.loads(text), ()
    except tomllib.TOMLDecodeError as error:
        return {}, (f"not TOML: {error}",)


class Table:
    """One table that is read key by key and collects its faults in a list shared with its siblings."""

    def __init__(self, where: str, values: object, faults: list[str]) -> None:
        self.where = where
        self.faults = faults
        self._left: dict[str, Any] = {}
        if isinstance(values, Mapping):
            self._left = dict(values)
        else:
            self.fault("must be a table")

    def keys(self) -> list[str]:
        """Return the keys that nobody has taken yet, in the order of the file."""
        return list(self._left)

    def fault(self, text: str) -> None:
        """Note that something is wrong with this table."""
        self.faults.append(f"{self.where}: {text}")

    def take(self, key: str, read: Callable[[object], T], default: T) -> T:
        """Return `key` as `read` reads it; a fault and the default when it is missing or wrong."""
        if key not in self._left:
            self.fault(f"{key} is missing")
            return default
        return self.take_if(key, read, default)

    def take_if(self, key: str, read: Callable[[object], T], default: T) -> T:
        """Return `key` as `read` reads it, or the default when it is missing; a fault when it is wrong."""
        if key not in self._left:
            return default
        value = self._left.pop(key)
        try:
            return read(value)
        except ValueError as error:
            self.fault(f"{key} = {str(value)[:60]!r}: {error}")
            return default

    def end(self, known: Iterable[str]) -> None:
        """Note every key that nobody asked for."""
        for key in self._left:
            self.fault(f"unknown key {key!r}{did_you_mean(key, known)}")
