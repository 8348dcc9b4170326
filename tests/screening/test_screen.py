from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from screening.mail import Mail
from screening.ruleset import Ruleset
from screening.screen import LARGE_BYTES, Screen
from screening.verdict import Hit
from tests.screening.mails import body


@dataclass
class Sure:
    """A classifier of one opinion."""

    answer: Hit | None
    bug: bool = False

    def hit(self, mail: Mail, found: Sequence[Hit] = ()) -> Hit | None:
        assert mail.raw
        assert not found
        if self.bug:
            raise ValueError("secret words of a bug")
        return self.answer

    def refresh(self) -> bool:
        return False


@dataclass
class Far:
    """A scanner that answers, fails or sleeps."""

    name: str
    hits: Sequence[Hit] = ()
    bug: bool = False
    sleeps: bool = False

    async def ask(self, mail: Mail) -> Sequence[Hit]:
        if self.bug or not mail.raw:
            raise OSError("no route")
        if self.sleeps:
            await asyncio.Event().wait()
        return self.hits


MAIL = body(b"hello")


def test_the_classifier_adds_one_hit(shipped: Ruleset) -> None:
    verdict = Screen(shipped, Sure(Hit("classifier", 3.0, "words"))).offline(MAIL)
    assert verdict.score == 3.0
    assert Screen(shipped, Sure(None)).offline(MAIL).hits == ()
    failed = Screen(shipped, Sure(None, bug=True)).offline(MAIL)
    assert failed.unanswered == ("classifier",)
    assert "secret" not in repr(failed)


async def test_scanners_answer_within_one_deadline(shipped: Ruleset) -> None:
    scanners = [Far("a", [Hit("a", 2.0)]), Far("b", bug=True), Far("c", sleeps=True)]
    verdict = await Screen(shipped, None, scanners, deadline_seconds=0.05).screen(MAIL)
    assert [hit.rule for hit in verdict.hits] == ["a"]
    assert verdict.unanswered == ("b", "c")


async def test_without_scanners_both_ways_agree(shipped: Ruleset) -> None:
    screen = Screen(shipped)
    large = body(b"x" * LARGE_BYTES)
    for mail in (MAIL, large):
        assert (await screen.screen(mail)).as_json() == screen.offline(mail).as_json()
