"""The feedback listener takes reports for its own addresses, and answers nobody (CASES CF-13)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from relay.config import Config, FeedbackConfig
from relay.errors import StoreError
from relay.feedback.intake import FeedbackDoor, Intake
from relay.feedback.record import KEPT_BYTES, WAITING
from relay.smtp.content import Content
from relay.smtp.grammar import MailFrom, RcptTo
from relay.smtp.session import Session
from relay.store import complaints
from tests.relay.feedback.scene import RING, arf

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from relay.feedback.intake import Outcome
    from tests.relay.feedback.scene import Scene

SESSION = Session("1", "feedback", "192.0.2.1")


@pytest.fixture
def door(scene: Scene, tmp_path: Path) -> FeedbackDoor:
    feedback = FeedbackConfig(addresses=("fbl@relay.example", "Bounces@relay.example"))
    return FeedbackDoor(Config(folder=tmp_path, feedback=feedback), scene.intake)


def content(raw: bytes) -> Content:
    made = Content()
    made.write(raw)
    return made


@pytest.mark.parametrize(
    ("recipient", "code"),
    [
        ("fbl@relay.example", 250),
        ("FBL@Relay.Example", 250),
        ("bounces@relay.example", 250),
        ("bounces+3b0c04j0t3m842c9@relay.example", 250),
        ("ann@relay.example", 550),
        ("fbl@other.example", 550),
        ("victim@world.example", 550),
        ("fbl%relay.example@other.example", 550),
        ('"fbl@relay.example"@world.example', 550),
    ],
)
async def test_cf_13_only_its_own_addresses_are_taken(door: FeedbackDoor, recipient: str, code: int) -> None:
    assert (await door.rcpt(SESSION, RcptTo(recipient))).code == code


async def test_any_sender_may_report_but_nobody_logs_in(door: FeedbackDoor) -> None:
    assert door.needs_login is False
    assert (await door.mail(SESSION, MailFrom(""))).code == 250
    assert (await door.mail(SESSION, MailFrom("fbl@loop.example", size=10**9))).code == 552
    assert (await door.authenticate(SESSION, "a", "b", "PLAIN")).code == 535


async def test_a_report_is_recorded_before_250(door: FeedbackDoor, scene: Scene) -> None:
    sent = scene.send(("ann@a.example",))
    reply = await door.data(SESSION, content(arf(sent)))
    assert (reply.code, reply.status) == (250, "2.0.0")
    assert scene.tally().votes + scene.tally().grade_b == 1
    await door.slow(SESSION)
    await door.abandon(SESSION)


async def test_where_no_more_can_wait_for_staff_the_sender_comes_again(
    door: FeedbackDoor, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(complaints, "MOST_WAITING", 2)
    letters = [b"From: a@b.example\r\n\r\nletter %d\r\n" % number for number in range(3)]
    assert [(await door.data(SESSION, content(one))).code for one in letters] == [250, 250, 451]
    assert (await door.data(SESSION, content(letters[1]))).code == 250, "it waits already"
    assert (await door.data(SESSION, content(arf(scene.send(("ann@a.example",)))))).code == 250
    with scene.store.read() as tx:
        assert len(complaints.waiting(tx)) == 2
    imports = Intake.for_import(scene.config, scene.store, RING)
    assert imports.record(letters[2], scene.now).counted is False


async def test_of_a_long_letter_so_much_waits_as_staff_are_shown(scene: Scene) -> None:
    raw = b"From: a@b.example\r\n\r\n" + b"letter\r\n" * 100_000
    await scene.take(raw)
    with scene.store.read() as tx:
        ((number, _, _),) = complaints.waiting(tx)
        kept = RING.open(WAITING, complaints.waiting_report(tx, number), number.encode())
    assert kept == raw[:KEPT_BYTES]


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"From: a@b\r\n\r\nhello\r\n"])
async def test_whatever_comes_is_taken_and_moves_nothing(
    door: FeedbackDoor, scene: Scene, raw: bytes
) -> None:
    assert (await door.data(SESSION, content(raw))).code == 250
    assert await scene.sweep() == []


async def test_a_report_that_is_too_large_is_refused(scene: Scene, tmp_path: Path) -> None:
    config = Config(folder=tmp_path)
    small = replace_size(config, 1000)
    assert (await FeedbackDoor(small, scene.intake).data(SESSION, content(b"x" * 2000))).code == 552


def replace_size(config: Config, size: int) -> Config:
    return config.model_copy(update={"feedback": config.feedback.model_copy(update={"message_size": size})})


class SilentIntake:
    """Its store cannot be written."""

    async def take(self, _raw: bytes, _now: datetime) -> Outcome:
        raise StoreError("the database is locked")


async def test_a_report_that_cannot_be_recorded_is_put_off(tmp_path: Path) -> None:
    door = FeedbackDoor(Config(folder=tmp_path), cast("Intake", SilentIntake()))
    reply = await door.data(SESSION, content(b"From: a@b\r\n\r\nhello\r\n"))
    assert (reply.code, reply.status) == (451, "4.3.0")
