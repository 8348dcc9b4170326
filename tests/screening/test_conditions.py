from __future__ import annotations

import pytest

from screening.conditions import gates

RULES = {"a", "b", "c"}


@pytest.mark.parametrize(
    ("condition", "needed"),
    [
        ("a", [{"a"}]),
        ("a && (b || c)", [{"a"}, {"b", "c"}]),
        ("(a || b) && link_count > 0 && !c", [{"a", "b"}]),
        ("a || b", []),
        ("a ? b : c", []),
        ("(a || is_reply) && b", [{"b"}]),
        ("(a && b) && c", [{"c"}]),
        ("(a) || (b) && c", []),
        ("from_name == ') && a && (' && b", []),
        ("[a, b].exists(x, x) && c", [{"c"}]),
    ],
)
def test_a_condition_needs_those_rules_that_it_joins_by_and(condition: str, needed: list[set[str]]) -> None:
    assert list(gates(condition, RULES)) == needed
