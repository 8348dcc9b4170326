"""Header fields: what a mail program would not write."""

from __future__ import annotations

from screening.mail import Mail
from screening.rule import rule


@rule(
    score=1.0,
    hits=[{"subject": "CLAIM YOUR PRIZE TODAY"}],
    misses=[{"subject": "Meeting"}, {"subject": "USB"}],
)
def subject_shouts(mail: Mail) -> str | None:
    """Subject has ten or more letters, all capitals."""
    letters = [c for c in mail.subject if c.isalpha()]
    return mail.subject if len(letters) >= 10 and mail.subject.isupper() else None
