from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ConfigError
from relay.notice import Kind, Notice, kind_of
from relay.notices.message import address, compose, payload, sign, signed
from relay.notices.templates import NAMES, Templates

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SHIPPED = Templates.load()
NOTICE = Notice(
    kind=Kind.DEACTIVATE,
    case_id="C-1",
    at=NOW,
    level="account",
    subject="shop@acme.example",
    customer="acme",
    state="deactivated",
    until=datetime(2026, 11, 22, 13, 0, tzinfo=UTC),
    reason="18 complaints of 2000 messages",
    lifts="sending comes back at 2026-11-22 13:00 UTC",
    set_by="policy",
    brand="Hosting Ltd",
    phone="+1 555 0100",
    numbers={"votes": 18, "relayed_to_reporters": 2000},
)


@pytest.mark.parametrize(
    ("before", "after", "evidence", "expected"),
    [
        ("active", "throttled", {"action": "throttle"}, Kind.THROTTLE),
        ("active", "deactivated", {"action": "deactivate"}, Kind.DEACTIVATE),
        ("throttled", "suspended", {}, Kind.SUSPEND),
        ("suspended", "active", {}, Kind.REINSTATE),
        ("deactivated", "active", {}, Kind.REINSTATE),
        ("active", "active", {"action": "warn"}, Kind.WARN),
        ("active", "throttled", {"action": "block_credential"}, Kind.BLOCK_CREDENTIAL),
        ("throttled", "throttled", {"action": "block_credential"}, Kind.BLOCK_CREDENTIAL),
        ("active", "active", {"action": "block_credential", "held_back": "observed"}, None),
        ("active", "throttled", {"action": "deactivate", "held_back": "breaker"}, Kind.THROTTLE),
        ("active", "closed", {}, None),
        ("active", "active", {}, None),
    ],
)
def test_what_a_case_is_to_its_customer(
    before: str, after: str, evidence: dict[str, str], expected: Kind | None
) -> None:
    assert kind_of(before, after, evidence) is expected


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.APPEAL])
@pytest.mark.parametrize("bare", [False, True])
def test_every_shipped_text_says_who_why_and_which_case(kind: Kind, *, bare: bool) -> None:
    notice = replace(NOTICE, kind=kind)
    if bare:
        notice = replace(notice, until=None, lifts="", brand="", phone="", set_by="", numbers={})
    for name in (str(kind), "staff"):
        subject, text = SHIPPED.render(name, notice)
        assert "shop@acme.example" in subject
        for words in ("shop@acme.example", "18 complaints of 2000 messages", "C-1"):
            assert words in text
        assert "{" not in text
        assert "None" not in text


def test_customers_see_brand_and_phone_and_staff_see_numbers() -> None:
    subject, text = SHIPPED.render("deactivate", NOTICE)
    assert subject == "Sending from shop@acme.example is switched off"
    assert "until 2026-11-22 13:00 UTC" in text
    assert "+1 555 0100" in text
    assert text.endswith("Hosting Ltd\n")
    assert "relayed_to_reporters" not in text
    assert "relayed_to_reporters = 2000" in SHIPPED.render("staff", NOTICE)[1]


def test_a_providers_own_text_replaces_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "warn.txt").write_text("Achtung: {{ subject }}\n\nGrund: {{ reason }}\n")
    own = Templates.load(tmp_path)
    assert own.render("warn", NOTICE) == (
        "Achtung: shop@acme.example",
        "Grund: 18 complaints of 2000 messages\n",
    )
    assert own.render("suspend", NOTICE) == SHIPPED.render("suspend", NOTICE)


