from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from policies.tally import NAMES
from relay.console import attempts, series, totp, words
from relay.console.attempts import Attempts
from relay.console.series import Series

if TYPE_CHECKING:
    from tests.relay.console.conftest import World

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "just now"),
        (4, "just now"),
        (5, "5 s ago"),
        (60, "1 min ago"),
        (119, "1 min ago"),
        (3600, "1 h ago"),
        (5400, "90 min ago"),
        (7200, "2 h ago"),
        (86400, "1 d ago"),
        (200_000, "2 d ago"),
        (-3, "just now"),
        (-21_600, "in 6 h"),
    ],
)
def test_how_long_ago(seconds: int, said: str) -> None:
    assert words.ago(NOW - timedelta(seconds=seconds), NOW) == said


def test_how_values_are_said() -> None:
    assert words.ago(None, NOW) == words.stamp(None) == words.iso(None) == words.thousands(None) == ""
    assert (words.stamp(NOW), words.iso(NOW)) == ("2026-11-22 12:00:00 UTC", "2026-11-22T12:00:00Z")
    assert [words.size(count) for count in (900, 2048, 3 * 1024**2)] == ["900 B", "2.0 KiB", "3.0 MiB"]
    assert [words.share(rate) for rate in (0.0, 0.00413, 0.5)] == ["0 %", "0.41 %", "50 %"]
    assert words.thousands(1234567) == "1\u202f234\u202f567"
    assert [words.thousands(value) for value in (True, False, 0.25, "x")] == ["yes", "no", "0.25", "x"]
    assert words.number_value("complaint_rate_999", 0.0041) == "0.41 %"
    assert words.number_value("votes", 18) == "18"
    assert words.number_name("some_new_number") == "some new number"


def test_every_number_of_a_tally_has_its_words() -> None:
    assert set(NAMES) <= set(words.NUMBER_WORDS)


def test_one_time_codes_are_those_of_rfc_6238() -> None:
    secret = b"12345678901234567890"
    for seconds, expected in (
        (59, "287082"),
        (1111111109, "081804"),
        (1234567890, "005924"),
        (20000000000, "353130"),
    ):
        moment = datetime.fromtimestamp(seconds, UTC)
        assert totp.code(secret, totp.step_of(moment)) == expected
        assert totp.accepted(secret, f" {expected[:3]} {expected[3:]}", moment) == seconds // 30
        assert totp.accepted(secret, expected, moment + timedelta(seconds=30)) == seconds // 30
        assert totp.accepted(secret, expected, moment + timedelta(seconds=90)) is None
    for wrong in ("", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "-12345"):
        assert totp.accepted(secret, wrong, NOW) is None


def test_failures_against_one_name_from_everywhere_are_limited() -> None:
    tries = Attempts()
    for number in range(attempts.PER_NAME):
        assert tries.wait(f"client {number}", "admin", NOW) is None
        tries.failed(f"client {number}", "ADMIN", NOW)
    assert tries.wait("somebody new", "admin", NOW) == attempts.WINDOW
    assert tries.wait("somebody new", "other", NOW) is None
    assert tries.wait("somebody new", "admin", NOW + attempts.WINDOW) is None


def test_a_success_takes_back_only_itself() -> None:
    tries = Attempts()
    for _ in range(attempts.PER_CLIENT - 1):
        tries.failed("client", "admin", NOW)
    tries.failed("client", "admin", NOW)
    tries.succeeded("client", "admin")
    assert tries.wait("client", "admin", NOW) is None
    tries.failed("client", "admin", NOW)
    assert tries.wait("client", "admin", NOW) is not None
    tries.succeeded("nobody", "knows")


def test_a_flood_of_clients_costs_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_KEYS", 100)
    tries = Attempts()
    for number in range(1000):
        tries.failed(f"client {number}", f"name {number}", NOW)
    assert len(tries._failures) == 100


async def test_charts_are_forgotten_when_nobody_looks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "_CHARTS", 3)
    charts = Series(world.store)
    for number in range(10):
        await charts.counts("1h", world.now, account_id=number)
    assert len(charts._known) == len(charts._until) == len(charts._fresh) == 3


async def test_a_week_is_read_in_pieces_and_whole(world: World) -> None:
    for days in (6, 3, 0):
        world.now -= timedelta(days=days)
        world.sent("anna@acme.example")
        world.now += timedelta(days=days)
    counted = await Series(world.store).counts("7d", world.now)
    assert counted.totals["deliver"] == 3
    assert len(counted.at) == 84


async def test_those_who_look_at_once_are_answered_from_one_count(world: World) -> None:
    charts = Series(world.store)
    first = await charts.counts("1h", world.now)
    world.sent("anna@acme.example")
    assert await charts.counts("1h", world.now + timedelta(seconds=1)) is first
    assert (await charts.counts("1h", world.now + timedelta(seconds=2))).totals["deliver"] == 1
