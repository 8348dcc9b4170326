"""How commands print: aligned, in words, moments to the second; JSON keeps names and exact values."""

from __future__ import annotations

import pytest

from relay.commands.context import numbers, reporting_errors, show, table

AT = "2026-11-23T04:07:15.934572+00:00"
TALLY = {"votes": 2, "first_time_recipients_24h": 17, "networks_24h": 0, "hard_bounces": 0}


def test_a_thing_is_aligned_and_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"since": AT, "senders": ["a@b.example", "@c.example"], "hits": "one\ntwo", "until": None}
    show({**facts, "evidence": {}, "tally": numbers(TALLY, as_json=False)}, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "since     2026-11-23 04:07:15 UTC",
        "senders   a@b.example @c.example",
        "hits      one",
        "          two",
        "until     -",
        "evidence  -",
        "tally:",
        "    complaints that count, 30 days  2",
        "    first-time recipients, 24 h     17",
        "    the other 2                     0",
    ]


def test_json_keeps_names_and_moments(capsys: pytest.CaptureFixture[str]) -> None:
    show({"since": AT, "tally": numbers(TALLY, as_json=True)}, as_json=True)
    assert capsys.readouterr().out == (
        f'{{"since": "{AT}", "tally": {{"votes": 2, "first_time_recipients_24h": 17,'
        ' "networks_24h": 0, "hard_bounces": 0}}\n'
    )


def test_a_table_shows_moments_to_the_second_and_says_when_it_is_empty() -> None:
    assert list(table([("x", AT)], ("id", "at"))) == ["id  at", "x   2026-11-23 04:07:15 UTC"]
    assert list(table([], ("id",))) == ["none"]


def test_what_others_wrote_moves_no_cursor_and_makes_no_row(capsys: pytest.CaptureFixture[str]) -> None:
    show({"subject": "a\x1b[2Jb", "senders": ["\x07@c.example"]}, as_json=False)
    assert capsys.readouterr().out == "subject  a\ufffd[2Jb\nsenders  \ufffd@c.example\n"
    assert list(table([("x\ny", "1")], ("id", "n"))) == ["id   n", "x y  1"]


def test_numbers_that_are_all_zero_are_one_line() -> None:
    assert numbers({"votes": 0, "hard_bounces": 0}, as_json=False) == {"all 2": 0}


def test_a_file_that_cannot_be_used_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    @reporting_errors
    def command() -> None:
        raise PermissionError(13, "Permission denied", "/srv/mail")

    with pytest.raises(SystemExit) as ended:
        command()
    assert (ended.value.code, capsys.readouterr().err) == (1, "/srv/mail: Permission denied\n")


def test_a_reader_that_has_seen_enough_is_no_error_of_ours() -> None:
    @reporting_errors
    def command() -> None:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        command()
