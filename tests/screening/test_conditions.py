from __future__ import annotations

import cel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from screening.conditions import gates
from screening.expressions import plain
from screening.facts import FACTS
from screening.ruleset import load
from screening.tuning.examples import mail_of

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


TERMS = st.sampled_from(
    [
        "a",
        "b",
        "c",
        "is_reply",
        "has_plain",
        "link_count > 0",
        "recipients <= 1",
        "size != 7",
        "text_length >= 3",
    ]
)
EXPRESSIONS = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.builds("{} && {}".format, inner, inner),
        st.builds("{} || {}".format, inner, inner),
        st.builds("({})".format, inner),
        st.builds("!({})".format, inner),
    ),
    max_leaves=8,
)


@given(
    EXPRESSIONS, st.sets(st.sampled_from(sorted(RULES))), st.sampled_from(["Hello", "See https://a.example/"])
)
def test_a_plain_condition_holds_where_cel_says_so(condition: str, hits: set[str], text: str) -> None:
    mail, found = mail_of(text), dict.fromkeys(hits, "")
    program = cel.compile(condition)
    names = program.variables()
    values = {name: FACTS[name].read(mail) if name in FACTS else name in found for name in names}
    made = plain(condition, RULES)
    assert made is not None
    assert made.names == set(names)
    assert made.holds(mail, found) is program.execute(values)


@pytest.mark.parametrize(
    "condition",
    ["link_count + 1 > 2", "from_name == 'x'", "a ? b : c", "a &&", "(a", "a)", "d", "link_count",
     "a == true",
     "link_count > 0x1", "link_count > 01", "1 < link_count", "[a].exists(x, x)", "", "!" * 30 + "a",
     "!link_count > 1", "a && !!size == 1", "link_count > 99999999999999999999"],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_cel(condition: str) -> None:
    assert plain(condition, RULES) is None


def test_a_rule_cannot_take_a_word_of_cel() -> None:
    assert plain("a && true", {*RULES, "true"}) is None


def test_shipped_conditions_are_plain() -> None:
    rules = load().rules
    names = {rule.id for rule in rules}
    assert all(plain(rule.condition, names) for rule in rules if rule.condition)
