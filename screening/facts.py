"""Numbers and strings of a mail that conditions (CEL) may name; one line of documentation each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from screening.mail import Mail


@dataclass(frozen=True, slots=True)
class Fact:
    """One name a condition may use: what it means, and how it is read from a mail."""

    why: str
    read: Callable[[Mail], bool | int | str]


def _recipients(mail: Mail) -> int:
    if mail.envelope.recipients:
        return len(mail.envelope.recipients)
    return len(mail.mailboxes("to")) + len(mail.mailboxes("cc"))


def _reply(mail: Mail) -> bool:
    return mail.has("in-reply-to") or mail.has("references")


FACTS: dict[str, Fact] = {
    "size": Fact("bytes of the whole message", lambda mail: len(mail.raw)),
    "recipients": Fact("envelope recipients (or addresses in To and Cc)", _recipients),
    "link_count": Fact("links that a reader can open", lambda mail: len(mail.clickable)),
    "link_domains": Fact(
        "different registrable domains among them",
        lambda mail: len({link.domain for link in mail.clickable if link.domain}),
    ),
    "attachment_count": Fact("attached files", lambda mail: len(mail.attachments)),
    "images": Fact("img elements", lambda mail: mail.view.images),
    "text_length": Fact("characters of shown text", lambda mail: len(mail.folded)),
    "subject_length": Fact("characters of the subject", lambda mail: len(mail.subject)),
    "has_html": Fact("there is an HTML part", lambda mail: bool(mail.html)),
    "has_plain": Fact("there is a plain text part", lambda mail: bool(mail.plain.strip())),
    "is_reply": Fact("it says that it answers a message", _reply),
    "is_list": Fact("it carries List-Id", lambda mail: mail.has("list-id")),
    "unsubscribes": Fact("it carries List-Unsubscribe", lambda mail: mail.has("list-unsubscribe")),
    "from_domain": Fact("domain of the From address", lambda mail: mail.author.domain),
    "from_name": Fact("display name of From", lambda mail: mail.author.display),
}
