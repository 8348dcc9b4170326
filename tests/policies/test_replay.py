from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from policies import ladder as ladders
from policies.behaviour import Sent
from policies.complaints import Bounced, Voted
from policies.replay import Moved, replay
from policies.standing import Move, State

if TYPE_CHECKING:
    from policies.replay import Event

SHIPPED = ladders.load()
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def mail(at: datetime, number: int = 1, account: int = 1, **facts: bool | str | bytes | int) -> list[Event]:
    return [
        Sent(at + place * SECOND, account, relayed=1, to_reporters=1, **facts)  # type: ignore[arg-type]
        for place in range(number)
    ]


def votes(at: datetime, number: int, sent_at: datetime, account: int = 1) -> list[Event]:
    return [
        Voted(at + place * SECOND, account, sent_at, f"m{at}{place}", "v", "rs"[place % 2])
        for place in range(number)
    ]


def spam(at: datetime, number: int, **facts: bool | str) -> list[Event]:
    return [
        Sent(at + place * SECOND, 1, relayed=1, spam_body=f"{at}{place}".encode(), **facts)  # type: ignore[arg-type]
        for place in range(number)
    ]


def moves(events: list[Event], **klasses: str) -> list[tuple[State, State, str]]:
    found = replay(SHIPPED, events, {int(key[1:]): value for key, value in klasses.items()})
    return [(one.before, one.state, one.decision.action.name) for outcome in found for one in outcome.would]


def test_honest_mail_moves_nobody() -> None:
    assert replay(SHIPPED, mail(NOW, 500) + votes(NOW + HOUR, 1, NOW)) == []


def test_a_storm_of_complaints_warns_and_then_switches_off_at_the_vote_that_proved_it() -> None:
    (outcome,) = replay(SHIPPED, mail(NOW, 200) + votes(NOW + HOUR, 6, NOW))
    assert outcome.account == 1
    assert [(one.state, one.decision.action.name) for one in outcome.would] == [
        (State.ACTIVE, "complaints_warn"),
        (State.DEACTIVATED, "complaints_off"),
    ]
    off = outcome.would[1]
    assert (off.at, off.until) == (NOW + HOUR + 4 * SECOND, NOW + 2 * HOUR + 4 * SECOND)
    assert off.before is State.ACTIVE
    assert off.decision.numbers["votes"] == 5
    assert outcome.really == ()


def test_a_warning_is_given_once() -> None:
    assert moves(mail(NOW, 900) + votes(NOW + HOUR, 5, NOW)) == [
        (State.ACTIVE, State.ACTIVE, "complaints_warn")
    ]


def test_mail_of_a_switched_off_account_is_stopped_and_counted() -> None:
    storm = mail(NOW, 200) + votes(NOW + HOUR, 5, NOW)
    (outcome,) = replay(SHIPPED, storm + mail(NOW + HOUR + 5 * SECOND, 7))
    assert outcome.stopped_messages == 7


def test_after_an_automatic_return_only_later_mail_counts_and_the_next_time_lasts_longer() -> None:
    storm = mail(NOW, 200) + votes(NOW + HOUR, 5, NOW)
    back = NOW + 3 * HOUR
    late = votes(back, 9, NOW)
    assert moves(storm + mail(back - MINUTE, 1) + late)[2:] == []
    again = mail(back + MINUTE, 200) + votes(back + HOUR, 5, back + MINUTE)
    (outcome,) = replay(SHIPPED, storm + late + again)
    last = outcome.would[-1]
    assert (last.state, last.decision.action.duration) == (State.DEACTIVATED, 6 * HOUR)


def test_the_fourth_switch_off_within_a_month_is_a_suspension_and_the_end() -> None:
    events: list[Event] = []
    for round_ in range(5):
        start = NOW + round_ * 2 * DAY
        events += mail(start, 100) + votes(start + HOUR, 5, start)
    (outcome,) = replay(SHIPPED, events)
    states = [one.state for one in outcome.would if one.state is not State.ACTIVE]
    assert states == [State.DEACTIVATED] * 3 + [State.SUSPENDED]
    assert outcome.stopped_messages == 100


def test_a_throttle_ends_by_itself_and_forgets_no_complaint() -> None:
    events = mail(NOW, 200) + spam(NOW + 30 * MINUTE, 5) + votes(NOW + 2 * HOUR, 5, NOW)
    assert moves(events)[0] == (State.ACTIVE, State.THROTTLED, "spam_burst")
    assert moves(events)[-1] == (State.ACTIVE, State.DEACTIVATED, "complaints_off")


def test_a_thief_is_locked_out_while_the_owner_goes_on() -> None:
    thief = spam(NOW, 20, network="far", new_network=True)
    owner = mail(NOW + MINUTE, 3, network="home")
    (outcome,) = replay(SHIPPED, thief + owner)
    assert [(one.state, one.decision.action.action) for one in outcome.would] == [
        (State.THROTTLED, Move.BLOCK_CREDENTIAL)
    ]
    assert outcome.stopped_messages == 17


