"""PD, TE, PR: headers that two readers read differently, and names that are not the account's."""

from __future__ import annotations

import re

import pytest

from tests.service.catalogue.letters import BOB, HEAD, A, B, later, quiet, text
from tests.service.harness import Relay, until
from tests.service.wire import Client, NextHop

pytestmark = pytest.mark.service


def headed(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in lines) + b"To: <bob@partner.example>\r\nSubject: Thursday\r\n"


@pytest.mark.parametrize(
    ("case", "head"),
    [
        ("pd-01", headed(b"From: <alice@acme.example>", b"From: <ceo@victim.example>")),
        ("pd-01", headed(b"From: <alice@acme.example>", b"from: <ceo@victim.example>")),
        ("pd-02", headed(b"From: ceo@victim.example, <alice@acme.example>")),
        ("pd-03", headed(b"From: <alice@acme.example>, <ceo@victim.example>")),
        ("pd-04", headed(b"From : <ceo@victim.example>")),
        ("pd-05", headed(b"From\x00: <ceo@victim.example>", b"From: <alice@acme.example>")),
        ("pd-05", headed(b"\x00From: <ceo@victim.example>", b"From: <alice@acme.example>")),
        ("pd-06", headed(b"From:", b" <ceo@victim.example>")),
        ("pd-12", headed(b"From: " + b"(" * 900 + b")" * 900 + b" <ceo@victim.example>")),
        ("pd-13", headed(b'From: "alice@acme.example"@victim.example')),
    ],
)
def test_pd_a_from_that_is_not_the_accounts_is_refused(
    client: Client, house: Relay, hop: NextHop, case: str, head: bytes
) -> None:
    assert re.match(rb"55[04] 5", client.submit(A, BOB, text(case, head=head)))
    quiet(house, hop, 0)


@pytest.mark.parametrize(
    ("case", "head"),
    [
        ("pd-02", headed(b"From: ceo@victim.example <alice@acme.example>")),
        ("pd-07", headed(b"From: <alice@acme.example>", b"no colon here", b"From: <ceo@victim.example>")),
        ("pd-08", headed(b"From: <alice@acme.example>", b" ", b"From: <ceo@victim.example>")),
        ("pd-09", headed(b"From: =?utf-8?Q?ceo=40victim.example?= <alice@acme.example>")),
        ("pd-10", headed(b"From: =?utf-8?Q?a=0D=0AX-Evil:_y=00=1B?= <alice@acme.example>")),
        ("pd-11", headed(b"From: friends:;")),
        ("pd-11", headed(b"From: <>")),
        ("pd-11", headed(b"From:")),
        ("pd-13", headed(b'From: "a@victim.example"@acme.example')),
        ("pd-13", headed(b"From: a\\@victim.example@acme.example")),
    ],
)
def test_pd_an_odd_from_is_refused_or_arrives_as_it_was(
    client: Client, house: Relay, hop: NextHop, case: str, head: bytes
) -> None:
    raw = text(case, head=head)
    answer = client.submit(A, BOB, raw)
    assert answer[:1] in b"25", answer
    for one in hop.messages:
        assert one.raw.endswith(raw)
        assert not re.search(rb"(?m)^X-Evil:", one.raw)
    # what reads as two authors to anyone is never sent on
    assert b"\nFrom: <ceo@victim" not in head or not hop.messages
    quiet(house, hop, len(hop.messages))


# --- TE: another customer's names


@pytest.mark.parametrize(
    ("sender", "head"),
    [
        (B, HEAD),
        (A, HEAD.replace(A, B)),
        (A, b"Sender: <bruno@other.example>\r\n" + HEAD),
        (A, b"Resent-From: <bruno@other.example>\r\n" + HEAD),
        (A, b"Resent-Sender: <bruno@other.example>\r\n" + HEAD),
        (A, b"Sender: <alice@acme.example>\r\n" + HEAD.replace(A, B)),
    ],
    ids=["MAIL FROM", "From", "Sender", "Resent-From", "Resent-Sender", "From with own Sender"],
)
def test_te_01_the_names_of_another_customer_are_refused(
    client: Client, house: Relay, hop: NextHop, sender: bytes, head: bytes
) -> None:
    assert client.submit(sender, BOB, text("te-01", head=head)).startswith(b"550 5.7.1")
    quiet(house, hop, 0)


# --- what all of that left behind


def test_pr_01_and_06_no_bug_no_address_and_no_subject_is_in_the_log(
    client: Client, house: Relay, hop: NextHop
) -> None:
    def canary(where: str) -> bytes:
        return f"canary-{where}@partner.example".encode()

    hop.dot = b"550 5.7.1 " + canary("reply") + b"\r\n"
    raw = text("canary-id", head=HEAD.replace(b"Thursday", b"canary-subject"), body=b"canary-body\r\n")
    client.submit(A, canary("recipient"), raw)
    client.say(b"MAIL FROM:<%s>" % canary("sender"))
    log = house.log()
    assert "canary" not in log
    assert "Traceback" not in log
    assert house.events("bug") == []
    assert all(line.startswith("{") for line in log.splitlines())


def test_pr_03_no_file_names_a_recipient_whom_a_server_or_a_rule_named(
    client: Client, house: Relay, hop: NextHop
) -> None:
    head = HEAD.replace(b"Thursday", b"canary@partner.example, your parcel")
    body = b"https://forms.example/login?to=Canary%40partner.example\r\n"
    for said in (b"550 5.1.1 <canary@partner.example> unknown", b"451 4.2.0 <canary@partner.example> later"):
        hop.dot = said + b"\r\n"
        client.submit(A, b"canary@partner.example", text("pr-03", head=head, body=body))
    (waits,) = until(lambda: [row for row in house.rows("outbox", "list") if row["attempts"]])
    until(lambda: "later" in house.run("outbox", "show", waits["id"]).stdout)
    assert {"subject_names_recipient", "link_names_recipient"} <= set(waits["rules"])
    files = [path for path in house.folder.rglob("*") if path.is_file()]
    assert [path.name for path in files if b"canary" in path.read_bytes().lower()] == []
    hop.friendly()
    later(house, hop)
