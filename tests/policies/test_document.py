"""What stands in both of the operators' files: durations, names, tables, and what is said of a wrong one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from policies import document


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1), ("90s", 90), ("1min", 60), ("10m", 600), ("6h", 21_600), ("1h", 3600), ("1d", 86_400),
        ("366d", 31_622_400), ("31622400s", 31_622_400), ("2 min", 120),
    ],
)  # fmt: skip
def test_a_duration_is_read_and_spelled(text: str, seconds: int) -> None:
    found = document.duration(text)
    assert found == timedelta(seconds=seconds)
    assert document.duration(document.spell(found)) == found


@pytest.mark.parametrize(
    "wrong", ["0s", "0d", "367d", "31622401s", "", "1", "-1h", "1w", "1h 30min", 60, None]
)
def test_what_is_no_duration_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        document.duration(wrong)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "1s"), (59, "59s"), (60, "1min"), (61, "61s"), (3599, "3599s"), (3600, "1h"), (3660, "61min"),
        (86_400, "1d"), (90_000, "25h"), (172_800, "2d"),
    ],
)  # fmt: skip
def test_a_duration_is_spelled_in_the_largest_unit_that_fits(seconds: int, text: str) -> None:
    assert document.spell(timedelta(seconds=seconds)) == text


def test_only_lists_are_lists_of_tables() -> None:
    assert document.tables([{}]) == [{}]
    with pytest.raises(ValueError, match="list of tables"):
        document.tables({})


def test_the_nearest_name_is_meant_and_no_far_one() -> None:
    assert document.did_you_mean("vote", ("votes", "voter_turnout")) == " (did you mean votes?)"
    assert document.did_you_mean("nothing", ("votes",)) == ""


@pytest.mark.parametrize(("name", "fits"), [("a", True), ("a" * 64, True), ("a" * 65, False), ("1a", False)])
def test_names_are_small_letters_and_bounded(name: str, *, fits: bool) -> None:
    if fits:
        assert document.name(name) == name
    else:
        with pytest.raises(ValueError, match="must be a name"):
            document.name(name)


def test_a_fault_quotes_sixty_letters_of_a_wrong_value() -> None:
    faults: list[str] = []
    table = document.Table("step 'x'", {"for": "y" * 61}, faults)
    assert table.take("for", document.duration, None) is None
    assert faults[0].startswith(f"step 'x': for = {'y' * 60!r}: must be")
