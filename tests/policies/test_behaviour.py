from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.behaviour import Behaviour, Sent

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
WINDOWS = {"_10m": timedelta(minutes=10), "_1h": timedelta(hours=1), "_24h": timedelta(hours=24)}


def seen(*sent: Sent, now: datetime = NOW) -> dict[str, int]:
    behaviour = Behaviour()
    for one in sent:
        behaviour.add(one)
    return behaviour.numbers(now)


def test_a_message_of_which_nothing_is_known_is_one_recipient_that_was_not_relayed() -> None:
    assert {name: value for name, value in seen(Sent(NOW, 1)).items() if value} == {
        "messages_10m": 1,
        "messages_1h": 1,
        "attempts_10m": 1,
        "attempts_1h": 1,
        "attempts_24h": 1,
    }
    assert Sent(NOW, 1).to_reporters == 0


def test_everything_of_one_message_is_counted_in_its_windows() -> None:
    numbers = seen(
        Sent(
            NOW,
            1,
            recipients=5,
            relayed=3,
            unknown=2,
            first_time=4,
            spam_body=b"x",
            refused=True,
            network="n",
            country="DE",
            new_network=True,
        )
    )
    assert numbers == {
        "messages_10m": 1,
        "messages_1h": 1,
        "attempts_10m": 5,
        "attempts_1h": 5,
        "attempts_24h": 5,
        "relayed_1h": 3,
        "relayed_24h": 3,
        "spam_bodies_10m": 1,
        "spam_bodies_1h": 1,
        "spam_messages_10m": 1,
        "spam_recipients_10m": 5,
        "unknown_recipients_1h": 2,
        "first_time_recipients_1h": 4,
        "first_time_recipients_24h": 4,
        "refusals_1h": 1,
        "networks_24h": 1,
        "countries_24h": 1,
        "new_networks_24h": 1,
    }


@pytest.mark.parametrize("name", seen())
def test_every_number_leaves_at_the_end_of_its_window(name: str) -> None:
    span = next(span for suffix, span in WINDOWS.items() if name.endswith(suffix))
    sent = Sent(
        NOW - span + MOMENT,
        1,
        recipients=1,
        relayed=1,
        unknown=1,
        first_time=1,
        spam_body=b"x",
        refused=True,
        network="n",
        country="DE",
        new_network=True,
    )
    behaviour = Behaviour()
    behaviour.add(sent)
    assert behaviour.numbers(NOW)[name] == 1
    assert behaviour.numbers(NOW + MOMENT)[name] == 0


def test_a_body_that_repeats_is_one_body_with_many_recipients() -> None:
    stuck = [Sent(NOW, 1, recipients=2, spam_body=b"same") for _ in range(30)]
    numbers = seen(*stuck, Sent(NOW, 1, recipients=7, spam_body=b"other"))
    assert (numbers["spam_bodies_10m"], numbers["spam_messages_10m"]) == (2, 31)
    assert numbers["spam_recipients_10m"] == 60


def test_the_body_with_most_recipients_is_found_again_as_others_leave() -> None:
    behaviour = Behaviour()
    old = NOW - timedelta(minutes=10)
    for at, body, recipients in ((old, b"a", 50), (old + MOMENT, b"a", 5), (old + MOMENT, b"b", 20)):
        behaviour.add(Sent(at, 1, recipients=recipients, spam_body=body))
    assert behaviour.numbers(NOW - MOMENT)["spam_recipients_10m"] == 55
    assert behaviour.numbers(NOW)["spam_recipients_10m"] == 20
    assert behaviour.numbers(NOW + MOMENT)["spam_recipients_10m"] == 0


def test_mail_that_is_not_spam_like_has_no_body_to_count() -> None:
    numbers = seen(Sent(NOW, 1), Sent(NOW, 1, recipients=9))
    assert (numbers["spam_bodies_10m"], numbers["spam_messages_10m"], numbers["spam_recipients_10m"]) == (
        0,
        0,
        0,
    )
    assert (numbers["messages_10m"], numbers["attempts_10m"]) == (2, 10)


def test_a_spam_like_message_without_recipients_is_still_a_body() -> None:
    numbers = seen(Sent(NOW, 1, recipients=0, spam_body=b"x"))
    assert (numbers["spam_bodies_10m"], numbers["spam_recipients_10m"]) == (1, 1)


def test_networks_are_counted_once_and_new_ones_apart() -> None:
    numbers = seen(
        Sent(NOW, 1, network="a", country="DE"),
        Sent(NOW, 1, network="a", country="DE"),
        Sent(NOW, 1, network="b", country="FR", new_network=True),
        Sent(NOW, 1, new_network=True),
    )
    assert (numbers["networks_24h"], numbers["countries_24h"], numbers["new_networks_24h"]) == (2, 2, 1)


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(1, 9), st.sampled_from([b"", b"a", b"b", b"c"])),
        max_size=80,
    )
)
def test_sliding_sums_are_what_counting_anew_gives(history: list[tuple[int, int, bytes]]) -> None:
    behaviour, now, sent = Behaviour(), NOW, []
    for pause, recipients, body in history:
        now += timedelta(seconds=pause)
        sent.append(Sent(now, 1, recipients=recipients, spam_body=body))
        behaviour.add(sent[-1])
        recent = [one for one in sent if one.at > now - timedelta(minutes=10)]
        bodies = {one.spam_body for one in recent} - {b""}
        most = max(
            (sum(one.recipients for one in recent if one.spam_body == body) for body in bodies), default=0
        )
        numbers = behaviour.numbers(now)
        assert numbers["attempts_10m"] == sum(one.recipients for one in recent)
        assert numbers["spam_bodies_10m"] == len(bodies)
        assert numbers["spam_recipients_10m"] == most


def test_a_flood_of_different_bodies_costs_no_more_per_message() -> None:
    def seconds(number: int) -> float:
        behaviour = Behaviour()
        started = time.process_time()
        for place in range(number):
            now = NOW + timedelta(milliseconds=place)
            behaviour.add(Sent(now, 1, spam_body=place.to_bytes(4, "big")))
            behaviour.numbers(now)
        behaviour.numbers(NOW + timedelta(days=2))
        return time.process_time() - started

    few, many = (min(seconds(number) for _ in range(3)) for number in (2_000, 16_000))
    assert many < 32 * max(few, 0.01)  # in proportion: 8, each with each: 64
