"""Which reports count, and for how much: DESIGN.md's three grades and CASES CF."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from relay.errors import NotFound
from relay.feedback import unread
from relay.feedback.steps import Said
from relay.model import Grade, State
from relay.outbox.hold import Deed
from relay.signing import dkim, token
from relay.signing.dkim import Signer
from relay.signing.token import Token
from relay.store import accounts, audit, complaints, reporters
from tests.relay.feedback.scene import HUB, LOOP, NOON, RING, STRANGER, arf

if TYPE_CHECKING:
    from relay.feedback.steps import Outcome
    from tests.relay.feedback.scene import Scene


async def test_grade_a_is_our_token_and_a_listed_reporter(either_scene: Scene) -> None:
    sent = either_scene.send(("ann@a.example",))
    outcome = await either_scene.take(arf(sent))
    assert (outcome.grade, outcome.counted, outcome.attributed_to) == (Grade.A, True, "bulk@acme.example")
    assert (either_scene.tally().votes, either_scene.tally().grade_b) == (1, 0)


async def test_cf_01_an_unlisted_reporter_weighs_nothing_in_rates(scene: Scene) -> None:
    sent = scene.send(("ann@a.example",))
    outcome = await scene.take(arf(sent, STRANGER))
    assert (outcome.grade, outcome.counted) == (Grade.B, True)
    assert (scene.tally().votes, scene.tally().grade_b) == (0, 1)


@pytest.mark.parametrize(
    "raw",
    [
        lambda sent: arf(sent, None),
        lambda sent: arf(sent, STRANGER, author="fbl@loop.example"),
        lambda sent: arf(sent, LOOP).replace(b"report 0", b"report 1"),
        lambda sent: arf(sent, LOOP).replace(b"Offer", b"Other"),
        lambda sent: arf(sent, Signer("loop.example", "s", dkim.new_key("ed25519"))),
        lambda sent: b"From: fbl@loop.example\r\n" + arf(sent, LOOP),
        lambda sent: arf(sent, LOOP, author="fbl@evilloop.example"),
        lambda sent: arf(sent, LOOP, at=NOON - timedelta(days=30)),
    ],
    ids=[
        "unsigned",
        "signed by another domain",
        "changed header",
        "changed message",
        "another key",
        "a second From",
        "From not aligned",
        "an old signature",
    ],
)
async def test_cf_02_a_listed_from_without_its_signature_is_grade_b(scene: Scene, raw: object) -> None:
    assert callable(raw)
    sent = scene.send(("ann@a.example",))
    outcome = await scene.take(raw(sent))
    assert outcome.grade is Grade.B
    assert scene.tally().votes == 0


@pytest.mark.parametrize(
    "text",
    ["", "a" * 106, "nonsense", token.seal(RING, Token(999, "0" * 16, NOON, 1, b"h" * 16))],
    ids=["none", "junk", "words", "an account that is gone"],
)
async def test_cf_03_a_signed_report_without_our_token_is_grade_c(scene: Scene, text: str) -> None:
    outcome = await scene.take(arf(text))
    assert (outcome.grade, outcome.counted, outcome.attributed_to) == (Grade.C, False, None)


async def test_cf_04_the_token_decides_not_what_the_report_names(scene: Scene) -> None:
    sent = scene.send(("ann@a.example",), scene.other)
    outcome = await scene.take(arf(sent, change=lambda text: text.replace("From: bulk@", "From: bulk@")))
    again = await scene.take(arf(sent, wrapping=1, named=("someone@else.example",)))
    assert (outcome.attributed_to, outcome.counted) == ("other@acme.example", True)
    assert (again.attributed_to, again.counted) == ("other@acme.example", False)
    assert scene.tally().votes == 0
    assert scene.tally(scene.other).votes == 1


async def test_cf_05_the_same_report_a_thousand_times_is_one_vote_and_cheap(scene: Scene) -> None:
    sent = scene.send(("ann@a.example",))
    reports = [arf(sent, wrapping=number) for number in range(300)]
    start = time.process_time()
    counted = [(await scene.take(raw)).counted for raw in reports]
    assert counted == [True] + [False] * 299
    assert scene.tally().votes == 1
    assert time.process_time() - start < 10


async def test_cf_08_a_flood_of_forgeries_stops_being_written(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.store.complaints.MOST_UNATTRIBUTED_PER_HOUR", 20)
    for number in range(60):
        await scene.take(arf("a" * 106, STRANGER, wrapping=number))
        await scene.store.write(lambda _: None)
    with scene.store.read() as tx:
        rows = tx.exec_driver_sql("select count(*) from complaint").scalar()
    assert rows == 20
    assert await scene.sweep() == []


async def test_cf_08_a_reporter_that_says_too_much_is_grade_b_until_staff_have_looked(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policies.complaints.LEAST_VOTES_1H", 5)
    outcomes = [await scene.take(arf(one)) for one in scene.send_all([("ann@a.example",)] * 12)]
    assert [outcome.grade for outcome in outcomes] == [Grade.A] * 5 + [Grade.B] * 7
    assert (scene.tally().votes, scene.tally().grade_b) == (5, 7)
    with scene.store.read() as tx:
        assert [one.object for one in audit.entries(tx)] == ["reporter loop.example"], "said once"


async def test_cf_09_a_message_we_never_sent_has_no_effect(scene: Scene) -> None:
    outcome = await scene.take(arf("", named=("ann@a.example",)))
    assert outcome.grade is Grade.C
    assert scene.tally().votes == scene.tally(scene.other).votes == 0


async def test_a_token_outside_the_original_message_attributes_and_never_counts(scene: Scene) -> None:
    sent = scene.send(("ann@a.example",))
    line = f"CFBL-Feedback-ID: {sent.token}\r\n"
    bare = arf("", named=(), more=line)
    assert (await scene.take(bare)).as_json() | {"why": ""} == {
        "kind": "complaint",
        "feedback_type": "abuse",
        "reporter": "loop.example",
        "recipients": [],
        "original": {"message_id": "<m@acme.example>", "author": "bulk@acme.example"},
        "attributed_to": "bulk@acme.example",
        "counted": False,
        "why": "",
    }
    forward = (
        f"From: ann@a.example\r\nContent-Type: message/rfc822\r\n\r\n{line}From: b@acme.example\r\n\r\nx\r\n"
    )
    reply = (
        f"From: ann@a.example\r\nSubject: Re: Offer\r\n\r\n> {line[:60]}\r\n> \t{line[60:]}\r\nstop it\r\n"
    )
    for raw in (forward, reply):
        outcome = await scene.take(raw.encode())
        assert (outcome.attributed_to, outcome.counted) == ("bulk@acme.example", False), raw
    assert (scene.tally().votes, scene.tally().grade_b) == (0, 0)


async def test_the_token_alone_attributes_while_the_journal_row_is_not_committed(scene: Scene) -> None:
    sent = scene.send(("ann@a.example",), journalled=False)
    outcome = await scene.take(arf(sent))
    assert (outcome.grade, outcome.counted, outcome.attributed_to) == (Grade.A, True, "bulk@acme.example")


async def test_a_report_about_old_mail_counts_for_nothing(scene: Scene) -> None:
    sent = scene.send(("ann@a.example",))
    scene.pass_time(timedelta(days=91))
    outcome = await scene.take(arf(sent, at=scene.now))
    assert (outcome.grade, outcome.counted) == (Grade.C, False)
    assert "90 days" in outcome.why


@pytest.mark.parametrize("kind", ["abuse", "fraud", "virus", "other", "spam"])
async def test_every_kind_of_complaint_votes(scene: Scene, kind: str) -> None:
    assert (await scene.take(arf(scene.send(("ann@a.example",)), kind=kind))).counted


@pytest.mark.parametrize("kind", ["auth-failure", "not-spam", "opt-out", "strange", ""])
async def test_other_types_never_vote(scene: Scene, kind: str) -> None:
    outcome = await scene.take(arf(scene.send(("ann@a.example",)), kind=kind))
    assert not outcome.counted
    assert scene.tally().votes == scene.tally().grade_b == 0


async def test_not_spam_takes_a_complaint_back_whichever_comes_first(scene: Scene) -> None:
    first, second = scene.send(("ann@a.example",)), scene.send(("bea@a.example",))
    await scene.take(arf(first))
    await scene.take(arf(first, kind="not-spam"))
    await scene.take(arf(second, kind="not-spam"))
    assert not (await scene.take(arf(second))).counted
    assert scene.tally().votes == 0


async def test_a_forged_not_spam_takes_nothing_back_and_a_forged_complaint_blocks_nothing(
    scene: Scene,
) -> None:
    sent = scene.send(("ann@a.example",))
    await scene.take(arf(sent, STRANGER))
    await scene.take(arf(sent, STRANGER, kind="not-spam"))
    assert (await scene.take(arf(sent))).counted
    await scene.take(arf(sent, STRANGER, kind="not-spam"))
    assert (scene.tally().votes, scene.tally().grade_b) == (1, 0)


async def test_one_vote_per_recipient_of_a_message(scene: Scene) -> None:
    sent = scene.send(("ann@a.example", "bea@a.example", "cid@b.example"))
    for named in (("ann@a.example",), ("ANN@A.example",), ("bea@a.example",), ("dan@a.example",)):
        await scene.take(arf(sent, named=named))
    await scene.take(arf(sent, HUB, named=("cid@b.example",)))
    assert scene.tally().votes == 3


async def test_a_reporter_that_names_nobody_has_one_vote_and_never_more_than_its_recipients(
    scene: Scene,
) -> None:
    sent = scene.send(("ann@a.example", "bea@a.example", "cid@b.example"))
    for number in range(5):
        await scene.take(arf(sent, named=(), wrapping=number))
    assert scene.tally().votes == 1
    await scene.take(arf(sent, named=("ann@a.example",)))
    await scene.take(arf(sent, named=("bea@a.example",)))
    assert scene.tally().votes == 2, "two of its users got the message"
    assert not (await scene.take(arf(sent, HUB, named=("ann@a.example",)))).report.faults
    assert scene.tally().votes == 3, "the other reporter's one recipient"


async def test_a_reporter_whose_users_got_nothing_is_grade_b(scene: Scene) -> None:
    sent = scene.send(("cid@b.example",))
    outcome = await scene.take(arf(sent, LOOP))
    assert (outcome.grade, scene.tally().votes) == (Grade.B, 0)
    assert "covers" in outcome.why


async def test_redacted_recipients_vote_as_their_reporter(scene: Scene) -> None:
    one = scene.send(("ann@a.example",))
    many = scene.send(("ann@a.example", "cid@b.example"))
    assert (await scene.take(arf(one, named=("redacted@a.example",)))).counted
    assert (await scene.take(arf(many, named=("cb4a01a48251d4765f48@a.example",)))).counted
    assert scene.tally().votes == 2


async def test_keys_come_from_dns_where_none_is_pinned(scene: Scene) -> None:
    with scene.store.begin() as tx:
        reporters.add(tx, NOON, "stranger.example", covers=("a.example",))
    sent = scene.send(("ann@a.example",))
    assert (await scene.take(arf(sent, STRANGER))).grade is Grade.B
    scene.dns["s._domainkey.stranger.example"] = [STRANGER.dns_record()[1]]
    outcome = await scene.take(arf(sent, STRANGER))
    assert (outcome.grade, outcome.counted) == (Grade.A, True), (
        "the unproven one before did not use up the vote"
    )
    assert set(scene.asked) == {"s._domainkey.stranger.example"}


async def test_dns_is_asked_about_listed_reporters_alone(scene: Scene) -> None:
    sent = scene.send(("ann@a.example",))
    await scene.take(arf(sent, STRANGER))
    await scene.take(arf("junk", STRANGER))
    assert scene.asked == []


async def test_staff_may_vouch_for_a_reporter_that_is_not_listed(scene: Scene) -> None:
    scene.send_many(100)
    sent = scene.send(("eve@elsewhere.example",))
    outcome = await scene.take(arf(sent, None, author="abuse@elsewhere.example"), trusted=True)
    assert (outcome.grade, outcome.counted) == (Grade.A, True)
    tally = scene.tally()
    assert (tally.votes, tally.relayed_to_reporters, tally.reporters) == (1, 101, 1), "divided by all mail"


def test_import_records_and_the_control_process_decides(scene: Scene) -> None:
    sent = scene.send_many(200)
    for one in sent[:18]:
        outcome = scene.intake.record(arf(one, LOOP if "@a." in one.recipients[0] else HUB), scene.now)
        assert outcome.counted
    assert not scene.intake.record(arf(sent[0], HUB), scene.now).counted
    assert scene.standing().state is State.ACTIVE


async def test_what_nobody_can_read_waits_for_staff_sealed(scene: Scene) -> None:
    raw = b"From: ann@a.example\r\nSubject: your spam\r\n\r\nstop this at once, says secret-canary\r\n"
    for _ in range(3):
        assert (await scene.take(raw)).as_json()["kind"] == "unknown"
    with scene.store.read() as tx:
        rows = tx.exec_driver_sql("select id, sealed from waiting_report").all()
        assert len(rows) == 1
        assert b"secret-canary" not in rows[0][1]
        assert b"secret" not in rows[0][1]


async def test_an_outcome_prints_exactly_the_keys_of_the_command_line(scene: Scene) -> None:
    outcome = await scene.take(arf(scene.send(("ann@a.example",))))
    assert list(outcome.as_json()) == [
        "kind", "feedback_type", "reporter", "recipients", "original", "attributed_to", "counted", "why",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mark", "senders", "author", "counted"),
    [
        ("Resent-From: anna@acme.example", ["*"], "stranger@elsewhere.example", False),
        ("X-Forwarded-To: ann@a.example", ["*"], "stranger@elsewhere.example", False),
        ("X-Other: 1", ["*"], "stranger@elsewhere.example", True),
        ("X-Forwarded-To: ann@a.example", ["*"], "anna@acme.example", True),
        ("X-Forwarded-To: ann@a.example", ["@acme.example"], "stranger@elsewhere.example", True),
    ],
)
async def test_what_an_account_only_forwarded_is_counted_apart(
    scene: Scene, mark: str, senders: list[str], author: str, *, counted: bool
) -> None:
    with scene.store.begin() as tx:
        accounts.set_senders(tx, scene.now, scene.account.login, senders)
    swap = f"From: {author}\r\n{mark}\r\nSubject: Offer"

    def change(text: str) -> str:
        return text.replace("From: bulk@acme.example\r\nSubject: Offer", swap)

    outcomes = [
        await scene.take(arf(one, change=change)) for one in scene.send_all([("ann@a.example",)] * 21)
    ]
    assert {one.counted for one in outcomes} == {counted}
    assert {one.grade for one in outcomes} == {Grade.A}
    assert scene.tally().votes == (21 if counted else 0)
    with scene.store.read() as tx:
        told = [one.action for one in audit.entries(tx) if one.who == "policy"]
    assert told == ([] if counted else ["many forwarded complaints"]), "said once a day"


async def test_cf_10_nobody_complains_about_himself_and_no_reporter_is_framed(scene: Scene) -> None:
    with scene.store.begin() as tx:
        accounts.set_senders(tx, scene.now, scene.account.login, ["ann@a.example", "@acme.example"])
    sent = scene.send_all([("ann@a.example",)] * 6)
    outcomes = [await scene.take(arf(one)) for one in sent]
    assert not any(one.counted for one in outcomes)
    assert "its own mail" in outcomes[0].why
    assert (scene.tally().votes, await scene.sweep()) == (0, [])
    with scene.store.read() as tx:
        assert [one.action for one in audit.entries(tx)] == ["self-complaint"]
        assert {one.domain for one in reporters.reporters(tx)} == {"loop.example", "hub.example"}


async def test_staff_record_by_hand_what_a_person_told_them(scene: Scene) -> None:
    one, several = scene.send(("ann@a.example",)), scene.send(("ann@a.example", "bea@b.example"))
    deed = Deed("staff:eve", scene.now, "on the phone")

    def say(said: Said) -> Outcome:
        with scene.store.begin() as tx:
            return scene.intake.by_hand(tx, said, deed)

    assert say(Said(one.id)).counted
    assert not say(Said(one.id)).counted, "once"
    assert say(Said(several.id, recipients=("bea@b.example",))).counted
    assert scene.tally().votes == 2
    say(Said(one.id, "not-spam"))
    assert scene.tally().votes == 1
    with pytest.raises(NotFound):
        say(Said("nothing"))
    with scene.store.read() as tx:
        assert [(e.who, e.action, e.reason) for e in audit.entries(tx)] == [
            ("staff:eve", "feedback.record", "on the phone")
        ] * 4


async def test_each_look_at_a_waiting_report_and_its_end_are_on_record(scene: Scene) -> None:
    raw = b"From: ann@a.example\r\nSubject: your spam\r\n\r\nstop this at once\r\n"
    await scene.take(raw)
    deed = Deed("staff:eve", scene.now, "case 7")
    with scene.store.begin() as tx:
        ((identifier, _, why),) = complaints.waiting(tx)
        assert "not a report" in why
        assert unread.look(tx, RING, deed, identifier) == raw
        unread.drop(tx, deed, identifier)
        assert complaints.waiting(tx) == []
        with pytest.raises(NotFound):
            unread.look(tx, RING, deed, identifier)
        with pytest.raises(NotFound):
            unread.drop(tx, deed, identifier)
        assert [(e.action, e.reason) for e in audit.entries(tx)] == [
            ("feedback.drop", "case 7"), ("feedback.look", "case 7"),
        ]  # fmt: skip


async def test_a_reporter_that_is_only_watched_is_grade_b_and_divides_nothing(scene: Scene) -> None:
    sent = scene.send_all([("ann@a.example",)] * 4)
    with scene.store.begin() as tx:
        reporters.trust(tx, scene.now, "loop.example", watched=True, cap=None)
    outcome = await scene.take(arf(sent[0]))
    assert (outcome.grade, outcome.why) == (
        Grade.B,
        "our token and loop.example, which is only watched as yet",
    )
    assert (scene.tally().votes, scene.tally().grade_b, scene.tally().relayed_to_reporters) == (0, 1, 0)
    with scene.store.begin() as tx:
        reporters.trust(tx, scene.now, "loop.example", watched=False, cap=2)
    grades = [(await scene.take(arf(one))).grade for one in sent]
    assert grades == [Grade.A, Grade.A, Grade.B, Grade.B], "two an hour, then staff look"
    assert (scene.tally().votes, scene.tally().relayed_to_reporters) == (2, 4)
    with scene.store.begin() as tx, pytest.raises(NotFound):
        reporters.trust(tx, scene.now, "nobody.example", watched=False, cap=2)
