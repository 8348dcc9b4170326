from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from policies import transmission
from policies.rates import Limit
from policies.transmission import (
    Check,
    Enforce,
    Message,
    Transmission,
    TransmissionError,
    page,
    parse,
    say,
)

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = transmission.load()
DAY = timedelta(days=1)

RATE = """
version = "v1"
[[clause]]
number = "2.1"
name = "message_rate"
action = "wait"
limit = "1000/1h"
title = "Messages"
text = "At most {limit}."
"""


def broken(**facts: Any) -> list[Check]:
    return [one.clause.check for one in SHIPPED.breaches(Message("person", **facts))]


def test_a_good_message_breaks_nothing() -> None:
    assert broken() == []


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"identity_fault": "From is not yours"}, [Check.SENDER_IDENTITY]),
        ({"tls": False}, [Check.TLS]),
        ({"recipients": 100}, []),
        ({"recipients": 101}, [Check.RECIPIENTS]),
        ({"size_bytes": 25 * 1024**2}, []),
        ({"size_bytes": 25 * 1024**2 + 1}, [Check.SIZE]),
        ({"attachment_kinds": ("pdf", "exe")}, [Check.ATTACHMENT_KINDS]),
        ({"attachment_kinds": ("pdf",)}, []),
        ({"recipients_24h": 10**6}, []),
        ({"tls": False, "recipients": 101}, [Check.TLS, Check.RECIPIENTS]),
    ],
)
def test_each_clause_about_a_message(facts: dict[str, Any], expected: list[Check]) -> None:
    assert broken(**facts) == expected


@pytest.mark.parametrize("klass", ["app", "bulk", "list"])
def test_clauses_bind_their_classes_only(klass: str) -> None:
    assert SHIPPED.breaches(Message(klass, recipients=1000)) == ()
    assert SHIPPED.most_recipients(klass) is None
    assert SHIPPED.first_time(klass, 20 * DAY) is None


@pytest.mark.parametrize(
    ("klass", "recipients", "one_click", "expected"),
    [
        ("bulk", 4999, False, 0),
        ("bulk", 5000, False, 1),
        ("list", 5000, False, 1),
        ("bulk", 5000, True, 0),
        ("app", 5000, False, 0),
    ],
)
def test_large_mailings_need_one_click_unsubscribe(
    klass: str, recipients: int, *, one_click: bool, expected: int
) -> None:
    found = SHIPPED.breaches(Message(klass, recipients_24h=recipients, one_click=one_click))
    assert [one.clause.action for one in found] == [Enforce.FLAG] * expected


def test_a_breach_says_what_the_clause_says_and_cites_it() -> None:
    (found,) = SHIPPED.breaches(Message("person", recipients=101))
    assert found.citation == "TP 2.5 (2026-11)"
    assert found.reason == (
        "A message has at most 100 recipients (person); mailing lists and newsletters have classes of their"
        " own. [TP 2.5 (2026-11)]"
    )


def test_the_strictest_breach_comes_first() -> None:
    clauses = tuple(
        replace(one, action=Enforce.FLAG) if one.check is Check.TLS else one for one in SHIPPED.clauses
    )
    policy = Transmission("x", clauses)
    found = policy.breaches(Message("person", tls=False, recipients=101))
    assert [one.clause.action for one in found] == [Enforce.REFUSE, Enforce.FLAG]


@pytest.mark.parametrize(
    ("age", "amount"),
    [(timedelta(0), 50), (14 * DAY - timedelta(microseconds=1), 50), (14 * DAY, 200), (999 * DAY, 200)],
)
def test_personal_accounts_have_a_budget_of_new_correspondents(age: timedelta, amount: int) -> None:
    limit = SHIPPED.first_time("person", age)
    assert limit is not None
    assert (limit.amount, limit.per) == (amount, DAY)
    assert limit.name.startswith("New correspondents")


def test_most_recipients_of_a_person() -> None:
    assert SHIPPED.most_recipients("person") == 100


