"""DU: what was promised, and no more than that."""

from __future__ import annotations

import re
import threading
import time

import pytest

from tests.service.catalogue.letters import BOB, CAROL, LOGIN, A, later, quiet, text, waiting
from tests.service.harness import PATIENCE_SECONDS, Relay, until
from tests.service.wire import Client, NextHop

pytestmark = pytest.mark.service


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
                        (b"354 go\r\n", b"250"), (b"334 what\r\n", b"250")],
)  # fmt: skip
def test_du_10_an_answer_out_of_place_to_rcpt_is_none_of_the_clients_business(
    client: Client, hop: NextHop, said: bytes, codes: bytes
) -> None:
    hop.rcpt[BOB] = said
    assert client.envelope(A, BOB)[1][:3] in codes.split()
    assert client.say(b"RSET").startswith(b"250")


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
    ending.join(PATIENCE_SECONDS)
    assert codes == [0]
    assert len(hop.messages) == 1
    idle.close()
    busy.close()
    house.start()
    quiet(house, hop, 1)
