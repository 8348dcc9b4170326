"""CASES PR where complaints are kept: no address of a recipient or complainer lies readable anywhere."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import TYPE_CHECKING

from relay.config import Retention, ReturnsConfig
from relay.feedback.intake import Intake
from relay.ids import message_id
from relay.keyring import Key, Keyring
from relay.log import Log
from relay.metrics import Metrics
from relay.signing.returns import Returns
from relay.store import complaints, journal, retention, suppression
from tests.relay.feedback.scene import LADDER, LOOP, RING, STRANGER, arf
from tests.relay.feedback.test_bounces import bounce

if TYPE_CHECKING:
    from tests.relay.feedback.scene import Scene

CANARY = "quincunx"
ADDRESS = f"{CANARY}@a.example"


async def fill(scene: Scene, metrics: Metrics | None = None) -> None:
    """Let one recipient complain, bounce, be suppressed, and write what nobody can parse."""
    scene.intake = Intake(scene.config, scene.store, RING, LADDER, metrics)
    sent = scene.send_all([(ADDRESS,), (ADDRESS, "bea@a.example"), (ADDRESS,)])
    for signer in (LOOP, STRANGER, None):
        await scene.take(arf(sent[0], signer))
        await scene.take(arf(sent[1], signer, more=f"Reported-Uri: mailto:{ADDRESS}\r\n"))
    await scene.take(bounce(sent[2], ADDRESS), trusted=True)
    await scene.take(f"From: {ADDRESS}\r\nSubject: {CANARY}\r\n\r\nplease stop, {ADDRESS}\r\n".encode())
    await scene.take(arf("x" * 80, LOOP, named=(ADDRESS,)))
    made = Returns(scene.config.model_copy(update={"returns": ReturnsConfig(domain="r.example")}), RING)
    row = journal.JournalRow(
        number := message_id(scene.now), scene.account.id, scene.account.customer.id, scene.now, "deliver",
        recipients=b"", sender=made.seal_sender(scene.account, number, ADDRESS),
    )  # fmt: skip
    with scene.store.begin() as tx:
        journal.append(tx, [row])
        hashed = RING.recipient_hash(scene.account.customer.id, ADDRESS)
        suppression.add(tx, scene.now, scene.account.customer.id, hashed)
    await scene.sweep()
    await scene.store.flush()


async def test_pr_03_and_07_no_file_of_the_store_names_who_complained_bounced_or_was_suppressed(
    scene: Scene,
) -> None:
    await fill(scene)
    files = [path for path in scene.config.folder.rglob("*") if path.is_file()]
    assert files
    assert not [path.name for path in files if CANARY.encode() in path.read_bytes()]


async def test_pr_07_a_guess_without_the_key_finds_nobody_on_the_list(scene: Scene) -> None:
    await fill(scene)
    customer = scene.account.customer.id
    right, wrong = (ring.recipient_hash(customer, ADDRESS) for ring in (RING, Keyring([Key(1, b"x" * 32)])))
    others = RING.recipient_hash(customer + 1, ADDRESS)
    with scene.store.read() as tx:
        assert list(suppression.held(tx, scene.now, customer, [right, wrong, others], listed=True)) == [right]


async def test_pr_01_and_02_logs_name_nobody_and_metrics_stay_as_many(scene: Scene) -> None:
    page = io.StringIO()
    log = Log("debug", page)
    metrics = Metrics(log)
    before = [line.partition(" ")[0] for line in metrics.render().decode().splitlines()]
    await fill(scene, metrics)
    for number in range(30):
        account = scene.add(f"user{number}@acme.example")
        await scene.take(arf(scene.send((ADDRESS,), account), LOOP, author=f"x@n{number}.example"))
    log.flush()
    after = [line.partition(" ")[0] for line in metrics.render().decode().splitlines()]
    assert len(after) - len(before) <= 10, "series of closed sets alone"
    assert CANARY not in page.getvalue()
    assert "acme.example" not in "".join(after)


async def test_pr_05_what_waits_for_staff_is_gone_on_its_day_whatever_the_clock_did(scene: Scene) -> None:
    await fill(scene)
    kept = Retention()
    for days, left in ((-400, 1), (89, 1), (91, 0)):
        await retention.purge_all(scene.store, scene.now + timedelta(days=days), kept)
        with scene.store.read() as tx:
            assert len(complaints.waiting(tx)) == left, days
