from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from relay.feedback import lessons
from relay.feedback.report import Kind, Report
from relay.feedback.steps import Outcome, Received
from relay.model import Grade
from relay.signing.dkim import Signer, new_key
from relay.signing.token import Token
from screening.classify import lessons as notes
from tests.relay.feedback.scene import NOON, arf

if TYPE_CHECKING:
    from pathlib import Path

    from tests.relay.feedback.scene import Scene

from relay.config import Config

KEY = new_key("ed25519")
SIGNER = Signer("relay.example", "gp1", KEY)
WRITTEN = b"From: bulk@acme.example\r\nSubject: Offer\r\n\r\nBuy our watches at https://x.example/\r\n"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "dkim.pem").write_bytes(KEY)
    return Config.model_validate(
        {
            "folder": tmp_path,
            "hostname": "mx.relay.example",
            "screening": {"learn_complaints": True},
            "signing": {"key": "dkim.pem", "domain": "relay.example", "selector": "gp1"},
        }
    )


def sent(body: bytes = b"", *, above: bytes = b"") -> bytes:
    """Return the message as receivers have it: signed by us, with their own lines on top."""
    fields, _, text = WRITTEN.partition(b"\r\n\r\n")
    signature = SIGNER.sign(fields + b"\r\n", text, NOON)
    received = (
        b"Received: by mx.relay.example (Gatepost) with ESMTPSA id x;\r\n Sun, 22 Nov 2026 12:00:00 +0000\r\n"
    )
    return above + received + signature + fields + b"\r\n\r\n" + (body or text)


def report(original: bytes, media: bytes = b"message/rfc822") -> Received:
    raw = (
        b"From: fbl@loop.example\r\nContent-Type: multipart/report; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\n\r\n"
        b"--b\r\nContent-Type: " + media + b"\r\n\r\n" + original + b"\r\n--b--\r\n"
    )
    said = Token(1, "m", NOON, 1)
    return Received(raw, Report(Kind.COMPLAINT), said, in_original=True, trusted=False, vouched_by="")


def outcome(grade: Grade, *, counted: bool = True) -> Outcome:
    return Outcome("c", Report(Kind.COMPLAINT), grade, counted=counted)


def test_copies_of_one_message_are_one_lesson(config: Config, tmp_path: Path) -> None:
    for above in (b"", b"Received: from mx by inbox\r\nReturn-Path: <x@y.example>\r\n"):
        assert lessons.teach(config, report(sent(above=above)), outcome(Grade.A))
    learned = notes.study(tmp_path / "classifier.model")
    assert learned is not None
    assert (learned.new, learned.spam, learned.ham) == (1, 1, 0)


def test_without_an_authentic_reporter_only_what_we_signed_teaches(config: Config) -> None:
    forged = sent(b"Minutes of the meeting of the board of ACME\r\n")
    assert lessons.teach(config, report(sent()), outcome(Grade.B))
    assert not lessons.teach(config, report(forged), outcome(Grade.B))
    assert lessons.teach(config, report(forged), outcome(Grade.A))


@pytest.mark.parametrize(
    ("received", "found", "learn"),
    [
        (report(sent()), outcome(Grade.A, counted=False), True),
        (report(sent()), outcome(Grade.A), False),
        (report(sent(), b"text/rfc822-headers"), outcome(Grade.A), True),
        (report(WRITTEN.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"), outcome(Grade.A), True),
        (report(sent(b"x" * (2 << 20))), outcome(Grade.A), True),
    ],
    ids=["not counted", "switched off", "its header alone", "no body", "too large"],
)
def test_what_teaches_nothing(config: Config, received: Received, found: Outcome, learn: bool) -> None:  # noqa: FBT001
    settings = config.screening.model_copy(update={"learn_complaints": learn})
    assert not lessons.teach(config.model_copy(update={"screening": settings}), received, found)


async def test_a_complaint_that_counts_is_noted_once_by_the_intake(scene: Scene) -> None:
    path = scene.config.folder / "classifier.model"
    one = scene.send(["user@a.example"])
    assert (await scene.take(arf(one))).counted
    assert not notes.waiting(path)
    scene.intake.configure(
        scene.config.model_copy(
            update={"screening": scene.config.screening.model_copy(update={"learn_complaints": True})}
        )
    )
    assert (await scene.take(arf(scene.send(["user@a.example"])))).counted
    assert notes.waiting(path)
