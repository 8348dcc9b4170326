"""Known attacks and broken networks against the real daemon, screening and signing on, from both ends.

Each test names the case of the catalogue that it is about.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import signal
import smtplib
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.service.harness import Relay, until
from tests.service.wire import Client, NextHop

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.service

LOGIN, A, B, BOB = "alice@acme.example", b"alice@acme.example", b"bruno@other.example", b"bob@partner.example"
CAROL = b"carol@partner.example"
HEAD = b"From: Alice <alice@acme.example>\r\nTo: Bob <bob@partner.example>\r\nSubject: Thursday\r\n"
DATE = b"Date: Mon, 16 Nov 2026 09:00:00 +0000\r\nMIME-Version: 1.0\r\n"
NUMBERS = itertools.count()
BODY = b"Hello Bob,\r\n\r\nsee you on Thursday at the usual place.\r\n\r\nAlice\r\n"


def text(case: str, *, head: bytes = HEAD, body: bytes = BODY) -> bytes:
    """Return an ordinary message with a Message-ID of its own."""
    number = next(NUMBERS)
    return head + DATE + b"Message-ID: <%s-%d@acme.example>\r\n\r\n" % (case.encode(), number) + body


@pytest.fixture(scope="module")
def hop() -> Iterator[NextHop]:
    server = NextHop()
    server.up()
    yield server
    server.down()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, hop: NextHop) -> Iterator[Relay]:
    with Relay(tmp_path_factory.mktemp("house")) as running:
        running.init()
        running.configure("limits", 'message_size = "1 MiB"')
        running.run("customer", "add", "acme", "--server", f"127.0.0.1:{hop.port}")
        running.run("customer", "add", "other", "--server", f"127.0.0.1:{hop.port}")
        running.account(LOGIN, "acme", "--sender", LOGIN, "--sender", "@acme.example")
        running.account(B.decode(), "other")
        yield running.start()


@pytest.fixture(autouse=True)
def _friendly(hop: NextHop) -> None:
    hop.friendly()


@pytest.fixture
def client(house: Relay) -> Iterator[Client]:
    with Client(house, LOGIN) as made:
        yield made


def quiet(house: Relay, hop: NextHop, copies: int) -> None:
    """Nothing is on its way any more, and the next message overtakes nothing."""
    with Client(house, LOGIN) as after:
        mark = b"mark-%d" % time.monotonic_ns()
        assert after.submit(A, BOB, text(mark.decode())).startswith(b"250")
    until(lambda: any(mark in one.raw for one in list(hop.messages)), seconds=20)
    assert len([one for one in hop.messages if b"<mark-" not in one.raw]) == copies


def waiting(house: Relay) -> list[str]:
    return [row["id"] for row in house.rows("outbox", "list")]


# --- DU: what was promised, and no more than that


@pytest.mark.parametrize("cut", range(4))
def test_du_01_a_client_that_goes_before_the_dot_sent_nothing(house: Relay, hop: NextHop, cut: int) -> None:
    client = Client(house, LOGIN)
    if cut:
        client.envelope(A, BOB)
    if cut > 1:
        assert client.say(b"DATA").startswith(b"354")
        client.send(text("du-01") + (b"." if cut > 2 else b""))
    client.reset()
    quiet(house, hop, 0)


@pytest.mark.parametrize("milliseconds", [0, 2, 6, 12, 18])
def test_du_02_a_client_that_goes_after_the_dot_sent_once_and_its_retry_is_the_same(
    house: Relay, hop: NextHop, milliseconds: int
) -> None:
    raw = text(f"du-02-{milliseconds}")
    client = Client(house, LOGIN)
    client.envelope(A, BOB)
    assert client.say(b"DATA").startswith(b"354")
    client.send(raw + b".\r\n")
    time.sleep(milliseconds / 1000)
    client.reset()
    quiet(house, hop, 1)
    with Client(house, LOGIN) as again:
        assert again.submit(A, BOB, raw).startswith(b"250")
    quiet(house, hop, 1)


def test_a_deliberate_resend_after_a_heard_250_is_a_new_message(
    client: Client, house: Relay, hop: NextHop
) -> None:
    raw = text("resend")
    for _ in range(2):
        assert client.submit(A, BOB, raw).startswith(b"250")
        assert client.say(b"NOOP").startswith(b"250")
    assert client.say(b"QUIT").startswith(b"221")
    quiet(house, hop, 2)


def test_du_03_a_client_that_says_quit_behind_its_dot_waits_for_a_slow_server(
    client: Client, hop: NextHop
) -> None:
    hop.dot_seconds = 3.0
    client.envelope(A, BOB)
    assert client.say(b"DATA").startswith(b"354")
    client.send(text("du-03") + b".\r\nQUIT\r\n")
    assert client.reply().startswith(b"250")
    assert client.reply().startswith(b"221")
    assert len(hop.messages) == 1


def test_du_04_good_recipients_get_the_mail_that_others_cannot(client: Client, hop: NextHop) -> None:
    hop.rcpt[CAROL] = b"550 5.1.1 no such user\r\n"
    replies = client.envelope(A, CAROL, BOB)
    assert [reply[:3] for reply in replies] == [b"250", b"550", b"250"]
    assert client.text(text("du-04")).startswith(b"250")
    assert [one.rcpts for one in hop.messages] == [(BOB,)]


def test_du_05_a_refused_dot_is_refused_and_tried_once(client: Client, house: Relay, hop: NextHop) -> None:
    hop.dot = b"550 5.7.1 not here\r\n"
    assert client.submit(A, BOB, text("du-05")).startswith(b"550 5.7.1")
    hop.dot = b"250 ok\r\n"
    assert hop.dots == 1
    quiet(house, hop, 0)


def later(house: Relay, hop: NextHop, number: int = 1) -> None:
    """What waits arrives, once."""
    house.run("outbox", "retry", "--all")
    until(lambda: len(hop.messages) >= number and not waiting(house))
    quiet(house, hop, number)


def test_du_06_a_dot_put_off_is_promised_and_arrives_once(client: Client, house: Relay, hop: NextHop) -> None:
    hop.dot = b"451 4.3.0 later\r\n"
    assert client.submit(A, BOB, text("du-06")).startswith(b"250")
    hop.dot = b"250 ok\r\n"
    later(house, hop)


def test_du_07_a_server_that_hangs_up_after_the_dot_gets_it_again_later(
    client: Client, house: Relay, hop: NextHop
) -> None:
    hop.hang_up_after_dot = True
    assert client.submit(A, BOB, text("du-07")).startswith(b"250")
    hop.hang_up_after_dot = False
    later(house, hop)


def test_du_08_a_recipient_put_off_is_promised_and_gets_one_copy(
    client: Client, house: Relay, hop: NextHop
) -> None:
    hop.rcpt[BOB] = b"450 4.2.0 greylisted\r\n"
    assert client.submit(A, BOB, text("du-08")).startswith(b"250")
    hop.rcpt.clear()
    later(house, hop)


def test_du_09_mail_for_a_server_that_is_down_arrives_once_when_it_is_up(
    client: Client, house: Relay, hop: NextHop
) -> None:
    hop.down()
    try:
        assert client.submit(A, BOB, text("du-09")).startswith(b"250")
        assert client.submit(A, BOB, text("du-09-second")).startswith(b"250")
    finally:
        hop.up()
    later(house, hop, 2)


def test_what_the_client_asked_for_outlives_the_wait(client: Client, house: Relay, hop: NextHop) -> None:
    """SMTPUTF8, BODY and the parameters of RFC 3461 are said to the server as the client said them."""
    hop.offers = (*hop.offers, b"DSN")
    raw = text("asked", head="From: Ålice <alice@acme.example>\r\nSubject: Thürsday\r\n".encode())
    hop.down()
    try:
        mail = b"MAIL FROM:<%s> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=order+2B7" % A
        assert client.say(mail).startswith(b"250")
        rcpt = "RCPT TO:<bób@partner.example> NOTIFY=SUCCESS,DELAY ORCPT=utf-8;bób@old.example".encode()
        assert client.say(rcpt).startswith(b"250")
        assert client.say(b"RCPT TO:<%s> NOTIFY=NEVER" % CAROL).startswith(b"250")
        assert client.text(raw).startswith(b"250")
    finally:
        hop.up()
    hop.commands.clear()
    later(house, hop)
    said = [line.strip() for line in hop.commands]
    mail = next(line for line in said if line.startswith(b"MAIL"))
    assert set(mail.split()[2:]) >= {b"BODY=8BITMIME", b"SMTPUTF8", b"RET=HDRS", b"ENVID=order+2B7"}
    bob, carol, *_ = (line.split()[1:] for line in said if line.startswith(b"RCPT"))
    assert bob[0] == "TO:<bób@partner.example>".encode()
    assert set(bob[1:]) == {b"NOTIFY=SUCCESS,DELAY", "ORCPT=utf-8;bób@old.example".encode()}
    assert carol == [b"TO:<%s>" % CAROL, b"NOTIFY=NEVER"]


REPLY = re.compile(rb"(?:[2-5][0-9][0-9][ -][\x20-\x7e]*\r\n)+")


@pytest.mark.parametrize(
    "said",
    [
        b"550 5.7.1 \x1b[31mno\x00 \x0c\x80 " + b"x" * 3000 + b"\r\n",
        b"".join(b"550-5.7.1 line %d\r\n" % number for number in range(50)) + b"550 5.7.1 end\r\n",
    ],
    ids=["control", "many lines"],
)
def test_du_10_hostile_words_of_a_server_are_made_harmless(client: Client, hop: NextHop, said: bytes) -> None:
    hop.dot = said
    answer = client.submit(A, BOB, text("du-10"))
    assert answer.startswith(b"550")
    assert REPLY.fullmatch(answer)
    assert max(len(line) for line in answer.splitlines(keepends=True)) <= 512


@pytest.mark.parametrize("said", [b"250\r\n", b"200 fine\r\n", b"251 ok\r\n", b"299 9.9.9 well\r\n"])
def test_du_10_every_yes_to_the_dot_is_250(client: Client, house: Relay, hop: NextHop, said: bytes) -> None:
    hop.dot = said
    assert client.submit(A, BOB, text("du-10-yes")).startswith(b"250 ")
    assert len(hop.messages) == 1
    assert waiting(house) == []


@pytest.mark.parametrize("said", [b"354 go\r\n", b"999 what\r\n", b"garbage\r\n"])
def test_du_10_nonsense_after_the_dot_is_no_yes(
    client: Client, house: Relay, hop: NextHop, said: bytes
) -> None:
    hop.dot = said
    assert client.submit(A, BOB, text("du-10-no")).startswith(b"250")
    assert hop.messages == []
    hop.dot = b"250 ok\r\n"
    later(house, hop)


@pytest.mark.parametrize(
    ("said", "codes"), [(b"251 will forward\r\n", b"250 251"), (b"221 bye\r\n", b"250 451"),
                        (b"354 go\r\n", b"451"), (b"334 what\r\n", b"451")],
)  # fmt: skip
def test_du_10_an_answer_out_of_place_to_rcpt_is_none_of_the_clients_business(
    client: Client, hop: NextHop, said: bytes, codes: bytes
) -> None:
    hop.rcpt[BOB] = said
    assert client.envelope(A, BOB)[1][:3] in codes.split()
    assert client.say(b"RSET").startswith(b"250")


# --- FR: framing and syntax


def test_fr_17_and_18_dots_and_long_lines_arrive_byte_for_byte(client: Client, hop: NextHop) -> None:
    lines = [b".", b".x", b"..", b". ", b"", b"." * 900, b"y" * 998, b"." + b"z" * 997, b"end"]
    body = b"\r\n".join(lines) + b"\r\n"
    stuffed = b"".join(b"." * line.startswith(b".") + line + b"\r\n" for line in lines)
    assert client.submit(A, BOB, text("fr-17", body=stuffed)).startswith(b"250")
    assert hop.messages[0].body == body


@pytest.mark.parametrize(
    "raw",
    [
        text("fr-20", head=b"X-A: one\rX-Injected: y\r\n" + HEAD),
        text("fr-21", head=b"X-A: one\nX-Injected: y\r\n" + HEAD),
        text("fr-22", head=b"X-A: o\x00ne\r\n" + HEAD),
        text("fr-22", body=b"one\x00two\r\n"),
        text("fr-48", head=b" X-Glued: y\r\n" + HEAD),
        text("fr-49", head=b"".join(b"Received: from a by b; %d\r\n" % n for n in range(120)) + HEAD),
        text("fr-50", head=HEAD + b"From: <alice@acme.example>\r\n"),
    ],
    ids=["fr-20 CR", "fr-21 LF", "fr-22 header", "fr-22 body", "fr-48", "fr-49", "fr-50"],
)
def test_fr_20_to_50_a_broken_message_is_refused_and_the_session_goes_on(
    client: Client, house: Relay, hop: NextHop, raw: bytes
) -> None:
    assert re.match(rb"55[04] 5", client.submit(A, BOB, raw))
    assert client.submit(A, BOB, text("fr-after")).startswith(b"250")
    quiet(house, hop, 1)


def test_fr_35_too_much_is_refused_and_the_session_goes_on(
    client: Client, house: Relay, hop: NextHop
) -> None:
    body = (b"x" * 70 + b"\r\n") * 16000
    assert client.submit(A, BOB, text("fr-35", body=body)).startswith(b"552")
    assert client.say(b"NOOP").startswith(b"250")
    quiet(house, hop, 0)


def test_fr_37_chunks_arrive_as_they_were_sent(client: Client, hop: NextHop) -> None:
    raw = text("fr-37", body=b"one\r\n.\r\n..two\r\n")
    client.envelope(A, BOB)
    client.send(b"BDAT 30\r\n" + raw[:30] + b"BDAT %d LAST\r\n" % (len(raw) - 30) + raw[30:])
    assert client.reply().startswith(b"250")
    assert client.reply().startswith(b"250")
    assert hop.messages[0].body == b"one\r\n.\r\n..two\r\n"


def test_fr_44_a_session_in_one_segment_is_answered_in_order(client: Client, hop: NextHop) -> None:
    first = b"MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n" % (A, BOB)
    client.send(first + text("fr-44") + b".\r\nMAIL FROM:<%s>\r\nRSET\r\nQUIT\r\n" % A)
    codes = [client.reply()[:3] for _ in range(7)]
    assert codes == [b"250", b"250", b"354", b"250", b"250", b"250", b"221"]
    assert len(hop.messages) == 1


def test_fr_46_a_quoted_local_part_is_the_same_at_the_next_hop_or_refused(
    client: Client, hop: NextHop
) -> None:
    odd = b'"victim@partner.example x"@acme.example'
    if client.submit(A, odd, text("fr-46")).startswith(b"250"):
        assert hop.messages[0].rcpts == (odd,)


def test_fr_47_a_source_route_is_refused_or_stripped(client: Client, hop: NextHop) -> None:
    if client.submit(A, b"@evil.example,@b.example:bob@partner.example", text("fr-47")).startswith(b"250"):
        assert hop.messages[0].rcpts == (BOB,)


def test_fr_51_the_next_hop_never_sees_control_characters_in_a_command(client: Client, hop: NextHop) -> None:
    for address in (b"bob\x00@partner.example", b"bob\x0b@partner.example", b"bob\x1b@partner.example"):
        with contextlib.suppress(OSError):
            client.say(b"RCPT TO:<%s>" % address)
    assert all(line.endswith(b"\r\n") and line[:-2].isascii() for line in hop.commands)
    assert not any(re.search(rb"[\x00-\x1f\x7f]", line[:-2]) for line in hop.commands)


@pytest.mark.parametrize(
    "raw",
    [HEAD, BODY, b"\r\n", b"", b"\r\n" + BODY, HEAD + b"\r\n"],
    ids=["headers only", "body only", "one line end", "nothing", "no header", "no body"],
)
def test_fr_58_a_fragment_is_refused_or_arrives_once(
    client: Client, house: Relay, hop: NextHop, raw: bytes
) -> None:
    answer = client.submit(A, BOB, raw)
    assert answer[:1] in b"25"
    assert client.say(b"NOOP").startswith(b"250")
    held = b"Held until" in answer
    quiet(house, hop, 1 if answer.startswith(b"2") and not held else 0)


def test_fr_57_text_in_eight_bits_never_goes_raw_to_a_server_of_seven(house: Relay, hop: NextHop) -> None:
    hop.offers = (b"PIPELINING",)
    hop.down()  # what is pooled knows the old offers
    hop.up()
    body = "Grüße aus Köln, bis Donnerstag.\r\n".encode()
    head = HEAD + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    with Client(house, LOGIN) as client:
        client.say(b"NOOP")
        client.submit(A, BOB, text("fr-57", head=head, body=body))
        assert all(one.raw.isascii() for one in hop.messages)
        hop.friendly()
        hop.down()  # and what is pooled now must not teach the next test that it takes seven bits only
        hop.up()
        assert client.submit(A, BOB, text("fr-57-after")).startswith(b"250")


# --- PD: headers that two readers read differently


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


# --- the configuration, read again


def reload(house: Relay) -> dict[str, Any]:
    assert house.process is not None
    before = len(house.events("config_reloaded"))
    house.process.send_signal(signal.SIGHUP)
    until(lambda: len(house.events("config_reloaded")) > before)
    return house.events("config_reloaded")[-1]


def reports_taken(house: Relay, address: str) -> int:
    with smtplib.SMTP(*house.address("feedback"), timeout=20) as reporter:
        reporter.helo("isp.example")
        reporter.mail("fbl@isp.example")
        return reporter.rcpt(address)[0]


def test_cg_13_a_reload_reaches_the_feedback_door_and_names_what_needs_a_restart(
    client: Client, house: Relay, hop: NextHop
) -> None:
    good = house.config.read_text()
    try:
        assert reports_taken(house, "new@relay.example") == 550
        house.config.write_text(re.sub(r"(?m)^addresses = \[", 'addresses = ["new@relay.example", ', good))
        assert reload(house)["ok"]
        assert reports_taken(house, "new@relay.example") == 250
        house.config.write_text(good.replace("[upstream]\n", "[upstream]\nconnections_per_server = 3\n"))
        told = reload(house)
        assert not told["ok"]
        assert "upstream" in str(told["faults"])
        assert "restart" in str(told["faults"])
        assert reports_taken(house, "new@relay.example") == 250
    finally:
        house.config.write_text(good)
        reload(house)
    assert client.submit(A, BOB, text("cg-13")).startswith(b"250")
    quiet(house, hop, 1)


# --- the end


def test_du_33_a_message_in_flight_ends_well_before_the_daemon_does(house: Relay, hop: NextHop) -> None:
    idle, busy = Client(house, LOGIN), Client(house, LOGIN)
    hop.dot_seconds = 2.0
    busy.envelope(A, BOB)
    assert busy.say(b"DATA").startswith(b"354")
    busy.send(text("du-33") + b".\r\n")
    until(lambda: hop.dots)
    codes: list[int] = []
    ending = threading.Thread(target=lambda: codes.append(house.stop()))
    ending.start()
    assert idle.reply().startswith(b"421 4.3.2")
    assert busy.reply().startswith(b"250")
    ending.join(60)
    assert codes == [0]
    assert len(hop.messages) == 1
    idle.close()
    busy.close()
    house.start()
    quiet(house, hop, 1)