def test_rates_are_off_until_configured_and_on_when_they_are() -> None:
    for check in (
        Check.MESSAGE_RATE,
        Check.RECIPIENT_RATE,
        Check.SERVER_RECIPIENT_RATE,
        Check.CUSTOMER_RECIPIENT_RATE,
    ):
        assert SHIPPED.rate(check, "app") is None
    assert parse(RATE).rate(Check.MESSAGE_RATE, "app") == Limit(1000, timedelta(hours=1), "Messages")


def test_checks_without_a_clause_ask_nothing() -> None:
    policy = parse(RATE)
    assert policy.clause(Check.TLS) is None
    assert policy.cite(Check.TLS) == ""
    assert policy.rate(Check.FIRST_TIME, "person") is None
    assert policy.most_recipients("person") is None
    assert policy.breaches(Message("person", tls=False, recipients=10**6)) == ()


def test_a_clause_that_is_off_is_not_checked() -> None:
    off = RATE.replace("wait", "off")
    assert parse(off).rate(Check.MESSAGE_RATE, "app") is None
    assert parse(off).clauses[0].binds("app") is False


def test_every_check_has_its_shipped_clause() -> None:
    assert {one.check for one in SHIPPED.clauses} == set(Check)


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("1000/60min", "1,000 in 1h"),
        ("5000/48h", "5,000 in 2d"),
        ("7/90s", "7 in 90s"),
        ("7/90min", "7 in 90min"),
    ],
)
def test_rates_are_said_in_words(limit: str, said: str) -> None:
    assert say(parse(RATE.replace("1000/1h", limit)).clauses[0]) == f"At most {said}."


@pytest.mark.parametrize(
    ("limit", "size_bytes", "said"),
    [
        ("25MiB", 25 * 1024**2, "25 MiB"),
        ("1 GiB", 1024**3, "1 GiB"),
        ("1025 B", 1025, "1025 B"),
        ("2048KiB", 2 * 1024**2, "2 MiB"),
        ("3KiB", 3072, "3 KiB"),
    ],
)
def test_sizes_are_said_in_the_largest_unit_that_fits(limit: str, size_bytes: int, said: str) -> None:
    clause = parse(RATE.replace("message_rate", "size").replace("1000/1h", limit)).clauses[0]
    assert (clause.most, say(clause)) == (size_bytes, f"At most {said}.")


def test_the_page_has_every_clause_with_its_values() -> None:
    text = page(SHIPPED)
    assert text.startswith(
        "# What you agree to when you send\n\nVersion 2026-11.\n\n**1.1 Send as yourself.** The "
    )
    for one in SHIPPED.clauses:
        assert f"**{one.number} {one.title}.**" in text
    assert (
        "**2.1 Messages an hour.** *(not in force)* An account sends so many messages at most: 1,000 in 1h."
        in text
    )
    assert "{" not in text


def faults(text: str) -> tuple[str, ...]:
    with pytest.raises(TransmissionError) as caught:
        parse(text)
    assert str(caught.value) == "\n".join(caught.value.faults)
    return caught.value.faults


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('"v1"', "1", "transmission: version = '1': must be a text that is not empty"),
        ("version", "versio", "transmission: unknown key 'versio' (did you mean version?)"),
        ('"2.1"', "2.1", "clause 2.1: number = '2.1': must be a text such as \"2.5\""),
        ('"2.1"', '"2"', "clause 2: number = '2': must be a text such as"),
        ("message_rate", "mesage_rate", "clause 2.1: name = 'mesage_rate': must be one of sender_identity, "),
        ("message_rate", "mesage_rate", "(did you mean message_rate?)"),
        ("wait", "weight", "action = 'weight': must be one of off, flag, wait, refuse (did you mean wait?)"),
        ("1000/1h", "1000", "limit = '1000': must be so much in so long, such as \"1000/1h\""),
        ("1000/1h", "0/1h", "limit = '0/1h': must be so much in so long"),
        ("1000/1h", "9/1y", "limit = '9/1y': must be a duration such as"),
        ('"1000/1h"', "9", "limit = '9': must be so much in so long"),
        ('limit = "1000/1h"', "", "clause 2.1: limit is missing"),
        ("title", "titel", "clause 2.1: unknown key 'titel' (did you mean title?)"),
        ("{limit}", "{count}", "text = 'At most {count}.': may have {limit}, {classes} and {kinds} in it"),
        ("{limit}", "{limit.real}", "and no other braces"),
        ("{limit}", "{}", "and no other braces"),
        ("{limit}", "{", "and no other braces"),
        ("{limit}", "{limit:d}", "and no other braces"),
        ('"Messages"', '"Messages"\nclasses = ["robot"]', "a list of some of person, app, bulk, list"),
        ('"Messages"', '"Messages"\nclasses = ["app", "robot"]', "a list of some of person, app, bulk, list"),
        ('"Messages"', '"Messages"\nclasses = []', "must be a list of some of person, app, bulk, list"),
        ('"Messages"', '"Messages"\nclasses = "app"', "must be a list of some of person, app, bulk, list"),
        ('"Messages"', '"Messages"\nkinds = ["exe"]', "clause 2.1: unknown key 'kinds'"),
    ],
)  # fmt: skip
def test_a_broken_policy_says_what_is_wrong(old: str, new: str, fault: str) -> None:
    assert any(fault in one for one in faults(RATE.replace(old, new))), faults(RATE.replace(old, new))


