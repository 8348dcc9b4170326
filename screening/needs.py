"""What a mail may lack, so that rules which look only at that need not be asked; one cheap fact each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from screening.plain import UNSETTLED

if TYPE_CHECKING:
    from screening.mail import Mail

Read = Callable[["Mail"], bool]


def _field(name: str) -> Read:
    return lambda mail: mail.has(name)


def _crowd(mail: Mail) -> bool:
    """Whether ten people can be addressed: separators say so before any address is read."""
    if len(mail.envelope.recipients) >= 10:
        return True
    fields = [*mail.raw_headers("to"), *mail.raw_headers("cc")]
    return sum(field.count(b",") + field.count(b";") + 2 for field in fields) >= 10


#: Names for a rule's `needs`; a rule that names several is asked only where all are there.
NEEDS: dict[str, Read] = {
    "links": lambda mail: bool(mail.links),
    "hosts": lambda mail: bool(mail.hosts),  #: links that a reader can open in a browser
    "other links": lambda mail: mail.opens_no_host,  #: mailto:, data: and their kind
    "files": lambda mail: bool(mail.attachments),
    "html": lambda mail: bool(mail.html),
    "active html": lambda mail: bool(mail.html) and mail.view.active,  #: forms, scripts, a refresh
    "html comment": lambda mail: "comment" in mail.view.marks,
    "html entity": lambda mail: "entity" in mail.view.marks,
    "odd letters": lambda mail: bool(
        mail.letters - {UNSETTLED}
    ),  #: in the text: invisible, styled, Greek or Cyrillic
    "foreign letters": lambda mail: not (mail.subject.isascii() and mail.author.display.isascii()),
    "oddities": lambda mail: bool(mail.oddities),
    "crowd": _crowd,
    "login": lambda mail: bool(mail.envelope.login),
    "no answer": lambda mail: not mail.has("in-reply-to"),
    **{f"field {name}": _field(name) for name in ("date", "in-reply-to", "received", "reply-to", "x-mailer")},
}
