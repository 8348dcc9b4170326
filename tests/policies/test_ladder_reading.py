from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from policies import ladder as ladders
from policies.ladder import LadderError, judge, parse
from policies.rungs import STANDING, STRICTNESS
from policies.standing import StandingNow
from policies.tally import Tally

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SHIPPED = ladders.load()
ACTIVE = StandingNow()
KEEP = STRICTNESS[0]

STEP = """
[[step]]
name = "one"
action = "warn"
when = "votes >= 2"
reason = "{votes} votes"
lifts = "fewer"
"""


def faults(text: str) -> tuple[str, ...]:
    with pytest.raises(LadderError) as caught:
        parse(text)
    assert str(caught.value) == "\n".join(caught.value.faults)
    return caught.value.faults


def test_every_fault_is_told_at_once() -> None:
    found = faults(
        """
        escalation = ["1 hour"]
        steps = 1
        [define]
        votes = "1"
        x = "y + 1"
        z = "votes + 'a'"
        [[step]]
        name = "a"
        action = "warm"
        when = "vote >= 3 && foo(1)"
        reason = "{vots}"
        lifts = "{votes.real}"
        because = 1
        [[step]]
        name = "a"
        action = "warn"
        when = "votes + 1"
        reason = "{votes!r}"
        lifts = "{votes:{votes}}"
        for = "0h"
        [[step]]
        name = "B"
        action = "throttle"
        when = "votes >= 5 && relayed_30d / 0 > 1"
        reason = "{klass:.2%}"
        """
    )
    for text in (
        "ladder: escalation = \"['1 hour']\": must be a duration",
        "ladder: unknown key 'steps' (did you mean step?)",
        "define: 'votes' cannot be defined",
        "define: x = 'y + 1': unknown name 'y'",
        "define: z: ",
        "step 'a': is there twice",
        "step 'a': action = 'warm': must be one of warn, throttle, deactivate, block_credential, suspend",
        "step 'a': when = 'vote >= 3 && foo(1)': unknown name 'vote' (did you mean votes?); unknown",
        "step 'a': reason = '{vots}': unknown name 'vots' (did you mean votes?)",
        "step 'a': lifts = '{votes.real}': unknown name 'votes.real'",
        "step 'a': unknown key 'because'",
        "step 'a': when: gives 1, must be bool",
        "step 'a': reason = '{votes!r}': votes may only have a short format such as {votes:.2%}",
        "step 'a': lifts = '{votes:{votes}}': votes may only have a short format",
        "step 'a': for = '0h': must be a duration",
        "step 'B': name = 'B': must be a name of small letters",
        "step 'B': lifts is missing",
        "step 'B': for is missing: a throttled account has to come back by itself",
        "step '': when: ",
    ):
        assert any(one.startswith(text) for one in found), text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("step = 3", "step: must be a list of at most 100 tables, written as [[step]]"),
        ("step = [3]", "step number 1: must be a table"),
        ("", "ladder: step is missing"),
        ("x = ", "not TOML: "),
        ("define = 3\n" + STEP, "define: must be a table"),
        ("escalation = []\n" + STEP, "must be a list of 1 to 10 durations"),
        ("escalation = 3\n" + STEP, "must be a list of 1 to 10 durations"),
        (f"escalation = {['1h'] * 11}\n" + STEP, "must be a list of 1 to 10 durations"),
        ('define = {state = "1"}\n' + STEP, "'state' cannot be defined"),
        ('define = {until = "1"}\n' + STEP, "'until' cannot be defined"),
        ('define = {"a b" = "1"}\n' + STEP, "'a b' cannot be defined"),
        ("define = {a = \"'x'\"}\n" + STEP, "define: a: gives 'x', must be bool or int or float"),
        (STEP.replace("warn", "suspend") + 'for = "1h"', "step 'one': for: suspend has no end of its own"),
        (STEP + 'for = "1h"', "step 'one': for: warn has no end of its own"),
        (STEP.replace("warn", "block_credential"), "step 'one': for is missing"),
        (STEP.replace("warn", "keep"), "action = 'keep': must be one of warn"),
        (STEP.replace("warn", "return"), "action = 'return': must be one of warn"),
        (STEP.replace('"warn"', "3"), "action = '3': must be one of warn"),
        (STEP.replace("votes >= 2", " "), "when = ' ': must be a text that is not empty"),
        (STEP.replace("votes >= 2", "votes > 1 " + "|| votes > 1 " * 80), "longer than 1000 characters"),
        (STEP.replace("{votes} votes", "{votes"), "expected '}' before end of string"),
        (STEP.replace("{votes} votes", "{klass:.2%}"), "step 'one': '{klass:.2%}': "),
        (STEP.replace("{votes} votes", "{votes:000000000}"), "votes may only have a short format"),
        (STEP.replace("{votes} votes", "{}"), "unknown name ''"),
        (
            'define = {none = "relayed_30d / 0"}\n' + STEP.replace("{votes}", "{none:.2f}"),
            "step 'one': '{none:.2f}",
        ),
        (STEP * 101, "step: must be a list of at most 100 tables"),
        (
            "[define]\n" + "\n".join(f'd{one} = "1"' for one in range(101)) + STEP,
            "define: unknown key 'd100'",
        ),
    ],
)
def test_a_broken_ladder_says_what_is_wrong(text: str, fault: str) -> None:
    assert any(fault in one for one in faults(text)), faults(text)


