"""The small parts: replies, content, connections, failures, and what we lean on in aiosmtpd."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest
from aiosmtpd.smtp import SMTP
from hypothesis import given
from hypothesis import strategies as st

from relay.config import Limits
from relay.smtp import auth
from relay.smtp import reply as replies
from relay.smtp.auth import Failures, Login
from relay.smtp.connections import Connections, Networks, Slot, client_class
from relay.smtp.content import SPILL_OCTETS, Content
from relay.smtp.reply import Reply, make, wire
from relay.smtp.server import SmtpServer

if TYPE_CHECKING:
    from pathlib import Path

TABLE = {name: value for name, value in vars(replies).items() if isinstance(value, Reply)}


@pytest.mark.parametrize("name", TABLE)
def test_the_table_of_replies_is_fit_to_read(name: str) -> None:
    reply = TABLE[name]
    assert reply.text == replies.clean(reply.text)
    assert re.fullmatch(r"\d\.\d{1,2}", reply.detail) or (reply.code == 354 and not reply.detail)
    assert wire(reply).endswith(b"\r\n")
    assert len(wire(reply)) <= 512
    assert reply.text[0].isupper()


def test_a_reply_knows_its_class() -> None:
    assert (replies.DONE.status, replies.DONE.ok, replies.DONE.temporary) == ("2.0.0", True, False)
    assert (replies.BUG.status, replies.BUG.ok, replies.BUG.temporary) == ("4.3.0", False, True)
    assert replies.START_DATA.status == ""


@given(st.integers(200, 599), st.sampled_from(["", "7.1"]), st.text(max_size=4000))
def test_any_text_becomes_a_lawful_reply(code: int, detail: str, text: str) -> None:
    for reply in (make(code, detail, text), Reply(code, detail, text)):
        lines = wire(reply).split(b"\r\n")
        assert lines.pop() == b""
        assert all(len(line) <= 510 and re.fullmatch(rb"[2-5]\d\d(-| |$)[ -~]*", line) for line in lines)
        assert [line[3:4] == b"-" for line in lines] == [True] * (len(lines) - 1) + [False]


def test_long_text_is_wrapped_between_words() -> None:
    words = " ".join(["word"] * 300)
    lines = wire(make(550, "7.1", words)).decode().splitlines()
    assert len(lines) > 1
    assert all(line[:4] == "550-" for line in lines[:-1])
    assert " ".join(line[10:] for line in lines) == words[:1400].strip()


def test_content_in_memory_and_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    content = Content()
    assert content.read() == content.head() == b""
    content.write(b"a" * SPILL_OCTETS)
    assert not content.spilled
    assert not content.eight_bit
    content.write(b"\xe9")
    content.write(b"z")
    assert content.spilled
    assert content.eight_bit
    assert content.size == SPILL_OCTETS + 2
    assert content.read() == content.read() == b"a" * SPILL_OCTETS + b"\xe9z"
    assert content.head() == content.read()[: SPILL_OCTETS + 4]
    assert list(tmp_path.iterdir()) == []
    content.close()
    content.close()


FULL_DISK = """
import resource, sys
from pathlib import Path
from relay.smtp.content import Content
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
content = Content(Path(sys.argv[1]))
content.write(b"x" * 270_000)
try:
    content.write(b"y" * 50_000)
except OSError:
    print("full")
