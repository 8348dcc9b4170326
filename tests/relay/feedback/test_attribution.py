"""The table of grades, row by row and at its thresholds; pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from relay.feedback.attribution import Claim, Effect, Named, Sent, Witness, attribute
from relay.feedback.report import Kind, Report
from relay.model import Grade
from relay.signing.token import Token

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ANN, BEA, CID = (bytes([number]) * 16 for number in (1, 2, 3))
A, B, C = (bytes([number]) * 16 for number in (11, 12, 13))
ONE = Token(7, "m" * 16, NOW - timedelta(days=1), 1, ANN)
THREE = Token(7, "m" * 16, NOW - timedelta(days=1), 3)
WENT_TO = {ANN: A, BEA: A, CID: B}
COMPLAINT = Report(Kind.COMPLAINT, "arf", "abuse", "loop.example", tokens=("t",))
LISTED = Witness("loop.example", authentic=True, covers=frozenset((A,)))
WIDE = replace(LISTED, covers=frozenset((A, B)))
VOUCHED = Witness("staff:eve", vouched=True)
STRANGER = Witness("loop.example")


def claim(
    token: Token | None = ONE,
    witness: Witness = LISTED,
    *,
    kind: str = "abuse",
    journalled: bool = True,
    named: tuple[bytes, ...] = (),
    in_original: bool = True,
) -> Claim:
    known = {ANN: A} if token is ONE else WENT_TO
    sent = None if token is None else Sent(token, known if journalled else None)
    who = [Named(one, WENT_TO.get(one, C)) for one in named]
    return Claim(replace(COMPLAINT, feedback_type=kind), sent, witness, in_original, who)


@pytest.mark.parametrize(
    ("made", "grade", "effect"),
    [
        (claim(), Grade.A, Effect.VOTE),
        (claim(witness=VOUCHED), Grade.A, Effect.VOTE),
        (claim(witness=STRANGER), Grade.B, Effect.VOTE),
        (claim(THREE, replace(LISTED, covers=frozenset((C,)))), Grade.B, Effect.VOTE),
        (claim(kind="not-spam"), Grade.A, Effect.WITHDRAW),
        (claim(kind="not-spam", witness=STRANGER), Grade.B, Effect.WITHDRAW),
        (claim(kind="opt-out"), Grade.A, Effect.UNSUBSCRIBE),
        (claim(kind="opt-out-list", witness=STRANGER), Grade.B, Effect.UNSUBSCRIBE),
        (replace(claim(), forwarded=True), Grade.A, Effect.FORWARDED),
        (replace(claim(witness=STRANGER), forwarded=True), Grade.B, Effect.FORWARDED),
        (replace(claim(kind="not-spam"), forwarded=True), Grade.A, Effect.WITHDRAW),
        (replace(claim(), own=frozenset((ANN,))), Grade.B, Effect.NONE),
        (replace(claim(), own=frozenset((BEA,))), Grade.A, Effect.VOTE),
        (replace(claim(THREE, named=(ANN, BEA)), own=frozenset((ANN, BEA))), Grade.B, Effect.NONE),
        (replace(claim(THREE, named=(ANN, BEA)), own=frozenset((ANN,))), Grade.A, Effect.VOTE),
        (replace(claim(THREE), own=frozenset((ANN,))), Grade.A, Effect.VOTE),
        (replace(claim(kind="not-spam"), own=frozenset((ANN,))), Grade.A, Effect.WITHDRAW),
        (claim(None), Grade.C, Effect.NONE),
        (claim(in_original=False), Grade.C, Effect.NONE),
        (claim(kind="auth-failure"), Grade.C, Effect.NONE),
        (claim(kind=""), Grade.C, Effect.NONE),
        (replace(claim(), report=replace(COMPLAINT, kind=Kind.BOUNCE)), None, Effect.NONE),
        (replace(claim(), report=replace(COMPLAINT, kind=Kind.UNKNOWN)), None, Effect.NONE),
    ],
)
def test_the_table(made: Claim, grade: Grade | None, effect: Effect) -> None:
    found = attribute(made, NOW, 90)
    assert (found.grade, found.effect, found.held) == (grade, effect, False)


@pytest.mark.parametrize(
    ("age", "grade"),
    [
        (timedelta(days=90), Grade.A),
        (timedelta(days=90, microseconds=1), Grade.C),
        (timedelta(hours=-1), Grade.A),
        (timedelta(hours=-1, microseconds=-1), Grade.C),
    ],
)
def test_mail_too_old_or_from_the_future_counts_for_nothing(age: timedelta, grade: Grade) -> None:
    made = claim(replace(ONE, sent_at=NOW - age))
    assert (
        attribute(replace(made, sent=Sent(replace(ONE, sent_at=NOW - age), {ANN: A})), NOW, 90).grade is grade
    )


@pytest.mark.parametrize(
    ("made", "voters", "most"),
    [
        # one recipient: the token says who, whatever is named
        (claim(named=(BEA,)), (ANN,), 1),
        (claim(named=(BEA,), journalled=False), (ANN,), 1),
        # several: named ones that got it, at the reporter's domains
        (claim(THREE, named=(ANN, BEA, CID)), (ANN, BEA), 2),
        (claim(THREE, named=(b"x" * 16, ANN)), (ANN,), 2),
        (claim(THREE, VOUCHED, named=(ANN, CID)), (ANN, CID), 3),
        (claim(THREE, STRANGER, named=(ANN, CID)), (ANN, CID), 3),
        # without a row to compare with: an authentic reporter's own domains alone
        (claim(THREE, named=(ANN, CID), journalled=False), (ANN,), 3),
        (claim(THREE, WIDE, named=(ANN, CID), journalled=False), (ANN, CID), 3),
    ],
)  # fmt: skip
def test_who_votes_and_how_many_at_most(made: Claim, voters: tuple[bytes, ...], most: int) -> None:
    found = attribute(made, NOW, 90)
    assert (found.voters, found.most) == (voters, most)
    assert found.recipient_hash == voters[0]


@pytest.mark.parametrize("witness", [STRANGER, replace(STRANGER, covers=frozenset((A,)))])
def test_a_stranger_names_nobody_without_a_row_to_compare_with(witness: Witness) -> None:
    found = attribute(claim(THREE, witness, named=(ANN,), journalled=False), NOW, 90)
    assert found.recipient_hash is None
    assert found.most == 3


def test_who_names_nobody_votes_as_its_reporter_and_all_strangers_as_one() -> None:
    def voter(witness: Witness) -> bytes:
        found = attribute(claim(THREE, witness), NOW, 90)
        assert (found.recipient_hash, found.domain_hash, len(found.voters)) == (None, None, 1)
        return found.voters[0]

    other = replace(LISTED, reporter="hub.example")
    assert voter(LISTED) != voter(other) != voter(STRANGER)
    assert voter(STRANGER) == voter(replace(STRANGER, reporter="x.example"))
    assert len(voter(LISTED)) == 16


def test_a_token_of_no_recipients_still_has_one_vote() -> None:
    none = replace(THREE, recipients=0)
    assert attribute(claim(none, journalled=False), NOW, 90).most == 1
    empty = replace(claim(none, STRANGER), sent=Sent(none, {}))
    assert attribute(empty, NOW, 90).most == 1


def test_the_domain_goes_with_the_recipient() -> None:
    assert attribute(claim(), NOW, 90).domain_hash == A
    assert attribute(claim(THREE, VOUCHED, named=(CID, ANN)), NOW, 90).domain_hash == B
    assert attribute(claim(journalled=False), NOW, 90).domain_hash is None


def test_each_answer_says_why() -> None:
    def why(made: Claim) -> str:
        return attribute(made, NOW, 90).why

    assert why(claim()) == "our token and a listed reporter"
    assert why(claim(witness=VOUCHED)) == "our token and staff vouch for the reporter"
    assert "no authenticated" in why(claim(witness=STRANGER))
    assert why(claim(None)) == "its token is not ours"
    bare = replace(COMPLAINT, tokens=(), faults=("it has no type",))
    assert why(replace(claim(None), report=bare)) == "it carries no token of ours; it has no type"
    assert "outside the original" in why(claim(in_original=False))
    assert "no feedback type is no complaint" in why(claim(kind=""))
    assert "never counts" in why(replace(claim(), report=replace(COMPLAINT, kind=Kind.BOUNCE)))
    assert "nobody at the domains" in why(claim(THREE, replace(LISTED, covers=frozenset((C,)))))
    assert "its own mail" in why(replace(claim(), own=frozenset((ANN,))))


def test_what_is_not_said_to_stand_in_the_original_does_not() -> None:
    assert attribute(Claim(COMPLAINT, Sent(ONE, {ANN: A}), LISTED), NOW, 90).grade is Grade.C
    assert attribute(claim(None), NOW, 90).most == 1
