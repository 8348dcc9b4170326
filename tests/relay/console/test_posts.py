"""Posts of strangers: signed reports (CASES CF-11, CF-12) and one-click unsubscriptions (CF-16)."""

from __future__ import annotations

import base64
import gzip
import hmac
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from relay.config import FeedbackConfig, FeedbackSource
from relay.errors import StoreError
from relay.feedback import signed
from relay.feedback.intake import Intake, Outcome
from relay.ids import message_id
from relay.signing import token
from relay.signing.token import Token
from relay.store import complaints, reporters, suppression

if TYPE_CHECKING:
    from tests.relay.console.conftest import World

SECRET = b"0123456789abcdef0123456789abcdef"
LOGIN = "anna@acme.example"


class Post:
    """A provider's program: signs what it posts; every part can be got wrong."""

    def __init__(self, world: World) -> None:
        self.world = world
        (world.folder / "secret").write_bytes(SECRET + b"\n")
        source = FeedbackSource(reporter="loop.example", secret_file=Path("secret"))
        feedback = FeedbackConfig(sources={"loop": source})
        world.config = world.config.model_copy(update={"feedback": feedback, "folder": world.folder})
        intake = Intake(world.config, world.store, world.keyring, None)
        self.client = world.client(world.app(intake))
        with world.store.begin() as tx:
            reporters.add(tx, world.now, "loop.example", covers=("a.example",))
        self.number = 0

    def __call__(
        self,
        body: bytes,
        *,
        age: int = 0,
        number: str = "",
        secret: bytes = SECRET,
        to: str = "loop",
        said: bytes | None = None,
        **header: str,
    ) -> int:
        self.number += 1
        at = int(self.world.now.timestamp()) - age
        field = signed.sign(secret, body if said is None else said, at, number or f"number-{self.number:016}")
        headers = {"gatepost-signature": field, "content-type": "message/rfc822"}
        headers |= {name.replace("_", "-"): value for name, value in header.items()}
        return int(self.client.post(f"/feedback/{to}", content=body, headers=headers).status_code)


@pytest.fixture
def post(world: World) -> Post:
    return Post(world)


def sent(world: World, purpose: str = token.FEEDBACK) -> str:
    account = world.account(LOGIN)
    hashed = world.keyring.recipient_hash(account.customer.id, "ann@a.example")
    said = Token(account.id, message_id(world.now), world.now, 1, hashed)
    return token.seal(world.keyring, said, purpose)


def arf(text: str) -> bytes:
    return (
        "From: fbl@elsewhere.example\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\n"
        "Content-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nVersion: 1\r\n\r\n--b\r\n"
        f"Content-Type: message/rfc822\r\n\r\nCFBL-Feedback-ID: {text}\r\n\r\nx\r\n--b--\r\n"
    ).encode()


def votes(world: World) -> dict[str, int]:
    with world.store.read() as tx:
        return complaints.votes(tx, world.account(LOGIN).id, world.now.replace(year=2020)).by_reporter


def test_a_signed_report_votes_for_the_reporter_of_its_source(world: World, post: Post) -> None:
    assert post(arf(sent(world))) == 200
    assert post(gzip.compress(arf(sent(world))), content_encoding="gzip") == 200
    assert votes(world) == {"loop.example": 2}


def test_xarf_is_taken_too(post: Post) -> None:
    claim: dict[str, Any] = {
        "xarf_version": "4.0.0", "report_id": "1", "timestamp": "2026-11-22T12:00:00Z", "type": "spam",
        "category": "messaging", "source_identifier": "192.0.2.1", "reporter": {"org": "Loop"},
        "evidence": [{"content_type": "message/rfc822", "payload": "eA=="}],
    }  # fmt: skip
    assert post(json.dumps(claim).encode(), content_type="application/json; charset=utf-8") == 200