"""


def test_du_22_a_piece_that_the_disk_takes_only_in_part_is_no_message(tmp_path: Path) -> None:
    """The system writes what it can and reports no error: the next write would, but there is none."""
    told = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert told.stdout == "full\n"


def test_clients_are_addresses_or_64s() -> None:
    assert client_class("192.0.2.1") == client_class("::ffff:192.0.2.1") == "192.0.2.1"
    assert (
        client_class("2001:db8:1:2::1")
        == client_class("2001:db8:1:2:ffff::9")
        != client_class("2001:db8:1:3::1")
    )
    networks = Networks(("192.0.2.0/24", "2001:db8::/32"))
    assert "192.0.2.9" in networks
    assert "::ffff:192.0.2.9" in networks
    assert "2001:db8::1" in networks
    assert "198.51.100.1" not in networks
    assert "192.0.2.1" not in Networks(())


def test_a_64_is_one_client() -> None:
    connections = Connections(Limits(connections_per_client=2))
    slots = [connections.enter(f"2001:db8::{number}", 0.0) for number in range(3)]
    assert [isinstance(slot, Slot) for slot in slots] == [True, True, False]
    assert isinstance(connections.enter("2001:db8:0:1::1", 0.0), Slot)


@pytest.mark.parametrize(
    ("limits", "connections", "asked"),
    [
        ((256, 256), 128, 256),
        ((1024, 4096), 3596, 4096),
        ((1024, 10**6), 20000, 20500),
        ((1024, resource.RLIM_INFINITY), 20000, 20500),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 20000, None),
        ((10**5, 10**5), 20000, None),
    ],
)
def test_the_process_never_runs_out_of_files(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], connections: int, asked: int | None
) -> None:
    wanted: list[int] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: wanted.append(pair[0]))
    assert Connections(Limits(connections=20000)).most == connections
    assert wanted == ([asked] if asked else [])


def test_connections_per_minute_are_paid_back_by_logins() -> None:
    connections = Connections(Limits(connections_per_minute=10))
    for turn in range(50):
        slot = connections.enter("192.0.2.1", turn * 0.01)
        assert isinstance(slot, Slot)
        assert connections.log_in(slot, "a@example.org") is None
        connections.leave(slot)
    assert connections.open == 0
    refused = [connections.enter("192.0.2.2", 0.0) for _ in range(12)]
    assert [isinstance(slot, Slot) for slot in refused] == [True] * 10 + [False] * 2
    assert isinstance(connections.enter("192.0.2.2", 7.0), Slot)
    assert connections.enter("192.0.2.2", 7.0) is replies.CONNECTING_TOO_FAST


def test_failures_fade() -> None:
    failures = Failures(3)
    for number in range(3):
        assert not failures.blocked("192.0.2.1", "a", 0.0)
        failures.failed("192.0.2.1", "a", f"wrong {number}", 0.0)
    assert failures.blocked("192.0.2.1", "b", 899.0)
    assert not failures.blocked("192.0.2.1", "b", 901.0)
    assert not failures.blocked("192.0.2.2", "a", 0.0)


def test_a_known_login_has_a_count_of_its_own() -> None:
    failures = Failures(3)
    failures.succeeded("192.0.2.1", "owner", 0.0)
    for number in range(5):
        failures.failed("192.0.2.1", "stranger", f"wrong {number}", 1.0)
    assert failures.blocked("192.0.2.1", "stranger", 2.0)
    assert not failures.blocked("192.0.2.1", "owner", 2.0)
    for number in range(3):
        failures.failed("192.0.2.1", "owner", f"wrong {number}", 3.0)
    assert failures.blocked("192.0.2.1", "owner", 4.0)
    failures.succeeded("192.0.2.1", "owner", 5.0)
    assert not failures.blocked("192.0.2.1", "owner", 6.0)


def test_a_success_forgives_what_the_owner_mistyped() -> None:
    failures = Failures(3)
    for number in range(2):
        failures.failed("192.0.2.1", "owner", f"wrong {number}", 0.0)
    failures.succeeded("192.0.2.1", "owner", 1.0)
    failures.failed("192.0.2.1", "other", "wrong", 2.0)
    assert not failures.blocked("192.0.2.1", "third", 3.0)


def test_au_12_a_login_guessed_at_from_everywhere_is_slow_for_strangers_only() -> None:
    failures = Failures(10)
    failures.succeeded("192.0.2.1", "owner", 0.0)
    assert failures.delay("198.51.100.1", "owner", 0.0) == 0.0
    for number in range(1000):
        failures.failed(f"10.0.{number >> 8}.{number & 255}", "owner", f"guess {number}", 1.0)
    assert failures.delay("198.51.100.1", "owner", 2.0) == 2.0
    assert failures.delay("192.0.2.1", "owner", 2.0) == 0.0
    assert failures.delay("198.51.100.1", "owner", 2000.0) == 0.0
    assert not failures.blocked("192.0.2.1", "owner", 2.0)


def test_au_12_the_alarm_is_sounded_once() -> None:
    failures = Failures(10)
    alarms = [failures.failed(f"10.0.0.{n}", "owner", f"guess {n}", float(n)) for n in range(200)]
    assert alarms == [False] * 10 + [True] + [False] * 189
    assert not failures.failed("10.0.1.1", "owner", "late", 909.0)
    assert failures.failed("10.0.1.1", "owner", "later", 911.0)
    assert not any(failures.failed(f"10.0.0.{n}", "other", "the same", float(n)) for n in range(200))


@given(st.binary(max_size=60))
def test_sasl_plain_never_lets_a_strange_name_through(response: bytes) -> None:
    found = auth.plain(response)
    if isinstance(found, Login):
        assert found.login.isprintable()
        assert " " not in found.login
        assert response.count(b"\0") == 2


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Login("a", "secret"))


def test_no_command_of_aiosmtpd_is_left_as_it_was() -> None:
    """A new version of the library with a new or renamed command, or one less, fails here."""
    theirs = {name for name in dir(SMTP) if name.startswith("smtp_")}
    ours = {name for name in dir(SmtpServer) if name.startswith("smtp_")}
    assert ours - theirs == {"smtp_BDAT"}
    for name in ours:
        assert getattr(SmtpServer, name) is not getattr(SMTP, name, None), name
    for name in (
        "connection_made",
        "connection_lost",
        "eof_received",
        "push",
        "_handle_client",
        "__init__",
        "__del__",
    ):
        assert getattr(SmtpServer, name) is not getattr(SMTP, name), name
    assert set(SmtpServer.commands) == {name[5:].encode() for name in ours}