def test_every_broken_text_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "warn.txt").write_text("Subject\n\n{{ nobody }}")
    (tmp_path / "suspend.txt").write_text("Subject\n\n{% if %}")
    (tmp_path / "staff.txt").write_text("only a subject")
    (tmp_path / "throttle.txt").write_bytes(b"\xff\n\xff")
    (tmp_path / "reinstate.txt").write_text("S\n{{ subject.__class__.__mro__ }}")
    with pytest.raises(ConfigError) as caught:
        Templates.load(tmp_path)
    names = {fault.path.rpartition("/")[2] for fault in caught.value.faults}
    assert names == {"warn.txt", "suspend.txt", "staff.txt", "throttle.txt", "reinstate.txt"}


def test_there_is_a_text_for_each_kind_and_one_for_staff() -> None:
    assert set(NAMES) == {"staff", *Kind} - {Kind.APPEAL}


def composed(notice: Notice = NOTICE, subject: str = "Hello", text: str = "line\n") -> bytes:
    return compose(
        notice,
        "customer",
        subject,
        text,
        sender="gate@provider.example",
        recipients=["a@acme.example"],
        now=NOW,
    )


def test_a_mail_has_what_a_program_needs_to_leave_it_alone_and_to_know_it_again() -> None:
    mail = message_from_bytes(composed(), policy=policy.default)
    assert mail["From"] == "Hosting Ltd <gate@provider.example>"
    assert mail["To"] == "a@acme.example"
    assert mail["Message-ID"] == "<C-1.deactivate.customer@provider.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"] == "Sun, 22 Nov 2026 12:00:00 +0000"
    assert mail.get_content().splitlines() == ["line"]
    assert composed() == composed()


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=500))
def test_nothing_that_a_customer_wrote_makes_a_header_or_a_bare_line_end(
    brand: str, subject: str, text: str
) -> None:
    raw = composed(replace(NOTICE, brand=brand), subject, text)
    head, _, _ = raw.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in (b" ", b"\t")]
    assert sorted(names) == sorted(
        [
            b"From",
            b"To",
            b"Subject",
            b"Date",
            b"Message-ID",
            b"Auto-Submitted",
            b"MIME-Version",
            b"Content-Type",
            b"Content-Transfer-Encoding",
        ]
    )
    assert b"\r" not in raw.replace(b"\r\n", b"")
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert raw.isascii()


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("ops@acme.example", True),
        ("", False),
        ("Ops <ops@acme.example>", False),
        ("a@b, c@d", False),
        ("a@b\r\nBcc: c@d", False),
        ("a b@c", False),
    ],
)
def test_only_a_plain_address_is_written_to(text: str, *, plain: bool) -> None:
    assert address(text) == (text if plain else "")


def test_the_json_of_a_webhook_is_versioned() -> None:
    assert json.loads(payload(NOTICE)) == {
        "version": 1,
        "kind": "deactivate",
        "case_id": "C-1",
        "at": "2026-11-22T12:00:00+00:00",
        "level": "account",
        "subject": "shop@acme.example",
        "customer": "acme",
        "state": "deactivated",
        "until": "2026-11-22T13:00:00+00:00",
        "reason": "18 complaints of 2000 messages",
        "lifts": "sending comes back at 2026-11-22 13:00 UTC",
        "clause": "",
        "set_by": "policy",
        "numbers": {"votes": 18, "relayed_to_reporters": 2000},
    }
    assert json.loads(payload(replace(NOTICE, until=None)))["until"] is None


def test_a_signature_is_of_this_body_this_secret_and_these_five_minutes() -> None:
    secret, body = b"s" * 16, payload(NOTICE)
    signature = sign(secret, body, 1000)
    assert signature.startswith("t=1000,v1=")
    for seconds, good in ((1000, True), (1300, True), (1301, False), (700, True), (699, False)):
        assert signed(secret, body, signature, seconds) is good
    assert not signed(b"t" * 16, body, signature, 1000)
    assert not signed(secret, body + b" ", signature, 1000)
    assert not signed(secret, body, signature.replace("t=1000", "t=1001"), 1000)
    assert not signed(secret, body, "t=1000,v1=", 1000)
    assert not signed(secret, body, "", 1000)