def standard(
    post: Post, body: bytes, *, said: bytes | None = None, secret: bytes = SECRET, age: int = 0,
    number: str = "msg_1", stamp: str = "", signature: str = "",
) -> int:  # fmt: skip
    """Post with the fields of Standard Webhooks."""
    at = int(post.world.now.timestamp()) - age
    text = f"{number}.{at}.".encode() + (body if said is None else said)
    made = base64.b64encode(hmac.new(secret, text, "sha256").digest()).decode()
    right = {
        "webhook-id": number, "webhook-timestamp": stamp or str(at),
        "webhook-signature": signature or f"v1,bm8= v1a,x v1,{made}",
        "content-type": "message/rfc822",
    }  # fmt: skip
    return int(post.client.post("/feedback/loop", content=body, headers=right).status_code)


@pytest.mark.parametrize("written", [SECRET, b"whsec_" + base64.b64encode(SECRET)])
def test_standard_webhooks_are_taken_once(world: World, post: Post, written: bytes) -> None:
    (world.folder / "secret").write_bytes(written)
    body = arf(sent(world))
    assert standard(post, body) == 200
    assert standard(post, body) == 401, "a replay"
    assert standard(post, body, age=1) == 200, "the provider tries again"
    assert votes(world) == {"loop.example": 1}
    wrong = [
        standard(post, body, said=b"other", number="2"),
        standard(post, body, secret=b"another secret of the kind", number="3"),
        standard(post, body, age=301, number="4"),
        standard(post, body, age=-301, number="5"),
        standard(post, body, number="6", stamp="x"),
        standard(post, body, number="a b"),
        standard(post, body, number="7", signature="v1"),
    ]
    assert wrong == [401] * len(wrong)


@pytest.mark.parametrize(
    "written", [b"whsec_" + b"?" * 32, b"whsec_" + b"?" * 28 + b"AA==", b"whsec_c2hvcnQ="]
)
def test_what_only_looks_like_a_secret_is_none(world: World, post: Post, written: bytes) -> None:
    (world.folder / "secret").write_bytes(written)
    body = arf(sent(world))
    assert [standard(post, body, secret=key) for key in (b"", b"\0", b"short", written)] == [401] * 4


def test_an_array_of_a_providers_events_is_as_many_reports_and_unknown_ones_wait(
    world: World, post: Post
) -> None:
    spam = {"email": "ann@a.example", "event": "spamreport", "cfbl_feedback_id": sent(world)}
    body = json.dumps([spam, spam, {"event": "open"}, {"what": "is this"}]).encode()
    assert post(body, content_type="application/json") == 200
    assert votes(world) == {"loop.example": 1}
    with world.store.read() as tx:
        assert len(complaints.waiting(tx)) == 2
    assert post(json.dumps([{}] * 1001).encode(), content_type="application/json") == 400


@pytest.mark.parametrize(
    "wrong",
    [
        {"age": 301}, {"age": -301}, {"secret": b"another secret of the kind"}, {"said": b"another body"},
        {"to": "nobody"}, {"to": "LOOP"}, {"gatepost_signature": ""}, {"gatepost_signature": "t=1,n=,v1="},
        {"gatepost_signature": "t=1,n=" + "n" * 16 + ",v1=" + "0" * 64}, {"number": "short"},
    ],
)  # fmt: skip
def test_cf_11_no_old_foreign_or_broken_signature(world: World, post: Post, wrong: dict[str, Any]) -> None:
    assert post(arf(sent(world)), **wrong) == 401
    assert votes(world) == {}


def test_cf_11_a_replay_is_refused_even_by_another_process(world: World, post: Post) -> None:
    body = arf(sent(world))
    assert post(body, age=299, number="a" * 16) == 200
    assert post(body, age=299, number="a" * 16) == 401
    post.client = world.client(world.app(Intake(world.config, world.store, world.keyring, None)))
    assert post(body, age=299, number="a" * 16) == 401
    assert post(body, number="b" * 16) == 200, "said again, but counted once"
    assert votes(world) == {"loop.example": 1}


class Faltering(Intake):
    """An intake whose store fails at the first report."""

    faults = 1

    async def take(self, *args: Any, **options: Any) -> Outcome:
        if self.faults:
            self.faults -= 1
            raise StoreError("the store is busy")
        return await super().take(*args, **options)


