"""Faults of the configuration in the operator's words."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from relay.errors import Fault
from relay.values import HOSTNAME, MAILBOX

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

#: what a text that does not match should have been
_SHAPES = {
    HOSTNAME: "must be a host name such as relay.example",
    MAILBOX: "must be a mail address such as abuse@relay.example",
}

#: pydantic's kinds of error in the operator's words; `{}` takes the number or choice that it names
_ALLOWED = {
    "string_type": "must be text in quotes",
    "string_too_long": "must have at most {max_length} characters",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "tuple_type": "must be a list in square brackets",
    "too_short": "must hold at least {min_length}",
    "path_type": "must be a path in quotes",
    "dict_type": "must be a table",
    "model_type": "must be a table",
}


def of(error: ValidationError, root: type[BaseModel]) -> list[Fault]:
    """Say every fault of a configuration of the type `root`, one for each place."""
    seen: dict[str, Fault] = {}
    for item in error.errors(include_url=False):
        parts = [part for part in item["loc"] if not _is_branch(part)]
        where = ".".join(str(part) for part in parts)
        if item["type"] == "too_short" and item["input"]:
            continue  # it is short of what was faulty in it, and that is said
        if item["type"] == "extra_forbidden":
            fault = Fault(where, "unknown key", "not a setting of Gatepost", _suggestion(parts, root))
        else:
            given = (
                ""
                if item["type"] in ("listeners", "thresholds", "scanner", "scanners")
                else repr(item["input"])
            )
            fault = Fault(where, given[:80] or "this table", _allowed(item))
        if where not in seen or item["type"] != "literal_error":
            seen[where] = fault
    return list(seen.values())


def _allowed(item: ErrorDetails) -> str:
    context = item.get("ctx", {})
    if item["type"] == "string_pattern_mismatch":
        return _shape(context["pattern"])
    # pydantic's own words may hold braces
    known = _ALLOWED.get(item["type"])
    return known.format(**context) if known else item["msg"]


def _shape(pattern: str) -> str:
    if "http" in pattern:
        return "must be an address such as https://relay.example, without a path"
    return _SHAPES.get(pattern, "must be small letters, digits and the like: " + pattern)


def _is_branch(part: str | int) -> bool:
    """Tell whether pydantic put the name of a union's branch into the location."""
    return isinstance(part, str) and (
        part.startswith(("function-", "literal[", "constrained-", "lax-or-"))
        or part in ("int", "str", "path", "[key]")
    )


def _suggestion(parts: list[Any], root: type[BaseModel]) -> str:
    section = root
    for part in parts[:-1]:
        field = section.model_fields.get(str(part))
        if (
            field is None
            or not isinstance(field.annotation, type)
            or not issubclass(field.annotation, BaseModel)
        ):
            return ""
        section = field.annotation
    close = difflib.get_close_matches(str(parts[-1]), section.model_fields, n=1, cutoff=0.6)
    return close[0] if close else ""
