"""The envelope against the message: who gets it, and who it is written for."""

from __future__ import annotations

from screening.links import registrable
from screening.mail import Mail
from screening.rule import rule

MANY = 30


@rule(
    needs="crowd",
    score=1.5,
    hits=[{"recipients": [f"user{n}@shop{n}.example" for n in range(60)]}],
    misses=[
        {"recipients": ["bob@shop.example"]},
        {
            "recipients": [f"u{n}@s{n}.example" for n in range(60)],
            "headers": {"List-Id": "<news.acme.example>", "List-Unsubscribe": "<https://acme.example/u>"},
        },
    ],
)
def bulk_without_list_headers(mail: Mail) -> str | None:
    """It goes to fifty or more people and names neither a list nor a way to unsubscribe."""
    count = len(mail.envelope.recipients)
    if count < 50 or mail.has("list-id") or mail.has("list-unsubscribe"):
        return None
    return f"{count} recipients"


@rule(
    needs="crowd",
    score=0.5,
    hits=[
        {
            "recipients": [f"user{n}@shop{n}.example" for n in range(60)],
            "headers": {"List-Unsubscribe": "<mailto:out@acme.example>"},
        }
    ],
    misses=[
        {
            "recipients": [f"user{n}@shop{n}.example" for n in range(60)],
            "headers": {
                "List-Unsubscribe": "<https://acme.example/u>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            },
        },
        {"headers": {"List-Unsubscribe": "<mailto:out@acme.example>"}},
    ],
)
def bulk_without_one_click(mail: Mail) -> str | None:
    """It goes to fifty or more people and cannot be unsubscribed from in one click (RFC 8058)."""
    count = len(mail.envelope.recipients)
    if count < 50 or not mail.has("list-unsubscribe") or mail.has("list-unsubscribe-post"):
        return None
    return f"{count} recipients"


@rule(
    needs=("crowd", "no answer"),
    score=2.0,
    hits=[
        {
            "to": ", ".join(
                f"{name}@shop.example"
                for name in [
                    "adam",
                    "alan",
                    "albert",
                    "alex",
                    "alfred",
                    "alice",
                    "amy",
                    "anna",
                    "anton",
                    "arno",
                ]
            )
        }
    ],
    misses=[{"to": "anna@shop.example, bob@acme.example"}],
)
def harvested_recipients(mail: Mail) -> str | None:
    """Ten or more addresses of one domain in alphabetical order: a list that was bought or guessed."""
    addresses = list(mail.envelope.recipients)
    if len(addresses) < 10:
        addresses = [box.address for name in ("to", "cc") for box in mail.mailboxes(name)]
    if len(addresses) < 10 or mail.has("in-reply-to"):
        return None
    addresses = list(dict.fromkeys(addresses))
    if len(addresses) < 10:
        return None
    locals_, _, domain = zip(*(address.lower().rpartition("@") for address in addresses[:200]), strict=True)
    if len(set(domain)) > 2 or list(locals_) != sorted(locals_):
        return None
    return f"{len(addresses)} addresses in order"


@rule(
    needs="crowd",
    score=1.0,
    hits=[{"to": ", ".join(f"user{n}@shop{n}.example" for n in range(40))}],
    misses=[{"to": "bob@shop.example"}],
)
def crowd_in_sight(mail: Mail) -> str | None:
    """Thirty or more addresses are shown to everyone in To and Cc."""
    count = len(mail.mailboxes("to")) + len(mail.mailboxes("cc"))
    return f"{count} addresses" if count >= MANY else None


@rule(
    needs="login",
    score=1.0,
    hits=[{"from": "Bank <a@bank.example>", "login": "shop@acme.example"}],
    misses=[{"login": "anna@acme.example"}, {}],
)
def from_is_not_login(mail: Mail) -> str | None:
    """The mail names another domain than the login that sends it."""
    login = mail.envelope.login or ""
    if "@" not in login or not mail.author_domain:
        return None
    own = registrable(login.rpartition("@")[2].lower())
    return f"{login} sends as {mail.author.address}" if own != mail.author_domain else None