def test_a_report_that_could_not_be_recorded_is_taken_when_it_comes_again_as_it_was(
    world: World, post: Post
) -> None:
    post.client = world.client(world.app(Faltering(world.config, world.store, world.keyring, None)))
    body = arf(sent(world))
    assert [post(body, number="a" * 16) for _ in range(3)] == [503, 200, 401]
    assert votes(world) == {"loop.example": 1}


def test_cf_11_what_is_too_large_or_of_the_wrong_kind_is_refused(post: Post) -> None:
    bomb = gzip.compress(b"\0" * 40_000_000)
    assert len(bomb) < 64 * 1024
    assert post(b"x" * (1024 * 1024 + 1)) == 413
    assert post(bomb, content_encoding="gzip") == 413
    assert post(b"no gzip", content_encoding="gzip") == 413
    assert post(b"x", content_type="text/html") == 415
    assert post(b"x", content_encoding="br") == 415
    assert post(b"[" * 100_000, content_type="application/json") == 400
    assert post(b"{", content_type="application/json") == 400


def test_cf_12_hostile_reports_wait_or_count_for_nothing(world: World, post: Post) -> None:
    for body in (b"", b"\0" * 1000, b"X-A: b\r\n" * 20_000, b"\xff" * 1000, arf("")):
        assert post(body) == 200
    assert votes(world) == {}


def test_without_a_secret_of_some_length_nothing_is_taken(world: World, post: Post) -> None:
    (world.folder / "secret").write_bytes(b"short")
    assert post(arf(""), secret=b"short") == 401
    (world.folder / "secret").unlink()
    assert post(arf("")) == 401


# -- one-click ----------------------------------------------------------------------------------------------

CLICK = {"List-Unsubscribe": "One-Click"}


def kinds(world: World) -> list[str]:
    owner = world.account(LOGIN).customer.id
    with world.store.read() as tx:
        found = suppression.about(tx, owner, world.keyring.recipient_hash(owner, "ann@a.example"))
    return [one.kind for one in found]


def test_cf_16_only_a_post_that_says_one_click_unsubscribes(world: World, post: Post) -> None:
    path = f"/unsubscribe/{sent(world, token.UNSUBSCRIBE)}"
    for method in ("GET", "HEAD", "PUT", "OPTIONS"):
        assert post.client.request(method, path).status_code == 405
    assert post.client.post(path).status_code == 400
    assert post.client.post(path, data={"List-Unsubscribe": "No"}).status_code == 400
    assert post.client.post(path, content=b"&" * 5000).status_code == 400
    assert kinds(world) == []
    assert post.client.post(path, data=CLICK).status_code == 200
    assert kinds(world) == ["unsubscribe"]
    assert votes(world) == {}, "no complaint"


def test_cf_16_both_encodings_any_number_of_times_is_once(world: World, post: Post) -> None:
    path = f"/unsubscribe/{sent(world, token.UNSUBSCRIBE)}"
    fields = {name: (None, value) for name, value in CLICK.items()}
    assert post.client.post(path, files=fields).status_code == 200
    assert post.client.post(path, data=CLICK).status_code == 200
    with world.store.read() as tx:
        rows = tx.exec_driver_sql("select feedback_type, counted from complaint").all()
    assert [tuple(row) for row in rows] == [("unsubscribe", 0)]


def test_cf_16_a_link_and_a_feedback_token_do_not_open_each_others_door(world: World, post: Post) -> None:
    assert post.client.post(f"/unsubscribe/{sent(world)}", data=CLICK).status_code == 404
    assert post.client.post(f"/unsubscribe/{'a' * 106}", data=CLICK).status_code == 404
    assert post(arf(sent(world, token.UNSUBSCRIBE))) == 200
    assert (kinds(world), votes(world)) == ([], {})


def test_people_get_a_button(world: World, post: Post) -> None:
    page = post.client.get(f"/unsubscribe/{sent(world, token.UNSUBSCRIBE)}").text
    assert '<form method="post"><button name="List-Unsubscribe" value="One-Click">' in page
