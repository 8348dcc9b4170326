"""The numbers that the ladder sees, window by window."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from relay.store import journal
from relay.store.journal import JournalRow
from tests.relay.feedback.scene import NOON, RING

if TYPE_CHECKING:
    from datetime import datetime

    from tests.relay.feedback.scene import Scene


def row(scene: Scene, number: int, at: datetime, **facts: object) -> JournalRow:
    customer = scene.account.customer.id
    pair = RING.recipient_hash(customer, f"u{number}@a.example") + RING.domain_hash(customer, "a.example")
    given: dict[str, object] = {"recipient_count": 1, "recipients": pair, "body_hash": b"b" * 16, **facts}
    return JournalRow(f"{number:016d}", scene.account.id, customer, at, "deliver", **given)  # type: ignore[arg-type]


def keep(scene: Scene, rows: list[JournalRow]) -> None:
    with scene.store.begin() as tx:
        journal.append(tx, rows)


def test_spam_bodies_are_counted_once_and_their_recipients_together(scene: Scene) -> None:
    facts: list[dict[str, object]] = [
        {"score": 6.0, "body_hash": b"1" * 16, "recipient_count": 3},
        {"score": 6.0, "body_hash": b"1" * 16, "recipient_count": 4},
        {"score": 5.0, "body_hash": b"2" * 16},
        {"score": 3.9, "body_hash": b"3" * 16},
        {"score": 50.0, "body_hash": b"4" * 16, "malformed": "two From fields"},
    ]
    keep(scene, [row(scene, number, NOON, **fact) for number, fact in enumerate(facts)])
    keep(scene, [row(scene, 9, NOON - timedelta(minutes=30), score=9.0, body_hash=b"5" * 16)])
    tally = scene.tally()
    assert (tally.spam_bodies_10m, tally.spam_messages_10m, tally.spam_recipients_10m) == (2, 3, 7)
    assert tally.spam_bodies_1h == 3


def test_a_network_is_new_only_at_an_account_with_a_past(scene: Scene) -> None:
    keep(scene, [row(scene, 1, NOON, client_network="192.0.2.0/24")])
    assert (scene.tally().networks_24h, scene.tally().new_networks_24h) == (1, 0)
    scene.pass_time(timedelta(days=3))
    keep(
        scene,
        [
            row(scene, 2, scene.now, client_network="192.0.2.0/24"),
            row(scene, 3, scene.now, client_network="198.51.100.0/24"),
        ],
    )
    scene.pass_time(timedelta(minutes=1))
    assert (scene.tally().networks_24h, scene.tally().new_networks_24h) == (2, 1)


def test_windows_of_arrival_end(scene: Scene) -> None:
    with scene.store.begin() as tx:
        for name in ("attempts", "unknown_recipients"):
            journal.bump(tx, scene.account.id, NOON, name, 40)
    assert (scene.tally().attempts_1h, scene.tally().unknown_recipients_1h) == (40, 40)
    scene.pass_time(timedelta(minutes=75))
    assert (scene.tally().attempts_1h, scene.tally().unknown_recipients_1h) == (0, 0)
    assert scene.tally().attempts_24h == 40


async def test_cohorts_are_booked_on_the_day_of_sending(scene: Scene) -> None:
    sent = scene.send_many(100)
    scene.pass_time(timedelta(days=20))
    scene.send_many(50)
    await scene.complain(sent[:2])
    tally = scene.tally()
    assert (tally.votes, tally.relayed_to_reporters, tally.votes_7d, tally.relayed_to_reporters_7d) == (
        2,
        150,
        0,
        50,
    )
    scene.pass_time(timedelta(days=11))
    assert (scene.tally().votes, scene.tally().relayed_to_reporters) == (0, 50)


def test_mail_that_was_refused_or_went_elsewhere_is_no_denominator(scene: Scene) -> None:
    scene.send_many(10)
    scene.send(("x@elsewhere.example",))
    keep(scene, [row(scene, 5, NOON, outcome="refused"), row(scene, 6, NOON, outcome="deferred")])
    tally = scene.tally()
    assert (tally.relayed_to_reporters, tally.relayed_30d) == (10, 11)
