from __future__ import annotations

import gc
import tracemalloc

import pytest

from policies.condition import Condition, ConditionError, Facts


def value(text: str, **numbers: float | int | str) -> object:
    return Facts(numbers, {}).value(Condition.read(text, numbers))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a >= 3 && b < 2", True),
        ("a > 3 || a == 3", True),
        ("!(a != 3)", True),
        ("a * 2 - b + 1 == 6", True),
        ("a / 2 == 1 && a % 2 == 1", True),
        ("double(a) / 2.0 == 1.5 && int(1.9) == 1", True),
        ("-b < 0 ? false : true", False),
        ("klass in ['app', 'bulk']", True),
        ("lower_bound(18, 2000, 0.999) > 0.0038", True),
        ("exceeds(18, 2000, 0.999, 0.003)", True),
        ("a > 2.5", True),
    ],
)
def test_what_conditions_can_say(text: str, expected: object) -> None:
    assert value(text, a=3, b=1, klass="app") is expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("votes >=", "Failed to parse"),
        ("", "Failed to parse"),
        ("vote > 1", "unknown name 'vote' (did you mean votes?)"),
        ("lowerbound(1, 2, 0.9) > 0.1", "unknown function 'lowerbound' (did you mean lower_bound?)"),
        ("size([1]) > 0", "unknown function 'size'"),
        ("'a'.matches('a')", "unknown function 'matches'"),
        ("[1, 2].exists(votes, votes > 1)", "unknown function '@not_strictly_false'"),
        ("timestamp('2026-01-01T00:00:00Z') > 1", "unknown function 'timestamp'"),
        ("x > 1 && y > 1", "unknown name 'x'; unknown name 'y'"),
    ],
)
def test_what_they_cannot_say_is_refused_when_read(text: str, fault: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        Condition.read(text, ["votes"])
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["votes / 0 > 1", "votes + 'a' == 1", "votes.x > 1", "9223372036854775807 + votes > 1"]
)
def test_what_cannot_be_computed_is_one_error(text: str) -> None:
    with pytest.raises(ConditionError) as caught:
        value(text, votes=1)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_definitions_are_computed_when_asked_for_and_once() -> None:
    known = ["votes"]
    twice = Condition.read("votes * 2", known)
    four = Condition.read("twice * 2", [*known, "twice"])
    broken = Condition.read("votes / 0", known)
    facts = Facts({"votes": 3}, {"twice": twice, "four": four, "broken": broken})
    assert set(facts) == {"votes"}
    assert facts.value(Condition.read("four == 12", ["four"])) is True
    assert facts == {"votes": 3, "twice": 6, "four": 12}
    assert facts["broken"] is None
    with pytest.raises(ConditionError):
        facts.value(Condition.read("broken > 1", ["broken"]))


def test_names_are_those_that_the_text_uses() -> None:
    assert Condition.read("b > 1 && a > 1 || a < 0", "ab").names == ("a", "b")


def test_judging_leaves_nothing_behind() -> None:
    condition = Condition.read("votes > limit", ["votes", "limit"])
    limit = Condition.read("votes + 1", ["votes"])

    def ask(times: int) -> None:
        for number in range(times):
            Facts({"votes": number}, {"limit": limit}).value(condition)
        gc.collect()

    ask(100)
    before = len(gc.get_objects())
    tracemalloc.start()
    try:
        ask(2000)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(gc.get_objects()) - before < 500
    assert kept < 100_000
