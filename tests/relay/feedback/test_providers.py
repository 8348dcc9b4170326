"""Events that providers post as JSON: every known shape says its own, everything else waits for staff."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.feedback import providers
from relay.feedback.reading import read
from relay.feedback.report import Kind
from relay.store import complaints
from tests.relay.feedback.scene import RING

if TYPE_CHECKING:
    from relay.feedback.report import Report
    from tests.relay.feedback.scene import Scene

TOKEN = "a" * 80


def notification(**said: Any) -> dict[str, Any]:
    mail = {
        "timestamp": "2026-11-22T12:00:00Z", "source": "bulk@acme.example", "messageId": "0100-1",
        "sourceIp": "192.0.2.1", "commonHeaders": {"messageId": "<m@acme.example>"},
        "headers": [{"name": "Subject", "value": "x"}, {"name": "CFBL-Feedback-ID", "value": TOKEN}],
    }  # fmt: skip
    return {"notificationType": "Bounce", "mail": mail, **said}


def bounced(kind: str = "Permanent", status: str = "5.1.1") -> dict[str, Any]:
    person = {
        "emailAddress": "ann@a.example", "action": "failed", "status": status,
        "diagnosticCode": f"smtp; 550 {status} user unknown",
    }  # fmt: skip
    return notification(bounce={"bounceType": kind, "bouncedRecipients": [person]})


def complained(kind: str | None = None) -> dict[str, Any]:
    said: dict[str, Any] = {"complainedRecipients": [{"emailAddress": "Ann <ann@A.example>"}]}
    said |= {"complaintFeedbackType": kind} if kind else {}
    return notification(notificationType="Complaint", complaint=said)


def event_data(event: str, **more: Any) -> dict[str, Any]:
    data = {
        "event": event, "recipient": "ann@a.example", "timestamp": 1795348800.5,
        "message": {"headers": {"message-id": "m@acme.example"}},
        "user-variables": {"cfbl-feedback-id": TOKEN}, **more,
    }  # fmt: skip
    return {"signature": {"token": "x"}, "event-data": data}


def flat(event: str, **more: Any) -> dict[str, Any]:
    return {
        "email": "ann@a.example", "event": event, "timestamp": 1795348800, "smtp-id": "<m@acme.example>",
        "cfbl_feedback_id": TOKEN, **more,
    }  # fmt: skip


def record(kind: str, **more: Any) -> dict[str, Any]:
    return {
        "RecordType": kind, "Email": "ann@a.example", "MessageID": "m@acme.example",
        "Metadata": {"CFBL-Feedback-ID": TOKEN}, **more,
    }  # fmt: skip


HARD_WORDS = {"code": 550, "message": "5.1.1 no such user"}
CASES: dict[str, tuple[dict[str, Any], Kind, str, bool]] = {
    "a notification of a bounce": (bounced(), Kind.BOUNCE, "failed", True),
    "one that may pass": (bounced("Transient", "4.4.1"), Kind.BOUNCE, "delayed", False),
    "one of nobody knows what": (bounced("Undetermined"), Kind.BOUNCE, "delayed", False),
    "a notification of a complaint": (complained(), Kind.COMPLAINT, "abuse", False),
    "of fraud": (complained("fraud"), Kind.COMPLAINT, "fraud", False),
    "that takes back": (complained("not-spam"), Kind.COMPLAINT, "not-spam", False),
    "in an envelope": (
        {"Type": "Notification", "Message": json.dumps(complained())}, Kind.COMPLAINT, "abuse", False,
    ),
    "a published event": (
        {"eventType": "Bounce", **{k: v for k, v in bounced().items() if k != "notificationType"}},
        Kind.BOUNCE, "failed", True,
    ),
    "event data, failed for good": (
        event_data("failed", severity="permanent", **{"delivery-status": HARD_WORDS}),
        Kind.BOUNCE, "failed", True,
    ),
    "event data, failed for now": (
        event_data("failed", severity="temporary", **{"delivery-status": {"code": 452, "message": "full"}}),
        Kind.BOUNCE, "delayed", False,
    ),
    "event data, a complaint": (event_data("complained"), Kind.COMPLAINT, "abuse", False),
    "event data, left": (event_data("unsubscribed"), Kind.COMPLAINT, "unsubscribe", False),
    "flat, a bounce": (
        flat("bounce", type="bounce", status="5.1.1", reason="550 unknown"), Kind.BOUNCE, "failed", True,
    ),
    "flat, blocked": (
        flat("bounce", type="blocked", reason="554 listed"), Kind.BOUNCE, "delayed", False,
    ),
    "flat, later": (flat("deferred", response="450 busy"), Kind.BOUNCE, "delayed", False),
    "flat, a complaint": (flat("spamreport"), Kind.COMPLAINT, "abuse", False),
    "flat, left": (flat("group_unsubscribe"), Kind.COMPLAINT, "unsubscribe", False),
    "a record of a bounce": (record("Bounce", Type="HardBounce"), Kind.BOUNCE, "failed", True),
    "a record of a soft one": (
        record("Bounce", Type="SoftBounce", Details="4.2.2 mailbox full"), Kind.BOUNCE, "delayed", False,
    ),
    "a record of a complaint": (record("SpamComplaint"), Kind.COMPLAINT, "abuse", False),
    "a record of one who left": (record("SubscriptionChange"), Kind.COMPLAINT, "unsubscribe", False),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_shape_says_what_happened_to_whom(name: str) -> None:
    said, kind, what, hard = CASES[name]
    report = read(json.dumps(said).encode())
    assert (report.kind, report.feedback_type) == (kind, what)
    assert [one.lower() for one in report.recipients] == ["ann@a.example"]
    assert "m@acme.example" in report.original.message_id
    assert report.tokens == (TOKEN,)
    assert [one.permanent for one in report.statuses] == ([hard] if kind is Kind.BOUNCE else [])
    if hard:
        assert report.statuses[0].reason == "invalid recipient"


@pytest.mark.parametrize(
    "said",
    [
        {"Type": "SubscriptionConfirmation", "Message": "You have chosen", "SubscribeURL": "https://x.example"},
        {"notificationType": "Delivery", "mail": {}}, flat("open"), flat("bounce", email=""),
        {"event-data": []}, {"event-data": {"event": ["failed"]}}, {"RecordType": 7}, {}, [],
    ],
)  # fmt: skip
def test_what_is_in_no_table_is_unknown_and_so_waits_for_staff(said: object) -> None:
    assert read(json.dumps(said).encode()).kind is Kind.UNKNOWN


def test_a_recipient_of_several_has_its_own_status() -> None:
    said = bounced()
    second = {"emailAddress": "bob@b.example", "status": "5.2.2", "diagnosticCode": "552 5.2.2 full"}
    said["bounce"]["bouncedRecipients"].append(second)
    report = read(json.dumps(said).encode())
    assert [(one.recipient, one.permanent) for one in report.statuses] == [
        ("ann@a.example", True), ("bob@b.example", False),
    ]  # fmt: skip


def test_an_array_is_as_many_events_and_no_more_than_a_thousand() -> None:
    many = [flat("spamreport", email=f"u{number}@a.example") for number in range(3)]
    events = providers.events_of(json.dumps(many).encode())
    assert [read(one).recipients for one in events] == [(f"u{number}@a.example",) for number in range(3)]
    assert providers.events_of(b"{}") == [b"{}"]
    assert providers.events_of(b" []") == [b" []"]
    assert len(providers.events_of(json.dumps([{}] * 1000).encode())) == 1000
    with pytest.raises(ValueError, match="1000"):
        providers.events_of(json.dumps([{}] * 1001).encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["bounce", "bouncedRecipients", "emailAddress", "mail", "headers", "name", "value",
                         "event", "event-data", "email", "Email", "Type", "notificationType", "Message"]),
        inner, max_size=5,
    ),
    max_leaves=30,
)  # fmt: skip


@given(JSON, st.sampled_from(list(CASES)))
def test_no_shape_raises(value: object, name: str) -> None:
    said = CASES[name][0]
    changed = {**said, **value} if isinstance(value, dict) else {**said, next(iter(said)): value}
    report: Report = read(json.dumps(changed).encode())
    assert report.kind in Kind
    assert len(report.statuses) <= 200


async def test_an_event_of_a_proven_provider_counts_as_any_report(scene: Scene) -> None:
    """The signature of the post is the proof (relay.feedback.signed)."""
    sent = scene.send(("ann@a.example",))
    text = json.dumps(complained()).replace(TOKEN, sent.token).encode()
    assert not (await scene.take(text)).counted or scene.tally().grade_b
    assert (await scene.intake.take(text, scene.now, bearer="loop.example")).counted
    assert scene.tally().votes == 1
    hard = json.dumps(bounced()).replace(TOKEN, sent.token).encode()
    await scene.take(hard)
    assert scene.tally().hard_bounces == 0, "anybody may say so"
    scene.pass_time(timedelta(minutes=1))
    await scene.intake.take(hard, scene.now, bearer="loop.example")
    assert scene.tally().hard_bounces == 1
    with scene.store.read() as tx:
        ann = RING.recipient_hash(scene.account.customer.id, "ann@a.example")
        assert complaints.bounced(tx, sent.id) == {ann: True}
