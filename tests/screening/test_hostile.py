"""Torture mails and random changes of them: no exception, bounded time, bounded memory (RE-08…19)."""

from __future__ import annotations

import random
import resource
import time
import tracemalloc
from pathlib import Path

import pytest

from screening.classify import Classifier
from screening.ruleset import Ruleset
from screening.screen import Screen
from tests.screening.mails import HEAD, raw

DATA = Path(__file__).parents[3] / "shared" / "data"
FILES = sorted(
    (place, path)
    for place in ("robust", "auth", "feedback")
    for path in (DATA / place).rglob("*")
    if path.is_file() and path.stat().st_size
)
LEARNED = Classifier.load(None)
SECONDS = 1.0

CASES = {
    "long words in links": HEAD
    + b"\r\n"
    + b" ".join(b"https://x%d.example/" % n + b"a" * 4000 for n in range(30)),
    "marks in a subject": b"From: a@b.example\r\nSubject: " + b"=" * 60_000 + b"\r\n\r\nx",
    "blanks in a subject": b"From: a@b.example\r\nSubject: x" + b" " * 60_000 + b"y\r\n\r\nx",
    "quotes never closed": b'From: "' + b'\\"' * 30_000 + b" <a@b.example>\r\n\r\nx",
    "RE-08": HEAD + b"X-A: " + b"aaaaaaaa\r\n " * 200_000 + b"\r\n\r\nbody",
    "RE-09": HEAD + b"X-A: b\r\n" * 50_000 + b"\r\nbody",
    "RE-10": HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 100_000,
    "RE-11": HEAD
    + b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(5000)),
    "RE-12": HEAD + b"Cc: " + b", ".join(b"u%d@x.example" % n for n in range(100_000)) + b"\r\n\r\nx",
    "RE-13": b"From: a@b.example\r\nSubject: " + b" =?utf-8?q?a?=" * 50_000 + b"\r\n\r\nx",
    "RE-14": HEAD
    + b"Content-Type: text/plain"
    + b"".join(b"; a*%d=x" % n for n in range(20_000))
    + b"\r\n\r\nx",
    "RE-16": b"From: " + b"(" * 49_000 + b"a@b.example\r\n\r\nx",
    "RE-17": HEAD + b"\r\n" + (b"x" * 58 + b"\r\n") * 140_000,
    "RE-19": HEAD + b"\r\n" + (b" " * 997 + b"x\r\n") * 8000,
    "padding": HEAD + b"Content-Transfer-Encoding: base64\r\n\r\n" + b"QQ==" * 1_000_000,
    "false boundaries": HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--bx\r\n" * 200_000,
    "html": HEAD + b"Content-Type: text/html\r\n\r\n" + b"<table><tr><td><form><a href=x>" * 8000,
    "comments": HEAD + b"Content-Type: text/html\r\n\r\n" + b"<!--" * 60_000,
    "urls": HEAD + b"\r\n" + (b"http://a.b/" + b")." * 2000 + b" ") * 100,
    "commas": b"From: " + b"a," * 30_000 + b"\r\n\r\nx",
    "punycode": HEAD + b"Content-Type: text/plain; charset=punycode\r\n\r\n" + b"zzzzzz" * 30_000,
    "mixed scripts": HEAD + b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + "\u0430a".encode() * 60_000,
    "uuencode": HEAD + b"\r\n" + b"begin 644 x\r\n" * 50_000,
}


def judged(ruleset: Ruleset, text: bytes) -> float:
    screen = Screen(ruleset, LEARNED)
    started = time.process_time()
    mail = raw(text)
    verdict = screen.offline(mail)
    assert verdict.unanswered == ()
    assert verdict.hits[-1].rule == "classifier"
    assert len(mail.text) <= 256 * 1024
    return time.process_time() - started


def most_memory() -> int:
    """Return the most bytes that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("case", CASES)
def test_hostile_mail_is_judged_in_time_and_memory(shipped: Ruleset, case: str) -> None:
    before = most_memory()
    assert judged(shipped, CASES[case]) < SECONDS
    assert most_memory() - before < 200 << 20


def test_long_names_of_hostile_mail_are_not_kept(shipped: Ruleset) -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(60):
            name = b"%06d" % number * 10_000
            judged(
                shipped, b"From: a@" + name + b"\r\nX-" + name + b": y\r\nTo: b@" + name + b"\r\n\r\nx\r\n"
            )
        assert tracemalloc.get_traced_memory()[0] - before < 3 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not FILES, reason="no torture mails beside the project (../shared/data)")
@pytest.mark.parametrize("place", sorted({place for place, _ in FILES}))
def test_torture_mails_and_changed_ones_are_judged(shipped: Ruleset, place: str) -> None:
    chosen = random.Random(11)  # noqa: S311 - repeatable changes, no secret
    before = most_memory()
    for path in (path for where, path in FILES if where == place):
        text = path.read_bytes()
        assert judged(shipped, text) < SECONDS
        for _ in range(4 if place == "robust" else 1):
            changed = bytearray(text)
            for _ in range(30):
                at = chosen.randrange(len(changed))
                changed[at : at + chosen.randrange(3)] = chosen.choice(
                    [b"", b"\0", b"=", b"\r\n", b'"', b"--", b"\xff", b"("]
                )
            assert judged(shipped, bytes(changed)) < SECONDS, path.name
    assert most_memory() - before < 200 << 20
