"""What operators change about screening, tried on past traffic and taken up by the running daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from screening.classify import lessons
from tests.service.harness import Relay, until
from tests.service.test_feedback import LOOP, mail_in, report
from tests.service.test_main_job import ALICE, BOB, ROBOT, message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.service.harness import CustomerServer

pytestmark = pytest.mark.service


@pytest.fixture
def relay(tmp_path_factory: pytest.TempPathFactory, customer: CustomerServer) -> Iterator[Relay]:
    """A relay of its own: what one test teaches it must not reach the next."""
    with Relay(tmp_path_factory.mktemp("tuning")) as running:
        running.init()
        running.run("customer", "add", "acme", "--server", f"127.0.0.1:{customer.port}")
        running.account(ALICE, "acme")
        running.account(ROBOT, "acme", "--sender", "*")
        yield running.start()


def test_rules_are_listed_tested_replayed_and_rated(relay: Relay) -> None:
    with relay.client(ALICE) as client:
        client.send_message(message())
    until(lambda: relay.events("message"))
    assert {"rule", "score", "mode", "group", "why"} == set(relay.rows("rules", "list")[0])
    assert "examples right" in relay.run("rules", "test").stdout
    assert relay.rows("rules", "replay", "--days", "1") == [], "the same rules decide the same"
    changed = relay.folder / "changed.toml"
    changed.write_text(
        relay.config.read_text().replace("[screening]", "[screening]\ntag = -50.0\nhold = -40.0")
    )
    moved = relay.rows("rules", "replay", "--days", "1", "--with", str(changed))
    assert {row["after"] for row in moved} <= {"tag", "hold"}
    assert moved
    relay.rows("rules", "quality", "--days", "1")
    assert relay.rows("rules", "quality", "--missed") == []


def test_what_is_learned_reaches_the_running_daemon(relay: Relay, tmp_path: Path) -> None:
    words = "zanzibar quokka marzipan trombone gazpacho"
    for number in range(40):
        text = f"{words} offer {number}\n{words}\n"
        (tmp_path / f"{number}.eml").write_bytes(message(text=text).as_bytes())
    probe = tmp_path / "probe.txt"
    probe.write_bytes(message(text=f"{words}\n{words}\n").as_bytes())

    def score() -> float:
        seen = len(relay.events("message"))
        with relay.client(ROBOT) as client:
            client.sendmail(ROBOT, [BOB], probe.read_bytes())
        return float(until(lambda: relay.events("message")[seen:])[-1]["score"])

    before = score()
    learned = relay.json("learn", "spam", *(str(path) for path in tmp_path.glob("*.eml")))
    assert (learned["new"], learned["spam"]) == (40, 40)
    until(lambda: score() != before)


def test_what_people_complained_about_is_studied_by_the_daemon(
    relay: Relay, customer: CustomerServer
) -> None:
    relay.configure("screening", "learn_complaints = true")
    (relay.folder / "loop.key").write_text(LOOP.dns_record()[1])
    relay.run(
        "reporter", "add", "loop.example", "--covers", "partner.example",
        "--dkim-key", str(relay.folder / "loop.key"),
    )  # fmt: skip
    relay.reload()
    with relay.client(ALICE) as client:
        client.send_message(message())
    mail_in(relay, report(customer.messages[-1].raw, LOOP))
    model = relay.folder / "classifier.model"
    until(lambda: lessons.waiting(model))
    assert relay.stop() == 0
    relay.start()  # it studies at once, then every ten minutes
    until(model.exists)
    until(lambda: not lessons.waiting(model))
    with relay.client(ALICE) as client:
        client.send_message(message())
    assert relay.events("bug") == []


@pytest.mark.parametrize(("identity", "action"), [("flag", "tag"), ("observe", "deliver")])
def test_foreign_senders_can_be_flagged_or_only_observed(
    relay: Relay, customer: CustomerServer, identity: str, action: str
) -> None:
    relay.configure("policy", f'identity = "{identity}"')
    relay.reload()
    with relay.client(ALICE) as client:
        client.sendmail("ceo@acme.example", [BOB], message(sender="ceo@acme.example").as_bytes())
    event = until(lambda: relay.events("message"))[-1]
    assert (event["action"], "foreign_sender" in event["rules"]) == (action, True)
    assert (b"X-Gatepost-Verdict" in customer.messages[0].raw) is (action == "tag")