@pytest.mark.parametrize(
    ("name", "limit", "fault"),
    [
        ("recipients", "0", "must be a number from 1 on"),
        ("recipients", "true", "must be a number from 1 on"),
        ("recipients", '"9"', "must be a number from 1 on"),
        ("one_click", "-1", "must be a number from 1 on"),
        ("size", "9", 'must be a size such as "25MiB"'),
        ("size", '"0 MiB"', 'must be a size such as "25MiB"'),
        ("size", '"9MB"', 'must be a size such as "25MiB"'),
        ("tls", "9", "unknown key 'limit'"),
        ("attachment_kinds", "9", "kinds is missing"),
    ],
)
def test_a_limit_has_the_form_of_its_check(name: str, limit: str, fault: str) -> None:
    text = RATE.replace("message_rate", name).replace('"1000/1h"', limit)
    assert any(fault in one for one in faults(text)), faults(text)


@pytest.mark.parametrize("kinds", ['"exe"', "[1]", '[".exe"]', '["exe", ".scr"]'])
def test_kinds_are_extensions(kinds: str) -> None:
    text = RATE.replace("message_rate", "attachment_kinds").replace('limit = "1000/1h"', f"kinds = {kinds}")
    assert any('must be a list of extensions such as ["exe", "scr"]' in one for one in faults(text))


def test_kinds_are_compared_in_small_letters() -> None:
    text = RATE.replace("message_rate", "attachment_kinds").replace('limit = "1000/1h"', 'kinds = ["EXE"]')
    assert parse(text).breaches(Message("app", attachment_kinds=("exe",)))


def test_one_recipient_is_a_limit() -> None:
    text = RATE.replace("message_rate", "recipients").replace('"1000/1h"', "1")
    assert parse(text).most_recipients("app") == 1


def test_a_number_or_check_may_be_there_once() -> None:
    found = faults(RATE + RATE.partition("[[clause]]")[2].join(("[[clause]]", "")))
    assert found == ("clause 2.1: is there twice", "clause message_rate: is there twice")


def test_other_broken_files() -> None:
    assert faults("x =")[0].startswith("not TOML: ")
    assert "transmission: clause is missing" in faults('version = "1"')
    assert "must be a list of tables" in faults('version = "1"\nclause = 3')[0]
    assert "clause number 1: must be a table" in faults('version = "1"\nclause = [3]')


def test_files_are_read_or_say_why_not(tmp_path: Path) -> None:
    with pytest.raises(TransmissionError, match="cannot be read"):
        transmission.load(tmp_path / "none.toml")
    (tmp_path / "own.toml").write_text(RATE)
    assert transmission.load(tmp_path / "own.toml").version == "v1"
    (tmp_path / "own.toml").write_bytes(b"\xff")
    with pytest.raises(TransmissionError, match="cannot be read"):
        transmission.load(tmp_path / "own.toml")
