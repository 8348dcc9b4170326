"""All checks on one message: rules, then the classifier, then scanners under one deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from screening.conditions import Conditions
from screening.ruleset import Ruleset
from screening.scanners.guard import Silence, Silent
from screening.verdict import Hit, Verdict

if TYPE_CHECKING:
    from screening.mail import Mail

#: What is larger is screened in a thread: the event loop serves others meanwhile.
LARGE_BYTES = 256 * 1024


class Classifier(Protocol):
    """Turns a mail into one hit, or none where it has no opinion."""

    def hit(self, mail: Mail, found: Sequence[Hit] = ()) -> Hit | None:
        """Return the hit of the calibrated probability, beside what rules found."""
        ...

    def refresh(self) -> bool:
        """Take up what training wrote meanwhile; return whether there was something."""
        ...


class Scanner(Protocol):
    """Asks someone outside; raises nothing but what `ask` documents."""

    name: str

    async def ask(self, mail: Mail) -> Sequence[Hit]:
        """Return its hits; any exception or a missed deadline makes it unanswered."""
        ...


class Screen:
    """The checks that one configuration asks for; shared by all sessions."""

    def __init__(
        self,
        ruleset: Ruleset,
        classifier: Classifier | None = None,
        scanners: Sequence[Scanner] = (),
        deadline_seconds: float = 20,
    ) -> None:
        self.ruleset = ruleset
        self.classifier = classifier
        self.scanners = tuple(scanners)
        self.deadline_seconds = deadline_seconds

    def refresh(self) -> None:
        """Let the classifier take up a model that training wrote; ModelError if it cannot be used."""
        if self.classifier is not None:
            self.classifier.refresh()

    def offline(self, mail: Mail, *, timed: bool = False) -> Verdict:
        """Return the verdict of rules and classifier, each rule timed if asked; synchronous, never raises."""
        verdict = self.ruleset.screen(mail, timed=timed)
        if self.classifier is None:
            return verdict
        started = time.perf_counter()
        try:
            hit = self.classifier.hit(mail, verdict.hits)
        except Exception:  # noqa: BLE001 - the scanner edge: a check that fails is unanswered
            return replace(verdict, unanswered=(*verdict.unanswered, "classifier"))
        return verdict if hit is None else verdict.beside(hit, 1000 * (time.perf_counter() - started))

    def is_instant(self, mail: Mail) -> bool:
        """Return whether `offline` is all that `screen` would do, without waiting for anything."""
        return not self.scanners and len(mail.raw) <= LARGE_BYTES

    async def screen(self, mail: Mail) -> Verdict:
        """Return the verdict of all checks within the deadline; never raises but for cancellation.

        Nobody outside is asked about a message that is refused as malformed.
        """
        if len(mail.raw) > LARGE_BYTES:
            verdict = await asyncio.to_thread(self.offline, mail)
        else:
            verdict = self.offline(mail)
        if not self.scanners or verdict.malformed:
            return verdict
        answers = await asyncio.gather(*(self._ask(scanner, mail) for scanner in self.scanners))
        hits = [hit for _, found in answers if not isinstance(found, Silence) for hit in found]
        silent = [(name, means) for name, means in answers if isinstance(means, Silence)]
        return replace(
            verdict,
            hits=(*verdict.hits, *hits),
            unanswered=(*verdict.unanswered, *(name for name, _ in silent)),
            defers=tuple(name for name, means in silent if means is Silence.DEFER),
            holds=tuple(name for name, means in silent if means is Silence.HOLD),
        )

    async def _ask(self, scanner: Scanner, mail: Mail) -> tuple[str, Sequence[Hit] | Silence]:
        try:
            async with asyncio.timeout(self.deadline_seconds):
                return scanner.name, await scanner.ask(mail)
        except Silent as silent:
            return scanner.name, silent.means
        except Exception:  # noqa: BLE001 - the scanner edge: deadline or failure, the check is unanswered
            return scanner.name, Silence.SKIP


class Unscreened(Screen):
    """No checks of content, where something else screens; a header that hides its sender is still found."""

    def __init__(self) -> None:
        super().__init__(Ruleset((), {}, Conditions(())))

    def offline(self, mail: Mail, *, timed: bool = False) -> Verdict:  # noqa: ARG002 - there are no rules
        """Return a verdict without hits."""
        return Verdict(malformed=mail.ambiguous)
