"""What complaints teach the classifier, where `screening.learn_complaints` is on: the reported message, once.

A lesson must be our mail as its sender wrote it: the report of an authenticated reporter is believed; of any
other (grade B) only what still bears our valid signature, for else whoever has one of our tokens could teach
words of his own. What receivers put on top is cut off, so that copies of one message are one lesson.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.feedback.parts import parts_of
from relay.model import Grade
from relay.outbox.hold import lesson
from relay.screens import model_path
from relay.signing import keys as signing_keys
from relay.signing import public, verify
from screening.classify import lessons
from screening.classify.training import example_of, mail_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from relay.config import Config
    from relay.feedback.steps import Outcome, Received

#: larger ones teach nothing
MOST_BYTES = 1 << 20


def teach(config: Config, received: Received, outcome: Outcome) -> bool:
    """Note the message that a counted complaint is about; return whether it teaches. OSError, ConfigError."""
    if not config.screening.learn_complaints or not outcome.counted or received.token is None:
        return False
    original = _original(received.raw)
    if not original or len(original) > MOST_BYTES:
        return False
    if outcome.grade is not Grade.A and not _is_ours(config, original, received.token.sent_at):
        return False
    written = _as_written(original, config.hostname)
    if not written.partition(b"\r\n\r\n")[2].strip():
        return False
    return lessons.note(model_path(config), example_of(mail_of(written), spam=True))


def _original(raw: bytes) -> bytes:
    """Return the whole message inside a report, in lines as they were sent; b"" where there is none."""
    found = next((part.data for part in parts_of(raw)[1:] if part.media == "message/rfc822"), b"")
    return found.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _is_ours(config: Config, original: bytes, sent_at: datetime) -> bool:
    if not config.signing.enabled:
        return False
    signer = signing_keys.provider(config)

    def keys(selector: str, domain: str) -> Iterator[public.KeyRecord]:
        record = public.read_record(signer.dns_record()[1])
        if (selector, domain) == (signer.selector, signer.domain) and record is not None:
            yield record

    found = verify.examine(original, keys, sent_at)
    return any(one.state is verify.State.PASS and not one.partial for one in found)


def _as_written(original: bytes, hostname: str) -> bytes:
    """Return the message without what we and everybody after us put on top."""
    ours = f"by {hostname} (Gatepost)".encode()
    for field in mail_of(original).fields:
        if field.lower == "received" and field.value.startswith(ours):
            return lesson(original[field.start :])
    return lesson(original)