def test_a_thief_who_was_slowed_down_before_is_locked_out_too() -> None:
    volume = mail(NOW, 120, network="far", new_network=True)
    found = moves(volume + spam(NOW + 3 * MINUTE, 8, network="far", new_network=True))
    assert found == [
        (State.ACTIVE, State.THROTTLED, "stranger_volume"),
        (State.THROTTLED, State.THROTTLED, "compromise"),
    ]


def test_a_thief_who_has_the_new_password_too_is_locked_out_again() -> None:
    back = Moved(NOW + HOUR, 1, "active", set_by="ada")
    again = spam(NOW + 2 * HOUR, 5, network="far", new_network=True)
    (outcome,) = replay(SHIPPED, [*spam(NOW, 5, network="far", new_network=True), back, *again])
    assert [one.decision.action.action for one in outcome.would] == [Move.BLOCK_CREDENTIAL] * 2


def test_a_bounced_list_is_switched_off() -> None:
    bounces: list[Event] = [Bounced(NOW + HOUR + place * SECOND, 1, NOW) for place in range(25)]
    found = moves(mail(NOW, 90) + bounces)
    assert found[-1] == (State.ACTIVE, State.DEACTIVATED, "bounces_off")


def test_classes_are_told_by_account() -> None:
    newsletter: list[Event] = [
        Sent(NOW + place * SECOND, 1, recipients=100, relayed=100, spam_body=b"same") for place in range(3)
    ]
    assert moves(newsletter, a1="bulk") == [(State.ACTIVE, State.THROTTLED, "spam_burst")]
    assert moves(newsletter) == [(State.ACTIVE, State.DEACTIVATED, "spam_burst_off")]


def test_what_really_happened_is_shown_beside_it_and_steers_nothing() -> None:
    real = Moved(NOW + 2 * HOUR, 1, "suspended", reason="the old ladder")
    storm = mail(NOW, 200) + votes(NOW + HOUR, 4, NOW)
    (outcome,) = replay(SHIPPED, [*storm, real, *votes(NOW + 3 * HOUR, 2, NOW)])
    assert outcome.really == (real,)
    assert [one.state for one in outcome.would] == [State.ACTIVE, State.DEACTIVATED]
    (other,) = replay(SHIPPED, [Moved(NOW, 2, "deactivated")])
    assert (other.account, other.would) == (2, ())


@pytest.mark.parametrize("state", ["suspended", "closed"])
def test_staffs_own_moves_hold(state: str) -> None:
    staff = Moved(NOW, 1, state, set_by="ada")
    (outcome,) = replay(SHIPPED, [staff, *mail(NOW + MINUTE, 3), *votes(NOW + HOUR, 50, NOW + MINUTE)])
    assert (outcome.would, outcome.stopped_messages) == ((), 3)


def test_staff_reinstate_and_everything_starts_anew() -> None:
    storm = mail(NOW, 200) + votes(NOW + HOUR, 5, NOW)
    back = Moved(NOW + HOUR + MINUTE, 1, "active", set_by="ada")
    after = votes(NOW + 2 * HOUR, 9, NOW)
    (outcome,) = replay(SHIPPED, [*storm, back, *mail(NOW + HOUR + 2 * MINUTE, 4), *after])
    assert (len(outcome.would), outcome.stopped_messages) == (2, 0)


def test_a_standing_of_staff_with_an_end_ends() -> None:
    staff = Moved(NOW, 1, "deactivated", NOW + HOUR, set_by="ada")
    (outcome,) = replay(SHIPPED, [staff, *mail(NOW + MINUTE, 1), *mail(NOW + HOUR, 1)])
    assert outcome.stopped_messages == 1


def test_accounts_are_told_apart_and_in_order() -> None:
    events = mail(NOW, 200, account=9) + votes(NOW + HOUR, 3, NOW, account=9)
    events += mail(NOW + 2 * HOUR, 200, account=4) + votes(NOW + 3 * HOUR, 3, NOW, account=4)
    assert [outcome.account for outcome in replay(SHIPPED, events)] == [4, 9]


def test_a_switched_off_account_is_not_warned() -> None:
    step = '[[step]]\nname = "{}"\naction = "{}"\nwhen = "{}"\nreason = "x"\nlifts = "y"\n'
    text = step.format("off", "deactivate", "votes == 1") + step.format("warned", "warn", "votes >= 2")
    (outcome,) = replay(ladders.parse(text), mail(NOW, 9) + votes(NOW + HOUR, 3, NOW))
    assert [one.decision.action.name for one in outcome.would] == ["off"]