def test_a_hundred_steps_and_definitions_are_taken() -> None:
    many = "[define]\n" + "\n".join(f'd{one} = "1"' for one in range(100))
    many += "".join(STEP.replace('"one"', f'"s{one}"') for one in range(100))
    assert len(parse(many).rungs) == 100


def test_a_file_that_is_not_there_or_no_text_says_so(tmp_path: Path) -> None:
    with pytest.raises(LadderError, match="cannot be read"):
        ladders.load(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(LadderError, match="cannot be read"):
        ladders.load(tmp_path / "bytes.toml")


def test_a_ladder_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ladder.toml"
    path.write_text(STEP)
    assert [rung.name for rung in ladders.load(path).rungs] == ["one"]


def test_no_step_at_all_keeps_everything() -> None:
    empty = parse("step = []")
    assert judge(empty, Tally(votes=99), ACTIVE, NOW).action.action is KEEP
    assert empty.any_step is None


def test_comments_order_of_keys_and_white_space_change_no_hash() -> None:
    lines = STEP.strip().splitlines()
    shuffled = "# a comment\n" + "\n".join([lines[0], *lines[:0:-1]]).replace("votes >= 2", "  votes   >= 2 ")
    assert parse(shuffled).hash == parse(STEP).hash
    assert len(SHIPPED.hash) == 64


@pytest.mark.parametrize(
    "changed",
    [
        STEP.replace("2", "3"),
        STEP.replace("warn", "suspend"),
        STEP.replace("one", "two"),
        STEP.replace("fewer", "x"),
        STEP.replace("votes}", "reporters}"),
        'escalation = ["2h"]\n' + STEP,
        'define = {a = "1"}\n' + STEP,
        STEP.replace("warn", "throttle") + 'for = "2h"',
        STEP.replace("warn", "throttle") + 'for = "3h"',
    ],
)
def test_every_change_of_meaning_changes_the_hash(changed: str) -> None:
    assert parse(changed).hash != parse(STEP).hash


def test_normalised_content_reads_back_as_the_same_ladder() -> None:
    content = SHIPPED.normalised()
    text = f"escalation = {json.dumps(content['escalation'])}\n[define]\n"
    text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in content["define"].items())
    for step in content["step"]:
        text += "[[step]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in step.items())
    assert parse(text).hash == SHIPPED.hash


def test_the_readmes_example_is_a_step() -> None:
    readme = ladders.SHIPPED.with_name("README.md").read_text(encoding="utf-8")
    example = readme.partition("```toml\n")[2].partition("```")[0]
    both = parse(ladders.SHIPPED.read_text(encoding="utf-8") + example)
    assert len(both.rungs) == len(ladders.load().rungs) + 1


def test_the_longest_that_is_taken() -> None:
    assert len(parse(f"escalation = {['1h'] * 10}\n" + STEP).durations) == 10
    assert parse(STEP.replace("{votes}", "{votes:00000008}")).rungs[0].reason.startswith("{votes:00000008}")


@pytest.mark.parametrize(("length", "taken"), [(1000, True), (1001, False)])
def test_a_condition_has_a_thousand_characters_at_most(length: int, *, taken: bool) -> None:
    condition = "klass == '" + "x" * (length - 11) + "'"
    assert len(condition) == length
    text = STEP.replace("votes >= 2", condition)
    if taken:
        assert parse(text).rungs[0].when.text == condition
    else:
        assert any("longer than 1000 characters" in one for one in faults(text))


def test_a_step_stores_the_numbers_that_it_looks_at_and_no_others() -> None:
    [off] = [one for one in SHIPPED.rungs if one.name == "complaints_off"]
    assert off.definitions == ("complaint_rate_999",)
    assert off.inputs == ("votes", "relayed_to_reporters", "reporters", "automatic_returns_30d")


def test_what_nobody_says_of_a_standing_is_that_of_a_newcomer() -> None:
    assert STANDING == {
        "state": "active", "automatic_returns_30d": 0, "klass": "app", "half_open": False,
        "credential_blocked": False,
    }  # fmt: skip


def test_nothing_is_blocked_where_no_step_applies_and_the_order_of_definitions_is_no_change() -> None:
    assert judge(SHIPPED, Tally(), ACTIVE, NOW).action.blocks_credential is False
    step = '[[step]]\nname = "x"\naction = "warn"\nwhen = "{0}"\nreason = "x"\nlifts = "y"\n'
    one = parse('[define]\na = "votes + 1"\nb = "votes + 2"\n' + step.format("a + b > 9"))
    other = parse('[define]\nb = "votes + 2"\na = "votes + 1"\n' + step.format("a + b > 9"))
    assert one.hash == other.hash
